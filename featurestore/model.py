"""Definitions: projects, entities, feature views and feature services, as pydantic models without any I/O.

This module says what a definition is and refuses one that is wrong in itself. Whether the names it refers to exist is a
question about a whole set of definitions, answered in ``registry/``. Invariant: a model that exists is valid, immutable, and
``model_dump(mode="json")`` gives the very mapping that YAML and the wire carry.
"""

import re
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, model_validator
from pydantic import Field as Option

NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
JOIN_KEYS_MAX = 8
FEATURES_MAX = 4_096
VECTOR_LENGTH_MAX = 65_536
DEFAULT_PROJECT = "default"

Name = Annotated[str, Option(pattern=NAME_PATTERN)]


class Scalar(Enum):
    """The element types. Integers and floats are little-endian; a timestamp is int64 microseconds since 1970 UTC."""

    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    TIMESTAMP = "timestamp"
    STRING = "string"
    BYTES = "bytes"


_ITEM_BYTES = {Scalar.BOOL: 1, Scalar.INT32: 4, Scalar.INT64: 8, Scalar.FLOAT32: 4, Scalar.FLOAT64: 8, Scalar.TIMESTAMP: 8}
_NUMPY = {
    Scalar.BOOL: "?",
    Scalar.INT32: "<i4",
    Scalar.INT64: "<i8",
    Scalar.FLOAT32: "<f4",
    Scalar.FLOAT64: "<f8",
    Scalar.TIMESTAMP: "<i8",
}
_VECTOR_SCALARS = (Scalar.FLOAT32, Scalar.FLOAT64, Scalar.INT64)
_TYPE_TEXT = re.compile(r"^([a-z0-9]+)(?:\[([0-9]+)\])?$")
TYPE_NAMES = ", ".join(scalar.value for scalar in Scalar) + ", float32[N], float64[N], int64[N]"


class DataType(BaseModel):
    """A feature's type: a scalar, or a fixed-length vector of float32, float64 or int64.

    As text: ``float32``, ``float32[16]``.
    """

    model_config = ConfigDict(frozen=True)

    scalar: Scalar
    length: int | None = None

    @classmethod
    def parse(cls, text: object) -> "DataType":
        """Reads ``float32`` or ``float32[16]``. Raises ValueError that says which types there are."""
        if isinstance(text, DataType):
            return text
        match = _TYPE_TEXT.match(text) if isinstance(text, str) else None
        if match is None or match[1] not in {scalar.value for scalar in Scalar}:
            raise ValueError(f"expected one of {TYPE_NAMES}")
        scalar, length = Scalar(match[1]), int(match[2]) if match[2] else None
        if length is not None and scalar not in _VECTOR_SCALARS:
            raise ValueError("expected a vector of float32, float64 or int64")
        if length is not None and not 1 <= length <= VECTOR_LENGTH_MAX:
            raise ValueError(f"expected a vector length from 1 to {VECTOR_LENGTH_MAX}")
        return cls(scalar=scalar, length=length)

    def __str__(self) -> str:
        return self.scalar.value if self.length is None else f"{self.scalar.value}[{self.length}]"

    @property
    def is_variable(self) -> bool:
        """Whether values have a length of their own (string, bytes)."""
        return self.scalar in (Scalar.STRING, Scalar.BYTES)

    @property
    def item_bytes(self) -> int:
        """Bytes of one element; 0 for string and bytes."""
        return _ITEM_BYTES.get(self.scalar, 0)

    @property
    def width_bytes(self) -> int:
        """Bytes of one value; 0 for string and bytes."""
        return self.item_bytes * (self.length or 1)

    @property
    def numpy(self) -> str:
        """The NumPy dtype text of one element, such as ``<f4`` (timestamp: ``<i8``, us). KeyError for string and bytes."""
        return _NUMPY[self.scalar]


TypeText = Annotated[DataType, BeforeValidator(DataType.parse), PlainSerializer(str, return_type=str)]

_DURATION_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION_TEXT = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)$")


def parse_duration(value: object) -> timedelta | None:
    """Reads ``90s``, ``15m``, ``7d``, a number of seconds, or a timedelta. Raises ValueError unless it is positive."""
    if value is None:
        return None
    if isinstance(value, str):
        match = _DURATION_TEXT.match(value.strip())
        if match is None:
            raise ValueError("expected a duration such as 90s, 15m, 6h or 7d")
        value = float(match[1]) * _DURATION_UNITS_S[match[2]]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            value = timedelta(seconds=value)
        except (OverflowError, ValueError):
            raise ValueError("expected a duration such as 90s, 15m, 6h or 7d") from None
    if not isinstance(value, timedelta) or value <= timedelta(0):
        raise ValueError("expected a duration above zero, such as 90s, 15m, 6h or 7d")
    return value


def _duration_text(value: timedelta | None) -> str | None:
    return None if value is None else f"{value.total_seconds():f}".rstrip("0").rstrip(".") + "s"


Duration = Annotated[timedelta | None, BeforeValidator(parse_duration), PlainSerializer(_duration_text, return_type=str | None)]


class _Definition(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    description: str = ""
    owner: str = ""
    tags: dict[str, str] = {}


class Project(_Definition):
    """A namespace: every other definition belongs to one."""


class _ProjectDefinition(_Definition):
    project: Name = DEFAULT_PROJECT


class JoinKey(BaseModel):
    """One column of an entity's key: int64 or string."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    type: TypeText = DataType(scalar=Scalar.INT64)

    @model_validator(mode="after")
    def _key_type(self) -> "JoinKey":
        if self.type.length is not None or self.type.scalar not in (Scalar.INT64, Scalar.STRING):
            raise ValueError(f"join key {self.name!r} has type {self.type}, expected int64 or string")
        return self


class Entity(_ProjectDefinition):
    """What features describe (a user, a carrier, a user at a merchant), told apart by one or several join keys."""

    join_keys: tuple[JoinKey, ...] = Option(min_length=1, max_length=JOIN_KEYS_MAX)

    @model_validator(mode="after")
    def _unique(self) -> "Entity":
        _refuse_duplicates("join key", [key.name for key in self.join_keys])
        return self


class Field(BaseModel):
    """One feature of a view: a name and a type. Every value can be null."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    type: TypeText
    description: str = ""
    tags: dict[str, str] = {}


class BatchSource(BaseModel):
    """Where a view is loaded from in bulk, and which columns are what: the defaults of ``featurestore ingest VIEW``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Option(min_length=1)
    timestamp_column: str = "event_timestamp"
    columns: dict[str, str] = {}
    """File column -> feature or join key, where the names differ."""


class FeatureView(_ProjectDefinition):
    """A table of features of one entity.

    A row older than ``ttl`` is answered as EXPIRED; one older than ``retention`` is removed from memory in the background.
    """

    entity: Name
    features: tuple[Field, ...] = Option(min_length=1, max_length=FEATURES_MAX)
    ttl: Duration = None
    retention: Duration = None
    source: BatchSource | None = None

    @model_validator(mode="before")
    @classmethod
    def _entity_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("entity"), Entity):
            return {**data, "entity": data["entity"].name}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> "FeatureView":
        _refuse_duplicates("feature", [feature.name for feature in self.features])
        if self.ttl and self.retention and self.retention < self.ttl:
            raise ValueError(f"retention {self.retention} is shorter than ttl {self.ttl}: expected at least the ttl")
        return self


_REFERENCE_TEXT = re.compile(r"^([A-Za-z_]\w*):([A-Za-z_]\w*)(?:\s+as\s+([A-Za-z_]\w*))?$")


class FeatureReference(BaseModel):
    """A feature of a view, and the name a service gives it. Written ``view:feature`` or ``view:feature as name``.

    ``join_keys`` renames the entity's join keys for this use, so that one view can serve two roles:
    ``{"airport": "origin"}`` looks the view's ``airport`` up by the request's ``origin`` column.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    view: Name
    feature: Name
    name: Name = ""
    join_keys: dict[Name, Name] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if isinstance(data, str):
            match = _REFERENCE_TEXT.match(data.strip())
            if match is None:
                raise ValueError("expected 'view:feature' or 'view:feature as name'")
            data = {"view": match[1], "feature": match[2], "name": match[3] or match[2]}
        if isinstance(data, dict) and not data.get("name") and "feature" in data:
            data = {**data, "name": data["feature"]}
        return data


class FeatureService(_ProjectDefinition):
    """What one model reads: an ordered list of features from one or several views. A new version is a new name (``..._v2``)."""

    features: tuple[FeatureReference, ...] = Option(min_length=1, max_length=FEATURES_MAX)

    @model_validator(mode="after")
    def _unique(self) -> "FeatureService":
        _refuse_duplicates("feature name", [feature.name for feature in self.features])
        return self


def _refuse_duplicates(kind: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{kind} {name!r} is there twice: expected distinct names")
        seen.add(name)
