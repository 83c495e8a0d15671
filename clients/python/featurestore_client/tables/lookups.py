"""A selection of features, compiled: which tables to read, by which of the key columns, and where each value goes.

Features of the same view that are looked up by the same keys make one *lookup*: one call of the kernel, whatever their number.
When all features share a fixed-width element type the answer is one row-major matrix; a single lookup's buffer is then the
answer itself, and several lookups fill one matrix side by side:

    selection: users:age, users:score, items:price       lookup 0: users    lookup 1: items
    matrix row i:  | age | score | price |               offset 0, 2 items  offset 2, 1 item

Names were resolved by who makes it (the server's ``service/read_plan.py``; for mapped reads the server too, which says what it
found in its answer's schema). No Python object is made for a value anywhere in here.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from featurestore_client.tables.columns import Values
from featurestore_client.tables.reader import Projection, RowBatch
from featurestore_client.tables.table import TableReader
from featurestore_client.types import DataType


class LookupFeature(NamedTuple):
    """One feature of an answer: its name in its view, its type, and which lookup finds it."""

    feature: str
    type: DataType
    lookup: int


class LookupTable(NamedTuple):
    """Where a lookup looks: a table, and which of the selection's key columns are its join keys, in the entity's order."""

    table: TableReader
    key_indices: tuple[int, ...]


class ColumnSource(NamedTuple):
    """Where a column of the answer comes from: a lookup's block of fixed-width columns, or one of its columns of strings."""

    lookup: int
    is_variable: bool
    place: int
    """Among the lookup's columns of strings; or in its block, for an answer of one row, in bytes."""
    width_bytes: int
    """Of one value; 0 for strings."""


Block = tuple[bytes | None, Sequence[tuple[bytes, bytes]]]
"""What one lookup found: its fixed-width columns one after the other, and its columns of strings as data and int32 offsets."""

Answer = tuple[Sequence[Block], bytes | None, bytes | None, bytes | None]
"""What an answer has beside its matrix: a Block of each lookup where there is no matrix, ``row_statuses``, ``nulls``,
``event_timestamps_us``; see ``GetFeaturesResponse``. A named tuple would take as long to make as a row takes to find."""

Place = bytearray | memoryview
"""Where a matrix is to go: a buffer of its size that can be written to."""


class _Lookup:
    def __init__(self, table: TableReader, key_indices: tuple[int, ...], *, identity_keys: bool) -> None:
        self.table = table
        self.key_indices = key_indices
        self.identity_keys = identity_keys  # its keys are the selection's, in the selection's order
        self.features: list[str] = []
        self.types: list[DataType] = []
        self.positions: list[int] = []  # of each feature in the answer

    def compile(self, *, columnar: bool, null_row_bytes: int) -> None:
        self.projection = self.table.projection(
            self.features, columnar=columnar, null_bits=self.positions, null_row_bytes=null_row_bytes
        )
        self.is_contiguous = self.positions[-1] - self.positions[0] == len(self.positions) - 1


class Lookups:
    """The lookups of one selection. Raises NotFoundError where a table lacks a feature."""

    def __init__(
        self,
        tables: Sequence[LookupTable],
        features: Sequence[LookupFeature],
        keys: int,
        *,
        event_timestamps: bool,
        expired_values: bool,
    ) -> None:
        """``keys``: how many key columns the selection has."""
        self._event_timestamps = event_timestamps
        self._expired_values = expired_values
        types = [each.type for each in features]
        self.is_matrix = len({each.scalar for each in types}) == 1 and not types[0].is_variable
        self._offsets = list(accumulate((each.width_bytes for each in types), initial=0))  # of each feature in a matrix row
        self.row_bytes = self._offsets[-1]
        """Of the fixed-width part of an answer's row."""
        self._null_row_bytes = (len(features) + 7) // 8
        self._lookups = [
            _Lookup(table, key_indices, identity_keys=key_indices == tuple(range(keys))) for table, key_indices in tables
        ]
        for position, feature in enumerate(features):
            lookup = self._lookups[feature.lookup]
            lookup.features.append(feature.feature)
            lookup.types.append(feature.type)
            lookup.positions.append(position)
        self.sources = self._compile()
        """Where each column comes from, in the answer's order."""

    @property
    def single(self) -> tuple[TableReader, Projection] | None:
        """Where an answer is what one table has of rows, as a matrix and nothing else: the table, and what of it is read."""
        lookup = self._lookups[0]
        if len(self._lookups) > 1 or not self.is_matrix or self._event_timestamps or self._expired_values:
            return None
        return lookup.table, lookup.projection

    def _compile(self) -> list[ColumnSource]:
        sources: dict[int, ColumnSource] = {}
        for index, lookup in enumerate(self._lookups):
            lookup.compile(columnar=not self.is_matrix, null_row_bytes=self._null_row_bytes)
            start = variable = 0
            for data_type, position in zip(lookup.types, lookup.positions, strict=True):
                if data_type.is_variable:
                    sources[position] = ColumnSource(index, True, variable, 0)
                    variable += 1
                else:
                    sources[position] = ColumnSource(index, False, start, data_type.width_bytes)
                    start += data_type.width_bytes
        return [sources[position] for position in range(len(sources))]

    def read(self, keys: Sequence[Values], rows: int, matrix: Place | None, *, now_us: int) -> Answer:
        """Reads ``rows`` rows. ``keys``: one Values for each of the selection's key columns, all of ``rows`` values.

        ``matrix``: where the values go, ``rows * row_bytes`` bytes; None unless ``is_matrix``.
        """
        if len(self._lookups) > 1:
            return self._read_several(keys, rows, matrix, now_us)
        lookup = self._lookups[0]
        batch = lookup.table.read(
            keys if lookup.identity_keys else [keys[index] for index in lookup.key_indices],
            lookup.projection,
            now_us=now_us,
            expired_values=self._expired_values,
            event_timestamps=self._event_timestamps,
            out=matrix,
        )
        blocks = () if matrix is not None else ((batch.values, batch.var),)
        return blocks, batch.statuses, batch.nulls, batch.event_timestamps_us

    def _read_several(self, keys: Sequence[Values], rows: int, matrix: Place | None, now_us: int) -> Answer:
        nulls = bytearray(rows * self._null_row_bytes)
        batches = []
        for lookup in self._lookups:
            direct = matrix is not None and lookup.is_contiguous
            batch = lookup.table.read(
                [keys[index] for index in lookup.key_indices],
                lookup.projection,
                now_us=now_us,
                expired_values=self._expired_values,
                event_timestamps=self._event_timestamps,
                out=matrix if direct else None,
                out_offset=self._offsets[lookup.positions[0]] if direct else 0,
                out_stride=self.row_bytes if direct else 0,
                nulls_out=nulls,
            )
            if matrix is not None and not direct:
                self._scatter(lookup, batch, matrix, rows)
            batches.append(batch)
        return (
            () if matrix is not None else [(batch.values, batch.var) for batch in batches],
            _joined([batch.statuses for batch in batches], bytes(rows)),
            bytes(nulls) if any(batch.nulls is not None for batch in batches) else None,
            _joined([batch.event_timestamps_us for batch in batches], b""),
        )

    def _scatter(self, lookup: _Lookup, batch: RowBatch, matrix: Place, rows: int) -> None:
        """Copies the features of a lookup, packed, to places in the matrix that are apart."""
        assert batch.values is not None
        target = np.frombuffer(matrix, np.uint8).reshape(rows, self.row_bytes)
        source = np.frombuffer(batch.values, np.uint8).reshape(rows, -1)
        start = 0
        for data_type, position in zip(lookup.types, lookup.positions, strict=True):
            width, offset = data_type.width_bytes, self._offsets[position]
            target[:, offset : offset + width] = source[:, start : start + width]
            start += width


def _joined(parts: Sequence[bytes | None], blank: bytes) -> bytes | None:
    """The parts of all lookups one after the other, ``blank`` for one that has nothing to say; None when none has."""
    if all(part is None for part in parts):
        return None
    return b"".join(blank if part is None else part for part in parts)
