"""From the rows of a part to messages: batches of exactly the view's columns, cut to a size, with what was left out of them.

The work on the values is done by column and batch; only rows that are refused are touched one by one. Invariant: every record of a
part is counted in exactly one message, as loaded, filtered or rejected, and the messages are in the order of the records.
"""

from collections.abc import Callable, Iterator
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
from featurestore.ingest.times import MICROSECONDS
from featurestore.ingest.where import Where
from featurestore.model import DataType, Scalar

MESSAGE_BYTES = 1 << 20
"""About what the batch of one message takes on the wire."""
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


class _Refused:
    """Which rows of a batch are refused, each for the first reason that is given."""

    def __init__(self, rows: int) -> None:
        self.rows = np.zeros(rows, np.bool_)
        self._reasons: dict[int, tuple[str, str]] = {}

    def add(self, column: str, wrong: list[Wrong]) -> None:
        for rows, reason in wrong:
            self.rows[rows] = True
            for row in rows.tolist():
                self._reasons.setdefault(row, (column, reason))

    def reason(self, row: int) -> tuple[str, str]:
        """The column and what was expected of it."""
        return self._reasons[row]


class MessageMaker:
    """Makes the messages of one load. Used by several threads."""

    def __init__(self, timestamp_name: str, started_us: int, where: Where | None) -> None:
        self._timestamp_name = timestamp_name
        self._started_us = started_us
        self._where = where

    def messages(self, context: SourceContext, part: Part, skipped: int) -> list[Message]:
        """The messages of a part whose first ``skipped`` records are done already."""
        chunk = part.read()
        first = skipped if chunk.row_records is None else int(np.searchsorted(chunk.row_records, skipped))
        rows = chunk.batch.slice(first) if first else chunk.batch
        row_records = np.arange(first, first + rows.num_rows) if chunk.row_records is None else chunk.row_records[first:]
        present = set(rows.schema.names)
        refused = _Refused(rows.num_rows)
        if rows.num_rows:
            named, by_column = self._converted(context, rows, present, refused)
        else:
            named, by_column = {}, {}
        selected = self._selected(context, rows, by_column, refused)
        kept = selected & ~refused.rows
        batch = pa.record_batch(list(named.values()), names=list(named)) if named else NOTHING
        if not kept.all():
            batch = batch.filter(pa.array(kept))
        rejects = self._rejects(context, part, chunk, rows, row_records, selected & refused.rows, refused, skipped)
        return list(
            _cut(
                batch,
                row_records[kept],
                row_records[~selected],
                rejects,
                (skipped, chunk.records),
                lambda records: Position(context.index, part.token, records),
                part.fraction,
            )
        )

    def _converted(
        self, context: SourceContext, rows: pa.RecordBatch, present: set[str], refused: _Refused
    ) -> tuple[dict[str, pa.Array], dict[str, pa.Array]]:
        """The view's columns by their names, and by the names that they have in the file."""
        mapping, named, by_column = context.mapping, {}, {}

        def take(target: Target) -> None:
            array, wrong = convert(rows.column(target.column), target.type, context.conversion)
            refused.add(target.column, wrong)
            named[target.name] = by_column[target.column] = array

        def refuse_nulls(array: pa.Array, column: str, reason: str) -> None:
            if array.null_count:
                refused.add(column, [Wrong(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)), reason)])

        for key in mapping.keys:
            take(key)
            if key.type.is_variable:
                named[key.name], wrong = too_long(named[key.name], KEY_BYTES_MAX)
                refused.add(key.column, wrong)
            refuse_nulls(named[key.name], key.column, f"expected {key.type}: a join key is never null")
        if mapping.timestamp is not None:
            times, wrong = convert(rows.column(mapping.timestamp), _TIMESTAMP, context.conversion)
            refused.add(mapping.timestamp, wrong)
            refuse_nulls(times, mapping.timestamp, "expected a time: an event timestamp is never null")
            by_column[mapping.timestamp] = times
        else:
            times = pa.array(np.full(rows.num_rows, self._started_us)).view(MICROSECONDS)
        for feature in mapping.features:
            take(feature)
        for late in mapping.late:
            if late.column in present:
                take(late)
        named[self._timestamp_name] = times
        return named, by_column

    def _selected(
        self, context: SourceContext, rows: pa.RecordBatch, converted: dict[str, pa.Array], refused: _Refused
    ) -> npt.NDArray[np.bool_]:
        """The rows that are asked for. One whose value there could not be read is taken as asked for, and so is reported."""
        if self._where is None or not rows.num_rows:
            return np.ones(rows.num_rows, np.bool_)
        names = [name for name in context.where_columns if name in rows.schema.names]
        seen = [converted.get(name, rows.column(name)) for name in names]
        fields = pa.record_batch(seen, names=names) if names else pa.record_batch([pa.nulls(rows.num_rows)], names=["row"])
        selected = self._where.mask(fields)
        unreadable = [row for row in np.flatnonzero(refused.rows & ~selected).tolist() if refused.reason(row)[0] in names]
        selected[unreadable] = True
        return selected

    @staticmethod
    def _rejects(
        context: SourceContext,
        part: Part,
        chunk: Chunk,
        rows: pa.RecordBatch,
        row_records: npt.NDArray[np.int64],
        rejected: npt.NDArray[np.bool_],
        refused: _Refused,
        skipped: int,
    ) -> list[tuple[int, Reject]]:
        """(record, reject), in order."""
        found = []
        name, unit = context.source.name, context.position_unit
        for row in np.flatnonzero(rejected).tolist():
            column, reason = refused.reason(row)
            record = int(row_records[row])
            value = _shown(rows.column(column)[row])
            found.append((record, Reject(name, unit, part.position_of(record), column, value, reason)))
        for malformed in chunk.malformed:
            if malformed.record >= skipped:
                line = part.position_of(malformed.record)
                reject = Reject(name, unit, line, "", malformed.value[:_VALUE_SHOWN_MAX], malformed.reason)
                found.append((malformed.record, reject))
        return sorted(found, key=lambda each: each[0]) if chunk.malformed else found


NOTHING = pa.record_batch([], schema=pa.schema([]))


def _shown(value: pa.Scalar) -> str | None:
    found = value.as_py()
    if found is None:
        return None
    text = found.decode(errors="backslashreplace") if isinstance(found, bytes) else str(found)
    return text[:_VALUE_SHOWN_MAX]


def _cut(
    batch: pa.RecordBatch,
    kept: npt.NDArray[np.int64],
    filtered: npt.NDArray[np.int64],
    rejects: list[tuple[int, Reject]],
    records: tuple[int, int],
    position: Callable[[int], Position],
    fraction: float | None,
) -> Iterator[Message]:
    """The batch in pieces of about ``MESSAGE_BYTES``, each with the records from the end of the piece before to its own."""
    done, end = records
    reject_records = np.array([record for record, _ in rejects], np.int64)
    pieces = list(_pieces(batch)) or [(0, 0)]
    for number, (start, stop) in enumerate(pieces):
        until = end if number == len(pieces) - 1 else int(kept[stop - 1]) + 1
        left_out = int(np.searchsorted(filtered, until) - np.searchsorted(filtered, done))
        refused = slice(*np.searchsorted(reject_records, (done, until)))
        yield Message(
            batch.slice(start, stop - start),
            position(until),
            until - done,
            left_out,
            [reject for _, reject in rejects[refused]],
            fraction,
        )
        done = until


def _pieces(batch: pa.RecordBatch) -> Iterator[tuple[int, int]]:
    rows = batch.num_rows
    if not rows:
        return
    step = max(1, int(rows * MESSAGE_BYTES / max(wire_bytes(batch), 1)))
    for start in range(0, rows, step):
        yield from _halved(batch, start, min(rows, start + step))


def _halved(batch: pa.RecordBatch, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Pieces again where strings are longer than on average."""
    if stop - start < 2 or wire_bytes(batch.slice(start, stop - start)) <= 2 * MESSAGE_BYTES:
        yield start, stop
    else:
        middle = (start + stop) // 2
        yield from _halved(batch, start, middle)
        yield from _halved(batch, middle, stop)


def wire_bytes(batch: pa.RecordBatch) -> int:
    """About what a batch takes in a message: as in memory, but a byte for each bool."""
    bools = sum(pa.types.is_boolean(kind) for kind in batch.schema.types)
    nbytes: int = batch.nbytes
    return nbytes + bools * batch.num_rows
