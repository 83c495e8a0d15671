"""Writes and deletes from their messages: for the handlers, and for the journal, which keeps the messages as they came."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from featurestore_client.tables.alignment import length_of
from featurestore_client.tables.columns import Column, Values
from google.protobuf.message import Message as ProtobufMessage

from featurestore.durability import Entry, Kind, Message
from featurestore.errors import InvalidArgumentError
from featurestore.model import DataType
from featurestore.server.columns import ARRAY_OF, WireColumn, read_event_timestamps, read_features, read_keys, readers_of
from featurestore.server.messages import parse
from featurestore.server.wire import featurestore_raw_pb2 as wire
from featurestore.server.write_wire import Batch, WriteFormat, WriteRequest, read_ingest_request, read_write_request
from featurestore.service import WritePlan
from featurestore.store import UNLIMITED, FixedBatch

_WRITES = {Kind.WRITE: wire.WriteFeaturesRequest, Kind.INGEST: wire.IngestFeaturesRequest}
_REQUESTS: Mapping[Kind, type[ProtobufMessage]] = {**_WRITES, Kind.DELETE: wire.DeleteFeaturesRequest}


class PreparedWrite:
    """A write plan and how its columns are read."""

    __slots__ = ("features", "format", "join_keys", "plan")

    def __init__(self, plan: WritePlan) -> None:
        self.plan = plan
        self.join_keys = readers_of(plan.join_keys)
        self.features = readers_of(plan.features)
        layout = plan.table.layout
        known = {slot.name: str(slot.type) for slot in layout.slots}  # unless the definitions are just changing
        features = {name: each for name, each in plan.features.items() if known.get(name) == str(each)}
        self.format = WriteFormat(_arrays_of(plan.join_keys), _arrays_of(features), layout)


def _arrays_of(columns: Mapping[str, DataType]) -> dict[str, str]:
    return {name: ARRAY_OF[data_type.scalar] for name, data_type in columns.items()}


class DecodedBatch(NamedTuple):
    """Rows to write or delete, decoded and checked, and what they came in."""

    plan: WritePlan
    keys: Sequence[Values]
    event_timestamps_us: npt.NDArray[np.int64]
    columns: Mapping[str, Column]
    rows: int
    message: Message


class DecodedFixedBatch(NamedTuple):
    """Rows to write that lie in what they came in."""

    plan: WritePlan
    batch: FixedBatch
    message: Message


Decoded = DecodedBatch | DecodedFixedBatch

AnyWrite = wire.WriteFeaturesRequest | wire.IngestFeaturesRequest | WriteRequest
"""As protobuf read it, or the walk over an ordinary one."""


def read_write(message: Message) -> AnyWrite:
    """The write that is in a message. InvalidArgumentError where none is."""
    read = read_write_request if message.kind is Kind.WRITE else read_ingest_request
    return read(message.data) or parse(_WRITES[message.kind], message.data)


def decode_write(request: AnyWrite, prepared: PreparedWrite, message: Message, known: frozenset[str] | None = None) -> Decoded:
    """A batch to write. ``known``: features that are read, and others are passed over; without it others are refused."""
    if isinstance(request, WriteRequest) and (known is None or known >= prepared.features.keys()):
        fixed = request.fixed_batch(prepared.format, message.now_us)
        if fixed is not None:
            return DecodedFixedBatch(prepared.plan, fixed, message)
    return decode_columns(request, prepared, message, known)


def decode_columns(
    request: AnyWrite, prepared: PreparedWrite, message: Message, known: frozenset[str] | None = None
) -> DecodedBatch:
    """As ``decode_write``, of a batch that does not lie in its message."""
    batch: wire.WriteBatch | Batch | None
    if isinstance(request, WriteRequest):
        batch = request.batch()
        if batch is None:
            batch = parse(_WRITES[message.kind], message.data).batch
    else:
        batch = request.batch
    keys, rows = _keys_of_rows(batch.keys, prepared, "batch.keys")
    features = batch.features if known is None else [column for column in batch.features if column.name in known]
    columns = read_features(features, prepared.features, rows, "batch.features")
    times = read_event_timestamps(batch.event_timestamps_us, rows, message.now_us, "batch.event_timestamps_us")
    return DecodedBatch(prepared.plan, keys, times, columns, rows, message)


def decode_delete(request: wire.DeleteFeaturesRequest, prepared: PreparedWrite, message: Message) -> DecodedBatch:
    """Keys to delete."""
    keys, rows = _keys_of_rows(request.keys, prepared, "keys")
    times = read_event_timestamps(request.event_timestamps_us, rows, message.now_us, "event_timestamps_us")
    return DecodedBatch(prepared.plan, keys, times, {}, rows, message)


def _keys_of_rows(columns: Sequence[WireColumn], prepared: PreparedWrite, field: str) -> tuple[list[Values], int]:
    """The key columns of rows to write or delete, all of one length."""
    keys = read_keys(columns, prepared.join_keys, field)
    rows = length_of(keys[0])
    for name, values in zip(prepared.join_keys, keys, strict=True):
        if length_of(values) != rows:
            raise InvalidArgumentError.of(
                f"{field}.{name}", f"{length_of(values)} values", f"{rows}, as in the first key column"
            )
    return keys, rows


def message_problem(message: Message) -> str | None:
    """What keeps a message from being applied again, whatever the definitions; None where nothing does."""
    try:
        parse(_REQUESTS[message.kind], message.data)
    except InvalidArgumentError as error:
        return error.message
    return None


class Replay:
    """Applies entries of the journal to their tables (``featurestore.service.recovery``)."""

    def __init__(self) -> None:
        self._prepared: dict[WritePlan, PreparedWrite] = {}

    def __call__(self, entry: Entry, plan: WritePlan, features: frozenset[str]) -> Callable[[], object]:
        """Decodes what the entry writes or deletes; what it gives back does it. Features that are not known are passed over."""
        prepared = self._prepared.get(plan)
        if prepared is None:
            prepared = self._prepared[plan] = PreparedWrite(plan)
        message = entry.message
        if message.kind is Kind.DELETE:
            gone = decode_delete(parse(wire.DeleteFeaturesRequest, message.data), prepared, message)
            return partial(plan.table.delete, gone.keys, gone.event_timestamps_us, now_us=message.now_us, limits=UNLIMITED)
        batch = decode_write(read_write(message), prepared, message, features)
        if isinstance(batch, DecodedFixedBatch):
            return partial(plan.table.write_fixed, batch.batch, now_us=message.now_us, limits=UNLIMITED)
        columns = batch.keys, batch.event_timestamps_us, batch.columns
        return partial(plan.table.write, *columns, now_us=message.now_us, limits=UNLIMITED)
