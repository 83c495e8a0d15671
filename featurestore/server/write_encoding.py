"""The rows of a table as batches to write: as few as will do, from which the same rows come when they are written to an empty
table. What ``write_decoding.py`` reads.

Invariant: each row goes out as it was at one instant; rows in the order in which they lie.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from featurestore_client.tables.alignment import length_of
from featurestore_client.tables.columns import Values, VarColumn
from featurestore_client.tables.reader import RowBatch
from featurestore_client.tables.table import TableReader
from featurestore_client.types import ViewSchema

from featurestore.durability import Kind, Message
from featurestore.errors import ResourceExhaustedError
from featurestore.model import DataType
from featurestore.server.columns import ARRAY_OF
from featurestore.server.wire import featurestore_raw_pb2 as wire
from featurestore.store.scan import scan_rows

MESSAGE_BYTES = 1 << 20
"""About so many are in a message."""
ROWS_MAX = 10_000
PRESENT, NOT_FOUND = 0, 2

_Statuses = npt.NDArray[np.uint8]
_Scanned = tuple[list[Values], npt.NDArray[np.int64], npt.NDArray[np.uint8]]


def row_bytes(view: ViewSchema, string_bytes: Mapping[str, float]) -> float:
    """About what a row takes of the messages: its event time and values; ``string_bytes`` of each string, and where it ends."""
    columns = [*view.join_keys.items(), *view.features.items()]
    return 8 + sum(each.width_bytes or 4 + string_bytes[name] for name, each in columns)


def messages_of(table: TableReader, now_us: int) -> Iterator[Message]:
    """All rows of a table while it is written to, and its deletes."""
    project, view = table.view.project, table.view.view
    encoding = _Encoding(table, now_us, lambda statuses: statuses != NOT_FOUND)
    for keys, events, dead in _scanned(table):
        gone = np.flatnonzero(dead)
        if len(gone):
            columns = encoding.key_columns(keys, gone)
            request = wire.DeleteFeaturesRequest(
                project=project, view=view, keys=columns, event_timestamps_us=events[gone].tobytes()
            )
            yield Message(Kind.DELETE, request.SerializeToString(), now_us)
        for batch in encoding.batches(keys, dead):
            written = wire.IngestFeaturesRequest(project=project, view=view, batch=batch)
            yield Message(Kind.INGEST, written.SerializeToString(), now_us)


def batches_of(table: TableReader, now_us: int, *, expired_rows: bool) -> Iterator[wire.WriteBatch]:
    """The rows of a table while it is written to; those past their TTL with ``expired_rows``."""
    encoding = _Encoding(table, now_us, lambda statuses: statuses != NOT_FOUND if expired_rows else statuses == PRESENT)
    for keys, _, dead in _scanned(table):
        yield from encoding.batches(keys, dead)


def _scanned(table: TableReader) -> Iterator[_Scanned]:
    """Keys, event times, and which of them are deletes: a place of memory after the other."""
    snapshot = table._current()
    rows_max = max(1, min(ROWS_MAX, MESSAGE_BYTES // snapshot.layout.row_bytes))
    for shard in range(len(snapshot.segments)):
        place = 0
        while True:
            keys, events, dead, place = scan_rows(snapshot, shard, place, rows_max)
            yield keys, events, dead
            if place == 0:
                break


class _Encoding:
    """How the rows of one table become batches; ``keeps`` says, by their statuses, which."""

    def __init__(self, table: TableReader, now_us: int, keeps: Callable[[_Statuses], npt.NDArray[np.bool_]]) -> None:
        self._table = table
        self._now_us = now_us
        self._keeps = keeps
        self._keys = {name: DataType.parse(each.text) for name, each in table.view.join_keys.items()}
        self._features = {name: DataType.parse(each.text) for name, each in table.view.features.items()}

    def key_columns(self, keys: Sequence[Values], places: npt.NDArray[np.intp]) -> list[wire.Column]:
        """The keys at these places."""
        return [
            _column(name, data_type, _taken(values, places))
            for (name, data_type), values in zip(self._keys.items(), keys, strict=True)
        ]

    def batches(self, keys: Sequence[Values], dead: npt.NDArray[np.uint8]) -> Iterator[wire.WriteBatch]:
        """The rows of these keys that are there."""
        there = np.flatnonzero(dead == 0)
        if len(there):
            yield from self._read([_taken(each, there) for each in keys])

    def _read(self, keys: list[Values]) -> Iterator[wire.WriteBatch]:
        projection = self._table.projection([*self._features], columnar=True)
        try:
            batch = self._table.read(keys, projection, now_us=self._now_us, expired_values=True, event_timestamps=True)
        except ResourceExhaustedError:  # too many bytes of strings for one read
            rows = length_of(keys[0])
            if rows == 1:
                raise
            for half in np.array_split(np.arange(rows), 2):
                yield from self._read([_taken(each, half) for each in keys])
            return
        assert batch.event_timestamps_us is not None
        events = np.frombuffer(batch.event_timestamps_us, np.int64)
        # What has been deleted since the scan is not found.
        kept = np.arange(len(events))
        if batch.statuses:
            kept = np.flatnonzero(self._keeps(np.frombuffer(batch.statuses, np.uint8)))
        if len(kept):
            yield wire.WriteBatch(
                keys=self.key_columns(keys, kept),
                features=_feature_columns(self._features, batch, projection.offsets, len(events), kept),
                event_timestamps_us=events[kept].tobytes(),
            )


def _feature_columns(
    features: dict[str, DataType], batch: RowBatch, offsets: Sequence[int], rows: int, places: npt.NDArray[np.intp]
) -> list[wire.Column]:
    fixed, variable = iter(offsets), iter(batch.var)
    nulls = None
    if batch.nulls is not None:
        nulls = np.unpackbits(np.frombuffer(batch.nulls, np.uint8).reshape(rows, -1), axis=1, bitorder="little")[places]
    columns = []
    for bit, (name, data_type) in enumerate(features.items()):
        values: Values
        if data_type.is_variable:
            data, ends = next(variable)
            values = VarColumn(np.frombuffer(data, np.uint8), np.frombuffer(ends, np.int32))
        else:
            width = data_type.width_bytes
            values = np.frombuffer(batch.values or b"", np.uint8, rows * width, rows * next(fixed)).reshape(rows, width)
        column = _column(name, data_type, _taken(values, places))
        if nulls is not None and nulls[:, bit].any():
            column.validity = np.packbits(nulls[:, bit] == 0, bitorder="little").tobytes()
        columns.append(column)
    return columns


def _column(name: str, data_type: DataType, values: Values) -> wire.Column:
    if isinstance(values, VarColumn):
        return wire.Column(name=name, data=values.data.tobytes(), offsets=values.offsets.tobytes())
    column = wire.Column(name=name)
    setattr(column, ARRAY_OF[data_type.scalar], values.tobytes())
    return column


def _taken(values: Values, places: npt.NDArray[np.intp]) -> Values:
    """The values at these places, which rise."""
    if not isinstance(values, VarColumn):
        return values if len(places) == len(values) else np.ascontiguousarray(values[places])
    rows = len(values.offsets) - 1
    if len(places) == rows:
        return values
    lengths = np.diff(values.offsets)
    kept = np.zeros(rows, bool)
    kept[places] = True
    ends = np.zeros(len(places) + 1, np.int32)
    np.cumsum(lengths[places], out=ends[1:])
    return VarColumn(values.data[: values.offsets[-1]][np.repeat(kept, lengths)], ends)
