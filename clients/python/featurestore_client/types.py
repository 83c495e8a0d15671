"""The types of values as the client knows them: the text of ``Field.type`` read once into a NumPy dtype and a wire field.

Invariant: ``wire_field`` is the one field of the wire's Column that carries values of the type.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np

from featurestore_client.errors import InvalidArgumentError
from featurestore_client.wire import featurestore_raw_pb2 as wire


class ValueStatus(IntEnum):
    """The status of a value that was read."""

    PRESENT = wire.PRESENT
    NULL = wire.NULL
    """The row is there, this value of it is null."""
    NOT_FOUND = wire.NOT_FOUND
    """There is no row of this key."""
    EXPIRED = wire.EXPIRED
    """The row is older than its view's TTL."""


_SCALARS: dict[str, tuple[str, np.dtype[Any] | None]] = {
    "bool": ("bools", np.dtype("?")),
    "int32": ("int32s", np.dtype("<i4")),
    "int64": ("int64s", np.dtype("<i8")),
    "float32": ("float32s", np.dtype("<f4")),
    "float64": ("float64s", np.dtype("<f8")),
    "timestamp": ("int64s", np.dtype("<M8[us]")),
    "string": ("data", None),
    "bytes": ("data", None),
}
_INT64 = np.dtype("<i8")
_TYPE_TEXT = re.compile(r"([a-z0-9]+)(?:\[([0-9]+)\])?")


@dataclass(frozen=True, slots=True)
class DataType:
    """A type such as ``float32``, ``string`` or the vector ``float32[16]``."""

    text: str
    scalar: str
    length: int | None
    """Of a vector; None for a scalar."""
    dtype: np.dtype[Any] | None = field(compare=False)
    """Of one element; None for string and bytes."""
    wire_field: str = field(compare=False)
    elements: int = field(compare=False)
    """A value: the vector's length, or 1."""

    @property
    def is_variable(self) -> bool:
        """Whether values have a length of their own (string, bytes)."""
        return self.dtype is None

    @property
    def width_bytes(self) -> int:
        """Bytes of one value; 0 for string and bytes."""
        return 0 if self.dtype is None else self.dtype.itemsize * self.elements

    @property
    def stored(self) -> np.dtype[Any]:
        """Of one element as rows hold it: a timestamp is int64 microseconds. Not of string and bytes."""
        assert self.dtype is not None, "strings and bytes have no dtype"
        return _INT64 if self.dtype.kind == "M" else self.dtype

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=4_096)
def parse_type(text: str) -> DataType:
    """Reads ``float32`` or ``float32[16]``. Raises InvalidArgumentError that says which types there are."""
    match = _TYPE_TEXT.fullmatch(text)
    if match is None or match[1] not in _SCALARS:
        raise InvalidArgumentError.of("type", text, f"one of {', '.join(_SCALARS)}, float32[N], float64[N], int64[N]")
    wire_field, dtype = _SCALARS[match[1]]
    length = int(match[2]) if match[2] else None
    return DataType(text, match[1], length, dtype, wire_field, length or 1)


@dataclass(frozen=True)
class ViewSchema:
    """What a row of a view is made of: the types of its join keys and of its features, by name, in order."""

    project: str
    view: str
    join_keys: Mapping[str, DataType]
    features: Mapping[str, DataType]

    @property
    def row_bytes(self) -> int:
        """A row on the wire, strings guessed."""
        return sum(each.width_bytes or 32 for each in (*self.join_keys.values(), *self.features.values()))
