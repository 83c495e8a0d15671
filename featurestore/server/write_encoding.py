"""The rows of a table as messages: as few as will do, from which the same rows come when they are applied to an empty table.

What ``write_decoding.py`` reads. Invariant: each row goes out as it was at one instant; rows in the order in which they lie.
"""

from collections.abc import Iterator, Mapping, Sequence

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
NOT_FOUND = 2


def row_bytes(view: ViewSchema, string_bytes: Mapping[str, float]) -> float:
    """About what a row takes of the messages: its event time and values; ``string_bytes`` of each string, and where it ends."""
    columns = [*view.join_keys.items(), *view.features.items()]
    return 8 + sum(each.width_bytes or 4 + string_bytes[name] for name, each in columns)


def messages_of(table: TableReader, now_us: int) -> Iterator[Message]:
    """All rows of a table while it is written to, and its deletes."""
    snapshot = table._current()
    view = table.view
    rows_max = max(1, min(ROWS_MAX, MESSAGE_BYTES // snapshot.layout.row_bytes))
    keys_of = {name: DataType.parse(each.text) for name, each in view.join_keys.items()}
    features = {name: DataType.parse(each.text) for name, each in view.features.items()}
    for shard in range(len(snapshot.segments)):
        place = 0
        while True:
            keys, events, dead, place = scan_rows(snapshot, shard, place, rows_max)
            gone = np.flatnonzero(dead)
            if len(gone):
                request = wire.DeleteFeaturesRequest(
                    project=view.project,
                    view=view.view,
                    keys=_key_columns(keys_of, keys, gone),
                    event_timestamps_us=events[gone].tobytes(),
                )
                yield Message(Kind.DELETE, request.SerializeToString(), now_us)
            there = np.flatnonzero(dead == 0)
            if len(there):
                yield from _written(table, keys_of, features, [_taken(each, there) for each in keys], now_us)
            if place == 0:
                break


def _written(
    table: TableReader, keys_of: dict[str, DataType], features: dict[str, DataType], keys: list[Values], now_us: int
) -> Iterator[Message]:
    projection = table.projection([*features], columnar=True)
    try:
        batch = table.read(keys, projection, now_us=now_us, expired_values=True, event_timestamps=True)
    except ResourceExhaustedError:  # too many bytes of strings for one read
        rows = length_of(keys[0])
        if rows == 1:
            raise
        for half in np.array_split(np.arange(rows), 2):
            yield from _written(table, keys_of, features, [_taken(each, half) for each in keys], now_us)
        return
    assert batch.event_timestamps_us is not None
    events = np.frombuffer(batch.event_timestamps_us, np.int64)
    # What has been deleted since is in the journal behind the snapshot.
    found = np.flatnonzero(np.frombuffer(batch.statuses, np.uint8) != NOT_FOUND) if batch.statuses else np.arange(len(events))
    if not len(found):
        return
    columns = _feature_columns(features, batch, projection.offsets, len(events), found)
    request = wire.IngestFeaturesRequest(
        project=table.view.project,
        view=table.view.view,
        batch=wire.WriteBatch(
            keys=_key_columns(keys_of, keys, found), features=columns, event_timestamps_us=events[found].tobytes()
        ),
    )
    yield Message(Kind.INGEST, request.SerializeToString(), now_us)


def _key_columns(types: dict[str, DataType], keys: Sequence[Values], places: npt.NDArray[np.intp]) -> list[wire.Column]:
    return [
        _column(name, data_type, _taken(values, places)) for (name, data_type), values in zip(types.items(), keys, strict=True)
    ]


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
