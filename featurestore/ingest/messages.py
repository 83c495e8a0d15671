"""From the rows of a part to messages: batches of exactly the view's columns, cut to a size, with what was left out of them.

The work on the values is done by column and batch; only rows that are refused are touched one by one. Invariant: every record
of a part is counted in exactly one message, as loaded, filtered or rejected, and the messages are in the order of the records.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore.ingest.checkpoint import Position
from featurestore.ingest.conversion import KEY_BYTES_MAX, Conversion, Wrong, convert, too_long
from featurestore.ingest.mapping import Mapping, Target
from featurestore.ingest.readers import Chunk, Part
from featurestore.ingest.rejects import Reject
from featurestore.ingest.sources import Source
from featurestore.ingest.times import MICROSECONDS, Rows
from featurestore.ingest.where import Where
from featurestore.model import DataType, Scalar

MESSAGE_BYTES = 3 << 20
"""What the batch of one message takes on the wire at most, where no strings are longer than on average."""
MESSAGE_BYTES_MAX = 7 << 19
"""More than this only for a single row; well below what the client would cut once more, for a batch is to be one message."""
NOTHING = pa.record_batch([], schema=pa.schema([]))
_TIMESTAMP = DataType(scalar=Scalar.TIMESTAMP)
_VALUE_SHOWN_MAX = 1_000


@dataclass(slots=True)
class Message:
    """A batch to write, and the records that it settles."""

    batch: pa.RecordBatch
    """Without rows where all that it settles was left out."""
    position: Position
    """Behind its last record."""
    read: int
    filtered: int
    rejects: list[Reject]
    fraction: float | None
    """How much of the source is read with it, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What is known of a source before its parts are read."""

    index: int
    source: Source
    position_unit: str
    mapping: Mapping
    conversion: Conversion
    where_columns: tuple[str, ...]


class _Rows:
    """The rows of a part that are still to be done, and what is found out about them."""

    def __init__(self, chunk: Chunk, skipped: int) -> None:
        first = skipped if chunk.row_records is None else int(np.searchsorted(chunk.row_records, skipped))
        self.batch = chunk.batch.slice(first) if first else chunk.batch
        self.count: int = self.batch.num_rows
        self.records = np.arange(first, first + self.count) if chunk.row_records is None else chunk.row_records[first:]
        self.refused = np.zeros(self.count, np.bool_)
        self._reasons: dict[int, tuple[str, str]] = {}

    def refuse(self, column: str, wrong: list[Wrong]) -> None:
        """Refuses rows, each for the first reason that is given."""
        for rows, reason in wrong:
            self.refused[rows] = True
            for row in rows.tolist():
                self._reasons.setdefault(row, (column, reason))

    def refuse_nulls(self, column: str, array: pa.Array, reason: str) -> None:
        if array.null_count:
            self.refuse(column, [Wrong(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)), reason)])

    def reason(self, row: int) -> tuple[str, str]:
        """The column of a refused row, and what was expected of it."""
        return self._reasons[row]


class _LeftOut:
    """The records of a part that are not loaded."""

    def __init__(self, filtered: Rows, rejects: list[tuple[int, Reject]]) -> None:
        self._filtered = filtered
        self._rejects = rejects
        self._reject_records = np.array([record for record, _ in rejects], np.int64)

    def between(self, start: int, stop: int) -> tuple[int, list[Reject]]:
        """How many were filtered, and which rejected, of the records from ``start`` on before ``stop``."""
        first, last = np.searchsorted(self._filtered, (start, stop))
        rejected = slice(*np.searchsorted(self._reject_records, (start, stop)))
        return int(last - first), [reject for _, reject in self._rejects[rejected]]


class MessageMaker:
    """Makes the messages of one load. Used by several threads."""

    def __init__(self, timestamp_name: str, started_us: int, where: Where | None) -> None:
        """``timestamp_name`` is what the batches call the event time."""
        self._timestamp_name = timestamp_name
        self._started_us = started_us
        self._where = where

    def messages(self, context: SourceContext, part: Part, skipped: int) -> list[Message]:
        """The messages of a part whose first ``skipped`` records are done already."""
        chunk = part.read()
        rows = _Rows(chunk, skipped)
        batch, selected = NOTHING, np.ones(0, np.bool_)
        if rows.count:
            named, by_column = self._converted(context, rows)
            selected = self._selected(context, rows, by_column)
            batch = pa.record_batch(list(named.values()), names=list(named))
        kept = selected & ~rows.refused
        if not kept.all():
            batch = batch.filter(pa.array(kept))
        rejects = list(_rejects(context, part, rows, np.flatnonzero(selected & rows.refused)))
        for malformed in chunk.malformed:
            if malformed.record >= skipped:
                line = part.position_of(malformed.record)
                value = malformed.value[:_VALUE_SHOWN_MAX]
                reject = Reject(context.source.name, context.position_unit, line, "", value, malformed.reason)
                rejects.append((malformed.record, reject))
        left_out = _LeftOut(rows.records[~selected], sorted(rejects, key=lambda each: each[0]))

        messages, done = [], skipped
        pieces = list(_pieces(batch)) or [(0, 0)]
        loaded = rows.records[kept]
        for start, stop in pieces:
            until = chunk.records if stop == batch.num_rows else int(loaded[stop - 1]) + 1
            filtered, rejected = left_out.between(done, until)
            position = Position(context.index, *part.place_behind(until))
            piece = batch.slice(start, stop - start)
            messages.append(Message(piece, position, until - done, filtered, rejected, part.fraction))
            done = until
        return messages

    def _converted(self, context: SourceContext, rows: _Rows) -> tuple[dict[str, pa.Array], dict[str, pa.Array]]:
        """The view's columns by their names, and by the names that they have in the file."""
        mapping, batch = context.mapping, rows.batch
        named: dict[str, pa.Array] = {}
        by_column: dict[str, pa.Array] = {}

        def take(target: Target) -> None:
            array, wrong = convert(batch.column(target.column), target.type, context.conversion)
            rows.refuse(target.column, wrong)
            named[target.name] = by_column[target.column] = array

        for key in mapping.keys:
            take(key)
            if key.type.is_variable:
                named[key.name], wrong = too_long(named[key.name], KEY_BYTES_MAX)
                rows.refuse(key.column, wrong)
            rows.refuse_nulls(key.column, named[key.name], f"expected {key.type}: a join key is never null")
        if mapping.timestamp is None:
            times = pa.array(np.full(rows.count, self._started_us)).view(MICROSECONDS)
        else:
            times, wrong = convert(batch.column(mapping.timestamp), _TIMESTAMP, context.conversion)
            rows.refuse(mapping.timestamp, wrong)
            rows.refuse_nulls(mapping.timestamp, times, "expected a time: an event timestamp is never null")
            by_column[mapping.timestamp] = times
        for feature in mapping.features:
            take(feature)
        for feature in mapping.late:
            if feature.column in batch.schema.names:
                take(feature)
        named[self._timestamp_name] = times
        return named, by_column

    def _selected(self, context: SourceContext, rows: _Rows, converted: dict[str, pa.Array]) -> npt.NDArray[np.bool_]:
        """The rows that are asked for. One whose value there could not be read is taken as asked for, and so is reported."""
        if self._where is None:
            return np.ones(rows.count, np.bool_)
        seen = {name: converted.get(name, rows.batch.column(name)) for name in context.where_columns}
        # A condition without a column is the same for all rows, which need a column to be counted by.
        seen = seen or {"row": pa.nulls(rows.count, pa.bool_())}
        selected = self._where.mask(pa.table(seen))
        unreadable = [row for row in np.flatnonzero(rows.refused & ~selected).tolist() if rows.reason(row)[0] in seen]
        selected[unreadable] = True
        return selected


def _rejects(context: SourceContext, part: Part, rows: _Rows, refused: Rows) -> Iterator[tuple[int, Reject]]:
    """Each refused row with its record."""
    for row in refused.tolist():
        column, reason = rows.reason(row)
        record = int(rows.records[row])
        value = _shown(rows.batch.column(column)[row])
        yield record, Reject(context.source.name, context.position_unit, part.position_of(record), column, value, reason)


def _shown(scalar: pa.Scalar) -> str | None:
    try:
        value = scalar.as_py()
    except (OverflowError, ValueError):
        # A time that Python has none for, or text that is not UTF-8.
        is_text = isinstance(scalar, pa.StringScalar)
        value = scalar.as_buffer().to_pybytes() if is_text else f"{getattr(scalar, 'value', '')} {scalar.type}".strip()
    if value is None:
        return None
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    return text[:_VALUE_SHOWN_MAX]


def _pieces(batch: pa.RecordBatch) -> Iterator[tuple[int, int]]:
    """Where to cut a batch, evenly, so that a piece takes no more than ``MESSAGE_BYTES``."""
    rows = batch.num_rows
    if rows:
        step = -(-rows // -(-max(wire_bytes(batch), 1) // MESSAGE_BYTES))
        is_even = not any(pa.types.is_string(kind) or pa.types.is_binary(kind) for kind in batch.schema.types)
        for start in range(0, rows, step):
            stop = min(rows, start + step)
            yield from [(start, stop)] if is_even else _halved(batch, start, stop)


def _halved(batch: pa.RecordBatch, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cuts again where strings are longer than on average."""
    if stop - start < 2 or wire_bytes(batch.slice(start, stop - start)) <= MESSAGE_BYTES_MAX:
        yield start, stop
    else:
        middle = (start + stop) // 2
        yield from _halved(batch, start, middle)
        yield from _halved(batch, middle, stop)


def wire_bytes(batch: pa.RecordBatch) -> int:
    """About what a batch takes in a message: as in memory, but a byte for each bool."""
    bools = sum(1 for kind in batch.schema.types if pa.types.is_boolean(kind))
    size: int = batch.nbytes + batch.num_rows * bools
    return size
