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
from featurestore.server.columns import WireColumn, read_event_timestamps, read_features, read_keys, readers_of
from featurestore.server.messages import parse
from featurestore.server.wire import featurestore_raw_pb2 as wire
from featurestore.server.write_wire import Batch, read_ingest_request, read_write_request
from featurestore.service import WritePlan

_REQUESTS: Mapping[Kind, type[ProtobufMessage]] = {
    Kind.WRITE: wire.WriteFeaturesRequest,
    Kind.INGEST: wire.IngestFeaturesRequest,
    Kind.DELETE: wire.DeleteFeaturesRequest,
}


class PreparedWrite:
    """A write plan and how its columns are read."""

    __slots__ = ("features", "join_keys", "plan")

    def __init__(self, plan: WritePlan) -> None:
        self.plan = plan
        self.join_keys = readers_of(plan.join_keys)
        self.features = readers_of(plan.features)


class DecodedBatch(NamedTuple):
    """Rows to write or delete, decoded and checked, and what they came in."""

    plan: WritePlan
    keys: Sequence[Values]
    event_timestamps_us: npt.NDArray[np.int64]
    columns: Mapping[str, Column]
    rows: int
    message: Message


def decode_batch(
    batch: wire.WriteBatch | Batch, prepared: PreparedWrite, message: Message, known: frozenset[str] | None = None
) -> DecodedBatch:
    """A batch to write. ``known``: features that are read, and others are passed over; without it others are refused."""
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
            batch = decode_delete(parse(wire.DeleteFeaturesRequest, message.data), prepared, message)
            return partial(plan.table.delete, batch.keys, batch.event_timestamps_us, now_us=message.now_us)
        rows: wire.WriteBatch | Batch
        if message.kind is Kind.WRITE:
            rows = (read_write_request(message.data) or parse(wire.WriteFeaturesRequest, message.data)).batch
        else:
            rows = (read_ingest_request(message.data) or parse(wire.IngestFeaturesRequest, message.data)).batch
        batch = decode_batch(rows, prepared, message, features)
        return partial(plan.table.write, batch.keys, batch.event_timestamps_us, batch.columns, now_us=message.now_us)
