"""Read plans: a selection of features resolved once, to column offsets and compiled projections, and then read many times.

A selection names a feature service, or features of views. Features of the same view that are looked up by the same keys make
one *lookup*: one call of the store, whatever their number. When all features share a fixed-width element type the answer is
one row-major matrix; a single lookup's buffer is then the answer itself, and several lookups fill one matrix side by side:

    service: users:age, users:score, items:price       lookup 0: users    lookup 1: items
    matrix row i:  | age | score | price |             offset 0, 2 items  offset 2, 1 item

Invariant: a plan is valid for the version of the definitions it was made from; whoever keeps one drops it when that moves. No
Python object is made for a value anywhere in here.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

import numpy as np
from pydantic import ValidationError

from featurestore.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError
from featurestore.model import FEATURES_MAX, DataType, FeatureReference
from featurestore.registry import Definitions
from featurestore.store import Projection, RowBatch, TableReader
from featurestore.store.columns import Values

QUICK_ANSWER_BYTES = 1 << 20
"""An answer of more bytes takes so long that it is made in a worker thread, while the event loop goes on."""
_VARIABLE_VALUE_BYTES = 64  # what a string is assumed to take when the size of an answer is guessed
_REFERENCE_CHARACTERS_MAX = 512


class Selection(NamedTuple):
    """What to read: exactly one of a feature service and a list of ``view:feature`` or ``view:feature as name``."""

    project: str
    service: str = ""
    features: tuple[str, ...] = ()
    event_timestamps: bool = False
    expired_values: bool = False


class AnswerFeature(NamedTuple):
    """One feature of an answer: its name there, its type, and which of the plan's views it is of."""

    name: str
    type: DataType
    view_index: int


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


class Tables(Protocol):
    """Where a plan finds the table of a view."""

    def table(self, project: str, view: str) -> TableReader:
        """NotFoundError when there is none."""
        ...


class _Lookup:
    """One view, read by one set of key columns."""

    def __init__(self, table: TableReader, view: str, key_names: tuple[str, ...]) -> None:
        self.table = table
        self.view = view
        self.key_names = key_names
        self.key_indices: tuple[int, ...] = ()
        self.features: list[str] = []
        self.types: list[DataType] = []
        self.positions: list[int] = []  # of each feature in the answer
        self.projection: Projection
        self.identity_keys = False  # its keys are the request's, in the request's order

    @property
    def is_contiguous(self) -> bool:
        """Whether its features stand side by side in the answer."""
        return self.positions[-1] - self.positions[0] == len(self.positions) - 1


class ReadPlan:
    """A resolved selection. ``features``, ``views`` and ``join_keys`` are the schema of its answers."""

    def __init__(self, selection: Selection, definitions: Definitions, tables: Tables) -> None:
        self.selection = selection
        references = _references(selection, definitions)
        self._lookups: list[_Lookup] = []
        self.features = self._resolve(references, definitions, tables)
        self.views = tuple(lookup.view for lookup in self._lookups)
        self.join_keys = self._join_keys()
        self.key_names = tuple(self.join_keys)
        self.row_bytes = sum(feature.type.width_bytes for feature in self.features)  # the fixed-width part of an answer's row
        variable = sum(feature.type.is_variable for feature in self.features)
        self.quick_rows_max = QUICK_ANSWER_BYTES // (self.row_bytes + variable * _VARIABLE_VALUE_BYTES)
        scalars = {feature.type.scalar for feature in self.features}
        self.is_matrix = len(scalars) == 1 and not self.features[0].type.is_variable
        self._null_row_bytes = (len(self.features) + 7) // 8
        widths = [feature.type.width_bytes for feature in self.features]
        self._offsets = list(accumulate(widths, initial=0))  # of each feature in a row of the matrix
        self.sources = self._compile()

    def _resolve(
        self, references: Sequence[FeatureReference], definitions: Definitions, tables: Tables
    ) -> tuple[AnswerFeature, ...]:
        project = self.selection.project
        by_use: dict[tuple[str, tuple[str, ...]], int] = {}
        features: list[AnswerFeature] = []
        for reference in references:
            view = definitions.feature_view(project, reference.view)
            field = next((field for field in view.features if field.name == reference.feature), None)
            if field is None:
                known = (field.name for field in view.features)
                raise NotFoundError.of(f"feature of view {view.name!r}", reference.feature, known)
            entity = definitions.entity(project, view.entity)
            key_names = tuple(reference.join_keys.get(key.name, key.name) for key in entity.join_keys)
            index = by_use.setdefault((view.name, key_names), len(self._lookups))
            if index == len(self._lookups):
                self._lookups.append(_Lookup(tables.table(project, view.name), view.name, key_names))
            lookup = self._lookups[index]
            lookup.features.append(field.name)
            lookup.types.append(field.type)
            lookup.positions.append(len(features))
            features.append(AnswerFeature(reference.name, field.type, index))
        return tuple(features)

    def _join_keys(self) -> Mapping[str, DataType]:
        """The key columns of a request, in order; tells each lookup which of them are its own."""
        join_keys: dict[str, DataType] = {}
        for lookup in self._lookups:
            for name, key in zip(lookup.key_names, lookup.table.entity.join_keys, strict=True):
                if join_keys.setdefault(name, key.type) != key.type:
                    raise InvalidArgumentError.of(
                        f"join key {name!r}",
                        f"{join_keys[name]} and {key.type}",
                        "one type in all views that are read together; rename it in a feature service's join_keys",
                    )
        order = list(join_keys)
        for lookup in self._lookups:
            lookup.key_indices = tuple(order.index(name) for name in lookup.key_names)
            lookup.identity_keys = lookup.key_indices == tuple(range(len(order)))
        return join_keys

    def _compile(self) -> list[ColumnSource]:
        """Compiles the lookups' projections; returns where each column of the answer comes from, in the answer's order."""
        sources: dict[int, ColumnSource] = {}
        for index, lookup in enumerate(self._lookups):
            lookup.projection = lookup.table.projection(
                lookup.features,
                columnar=not self.is_matrix,
                null_bits=lookup.positions,
                null_row_bytes=self._null_row_bytes,
            )
            start = variable = 0
            for data_type, position in zip(lookup.types, lookup.positions, strict=True):
                if data_type.is_variable:
                    sources[position] = ColumnSource(index, True, variable, 0)
                    variable += 1
                else:
                    sources[position] = ColumnSource(index, False, start, data_type.width_bytes)
                    start += data_type.width_bytes
        return [sources[position] for position in range(len(self.features))]

    # ------------------------------------------------------------------------------------------------------------ reading

    def read(self, keys: Sequence[Values], rows: int, matrix: Place | None, *, now_us: int) -> Answer:
        """Reads ``rows`` rows. ``keys``: one Values for each of ``join_keys``, in their order, all of ``rows`` values.

        ``matrix``: where the values go, ``rows * row_bytes`` bytes; None unless ``is_matrix``.
        """
        if len(self._lookups) > 1:
            return self._read_several(keys, rows, matrix, now_us)
        lookup = self._lookups[0]
        batch = lookup.table.read(
            keys if lookup.identity_keys else [keys[index] for index in lookup.key_indices],
            lookup.projection,
            now_us=now_us,
            expired_values=self.selection.expired_values,
            event_timestamps=self.selection.event_timestamps,
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
                expired_values=self.selection.expired_values,
                event_timestamps=self.selection.event_timestamps,
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


def _references(selection: Selection, definitions: Definitions) -> Sequence[FeatureReference]:
    if bool(selection.service) == bool(selection.features):
        got = "both" if selection.service else "neither"
        raise InvalidArgumentError.of("selection", got, "either service or features")
    if selection.service:
        return definitions.feature_service(selection.project, selection.service).features
    if len(selection.features) > FEATURES_MAX:
        raise ResourceExhaustedError.of("features", len(selection.features), FEATURES_MAX, "read them in several requests")
    references = []
    names: set[str] = set()
    for index, text in enumerate(selection.features):
        field = f"selection.features[{index}]"
        if len(text) > _REFERENCE_CHARACTERS_MAX:
            raise InvalidArgumentError.of(field, text, f"at most {_REFERENCE_CHARACTERS_MAX} characters")
        try:
            reference = FeatureReference.model_validate(text)
        except ValidationError:
            raise InvalidArgumentError.of(field, text, "'view:feature' or 'view:feature as name'") from None
        if reference.name in names:
            raise InvalidArgumentError.of(
                field, text, f"distinct names in the answer: {reference.name!r} is there already; rename it with 'as'"
            )
        names.add(reference.name)
        references.append(reference)
    return references
