"""Parquet and Arrow (Feather) files: columns of known types, decoded in bounded batches of the columns that are wanted.

Decoding happens on one thread, the one that asks for the next part, so that the second core is free for the server. Invariant:
at most one batch and the pages that it is decoded from are in memory, however large a row group is.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.errors import InvalidArgumentError
from featurestore.ingest.readers.chunks import CHUNK_BYTES, Chunk, Token, Wanted
from featurestore.ingest.sources import Source, open_random

_PAGE_BUFFER_BYTES = 256 << 10
_ROWS_MIN, _ROWS_MAX = 64, 65_536
_VARIABLE_BYTES = 64
"""What a string is taken for when the rows of a batch are estimated."""


class _BatchPart:
    """A batch that is already decoded."""

    def __init__(self, batch: pa.RecordBatch, row: int, fraction: float) -> None:
        self._batch, self._row, self._fraction = batch, row, fraction

    def place_behind(self, records: int) -> tuple[Token, int]:
        # How rows fall into batches depends on the row group that is begun with; their numbers do not.
        return {"row": self._row + records}, 0

    @property
    def fraction(self) -> float | None:
        return self._fraction

    def read(self) -> Chunk:
        return Chunk(self._batch, self._batch.num_rows)

    def position_of(self, record: int) -> int:
        return self._row + record + 1


def batch_rows(kinds: list[pa.DataType], row_bytes_known: int = 0) -> int:
    """How many rows of these types make a chunk, of which a file may say that they take more than their types show."""
    row_bytes = 0
    for kind in kinds:
        items = 1
        while pa.types.is_fixed_size_list(kind):
            items, kind = items * kind.list_size, kind.value_type  # noqa: PLW2901  down to the element
        try:
            row_bytes += items * max(kind.bit_width // 8, 1)
        except ValueError:
            row_bytes += items * _VARIABLE_BYTES
    return max(_ROWS_MIN, min(_ROWS_MAX, CHUNK_BYTES // max(row_bytes, row_bytes_known, 1)))


class ParquetReader:
    """One Parquet file."""

    position_unit = "row"

    def __init__(self, source: Source) -> None:
        self._source = source
        try:
            # Pages are read through small buffers: reading ahead would hold a whole row group. The days and nanoseconds of
            # int96 (Spark's, Hive's) are more than 64 bits of nanoseconds hold: 9999-12-31 would come out in 1816.
            self._file = pq.ParquetFile(
                open_random(source), buffer_size=_PAGE_BUFFER_BYTES, pre_buffer=False, coerce_int96_timestamp_unit="us"
            )
        except (pa.ArrowInvalid, OSError) as error:
            raise InvalidArgumentError.of(source.name, str(error), "a Parquet file") from error

    @property
    def schema(self) -> pa.Schema:
        return self._file.schema_arrow

    def parts(self, wanted: Wanted, start: Token | None = None) -> Iterator[_BatchPart]:
        metadata = self._file.metadata
        first = start["row"] if start else 0
        row, group = 0, 0
        while group < metadata.num_row_groups and row + metadata.row_group(group).num_rows <= first:
            row += metadata.row_group(group).num_rows
            group += 1
        if group == metadata.num_row_groups:
            return
        columns = list(wanted.columns)
        rows = batch_rows([self.schema.field(name).type for name in columns], self._row_bytes(columns))
        groups = list(range(group, metadata.num_row_groups))
        for batch in self._file.iter_batches(rows, row_groups=groups, columns=columns, use_threads=False):
            skipped = min(max(first - row, 0), batch.num_rows)
            row += skipped
            if skipped < batch.num_rows:
                yield _BatchPart(batch.slice(skipped), row, (row + batch.num_rows - skipped) / metadata.num_rows)
            row += batch.num_rows - skipped

    def _row_bytes(self, columns: list[str]) -> int:
        """What a row takes in the row group where rows are widest: long strings show only here."""
        metadata, widest = self._file.metadata, 0
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            chunks = [group.column(index) for index in range(group.num_columns)]
            size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)
            widest = max(widest, size // max(group.num_rows, 1))
        return widest

    def close(self) -> None:
        self._file.close(force=True)


class ArrowReader:
    """One Arrow IPC file (Feather version 2) or stream."""

    position_unit = "row"

    def __init__(self, source: Source) -> None:
        self._source = source
        # Mapped, a batch that is larger than a chunk is paged in by the system and not held by us.
        is_local = "://" not in source.location and not source.is_standard_input
        self._raw = pa.memory_map(source.location) if is_local else open_random(source)
        self._is_file = self._raw.read(6) == b"ARROW1"
        try:
            self._schema: pa.Schema = self._open(None).schema
        except (pa.ArrowInvalid, OSError) as error:
            expected = "an Arrow file (Feather version 2) or stream"
            raise InvalidArgumentError.of(source.name, str(error), expected) from error

    def _open(self, included: list[int] | None) -> Any:
        self._raw.seek(0)
        options = pa.ipc.IpcReadOptions(included_fields=included, use_threads=False)
        return (pa.ipc.open_file if self._is_file else pa.ipc.open_stream)(self._raw, options=options)

    @property
    def schema(self) -> pa.Schema:
        return self._schema

    def parts(self, wanted: Wanted, start: Token | None = None) -> Iterator[_BatchPart]:
        first = start["row"] if start else 0
        columns = list(wanted.columns)
        rows = batch_rows([self._schema.field(name).type for name in columns])
        row = 0
        for whole, before, after in self._batches([self._schema.get_field_index(name) for name in columns]):
            for at in range(0, whole.num_rows, rows):
                piece = whole.slice(at, rows)
                skipped = min(max(first - row, 0), piece.num_rows)
                row += skipped
                if skipped < piece.num_rows:
                    share = (at + piece.num_rows) / whole.num_rows
                    yield _BatchPart(piece.slice(skipped), row, before + (after - before) * share)
                row += piece.num_rows - skipped

    def _batches(self, included: list[int]) -> Iterator[tuple[pa.RecordBatch, float, float]]:
        """The batches, each with the fractions of the file before and behind it."""
        reader = self._open(included)
        if self._is_file:
            count = reader.num_record_batches
            for index in range(count):
                yield reader.get_batch(index), index / count, (index + 1) / count
        else:
            before, size = 0.0, self._raw.size()
            for batch in reader:
                after = self._raw.tell() / size
                yield batch, before, after
                before = after

    def close(self) -> None:
        self._raw.close()
