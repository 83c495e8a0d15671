"""What a client remembers between reads: each selection's bytes, and the schema of its last answer.

A model server asks for one selection a million times. Its part of the request is encoded once, and the id of the schema that
the last answer had goes along, so that the server leaves the schema out. Invariant: the prefix and the schema that it names
are swapped as one, so that a thread never reads an answer by a schema that its request did not name.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from featurestore_client.answers import AnswerSchema, FeatureBatch, matrix_of
from featurestore_client.columns import columns_in, key_column
from featurestore_client.encoding import get_request, get_request_prefix, ordinary_get_request
from featurestore_client.errors import InternalError, InvalidArgumentError
from featurestore_client.wire import featurestore_raw_pb2 as wire

if TYPE_CHECKING:
    from featurestore_client.shared_reads import LocalRead

DEFAULT_PROJECT = "default"
SELECTIONS_MAX = 1_024
"""Remembered at a time; the oldest is forgotten for a new one."""


class Selection:
    """What to read, as one request after another says it."""

    __slots__ = ("_current", "_encoded", "event_timestamps", "expired_values", "local", "project", "quick")

    def __init__(self, encoded: bytes, project: str, *, event_timestamps: bool, expired_values: bool) -> None:
        self._encoded = encoded
        self.project = project
        self.event_timestamps = event_timestamps
        self.expired_values = expired_values
        self.local: LocalRead | None = None
        """How to read it without a call, once that is known."""
        self.quick: Callable[[Any], FeatureBatch | None] | None = None
        """The shortest way of ``local``, where it has one."""
        self._current: tuple[bytes, AnswerSchema | None] = get_request_prefix(encoded, None), None

    def request(self, keys: Any) -> tuple[bytes, AnswerSchema | None]:
        """The request for these keys, and the schema that it says is known, for ``answer``."""
        prefix, schema = self._current
        if schema is not None and keys.__class__ is dict and keys:
            request = ordinary_get_request(prefix, schema.join_keys, keys)
            if request is not None:
                return request, schema
        if not isinstance(keys, Mapping):
            with suppress(InvalidArgumentError):
                keys = columns_in(keys)
        if not isinstance(keys, Mapping) or not keys:
            raise InvalidArgumentError.of("keys", keys, 'a mapping of join keys to values, such as {"carrier": ["AA", "UA"]}')
        types = {} if schema is None else schema.join_keys
        try:
            return get_request(prefix, [key_column(name, values, types.get(name)) for name, values in keys.items()]), schema
        except InvalidArgumentError:
            # Perhaps the definitions have changed: by the values' own types, so that the server judges. What nobody can send is
            # told by the types that were.
            with suppress(InvalidArgumentError):
                return get_request(prefix, [key_column(name, values) for name, values in keys.items()]), schema
            raise

    def answer(self, encoded: bytes, known: AnswerSchema | None) -> tuple[FeatureBatch, AnswerSchema]:
        """The answer to a request, and its schema, which is ``known`` unless it brings a new one."""
        if known is not None and (ordinary := matrix_of(encoded, known)) is not None:
            return FeatureBatch(known, *ordinary, expired_values=self.expired_values), known
        answer = wire.GetFeaturesResponse.FromString(encoded)
        if known is None or answer.schema_id != known.schema_id:
            if not answer.schema:
                raise InternalError(f"the answer is of schema {answer.schema_id}, which the request did not name, and lacks it")
            known = AnswerSchema.decode(answer.schema_id, answer.schema)
            self._current = get_request_prefix(self._encoded, known.schema_id), known
        return FeatureBatch.decode(answer, known, expired_values=self.expired_values), known


class Selections:
    """The selections of one client. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.known: dict[tuple[object, ...], Selection] = {}
        """By features, project, event_timestamps, expired_values."""

    def find(self, features: str | Sequence[str], project: str, event_timestamps: bool, expired_values: bool) -> Selection:
        """The selection of a service by name, or of a list of ``view:feature``."""
        try:
            wanted = features if isinstance(features, str) else tuple(features)
            identity = (wanted, project, event_timestamps, expired_values)
            return self.known[identity]
        except KeyError:
            return self._add(identity, wanted, project, event_timestamps, expired_values)
        except TypeError:
            raise InvalidArgumentError.of("features", features, "a service's name, or a list of 'view:feature'") from None

    def forget(self) -> None:
        """Forgets all: a client that is closed answers nothing by itself."""
        with self._lock:
            self.known.clear()

    def _add(
        self,
        identity: tuple[object, ...],
        wanted: str | tuple[str, ...],
        *options: Any,
    ) -> Selection:
        project, event_timestamps, expired_values = options
        message = wire.FeatureSelection(
            project=project, event_timestamps=bool(event_timestamps), expired_values=bool(expired_values)
        )
        try:
            if isinstance(wanted, str):
                message.service = wanted
            else:
                message.features.extend(wanted)
        except TypeError:
            raise InvalidArgumentError.of("features", wanted, "a service's name, or a list of 'view:feature'") from None
        selection = Selection(
            message.SerializeToString(),
            project or DEFAULT_PROJECT,
            event_timestamps=bool(event_timestamps),
            expired_values=bool(expired_values),
        )
        with self._lock:
            while len(self.known) >= SELECTIONS_MAX:
                del self.known[next(iter(self.known))]
            return self.known.setdefault(identity, selection)
