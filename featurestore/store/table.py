"""Tables: the rows of one feature view, in shards, with one writer and any number of readers.

``Table`` is the owner's. It reads as any process does that maps a table (the client's ``tables/table.py``); it also writes,
deletes, reclaims, grows shards and changes the schema. The rules live here, the loops in the ``.pyx`` modules. Invariant: a
snapshot's segments are never changed in shape, only replaced in a new snapshot.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from featurestore_client.tables.columns import Column, Values
from featurestore_client.tables.keys import KeyBatch, key_batch
from featurestore_client.tables.layout import RowLayout
from featurestore_client.tables.segment import Arena, Control, Index, Segment
from featurestore_client.tables.table import (
    ReadLimits,
    TableReader,
    arena_path,
    index_path,
    schema_document,
    schema_path,
)
from featurestore_client.types import ViewSchema, parse_type

from featurestore.errors import FailedPreconditionError, InvalidArgumentError, ResourceExhaustedError
from featurestore.model import Entity, FeatureView
from featurestore.mutex import Mutex
from featurestore.store.checking import check_columns, checked_events
from featurestore.store.fixed_batch import FixedBatch
from featurestore.store.memory import Memory, advise_huge
from featurestore.store.quick_writer import INLINE_ROWS_MAX, QuickWriter
from featurestore.store.rebuild import convert, reindex, size_of_live
from featurestore.store.remover import delete_rows, reclaim_rows
from featurestore.store.room import Room, count_new, count_rows, has_room, shards_without_room
from featurestore.store.scan import count_nulls
from featurestore.store.source import Source, keys_of, source_of
from featurestore.store.writer import write_rows

NEVER_US = -(1 << 63)
FIRST_VERSION = 1
FIRST_ROWS = 1_024
HEAP_HOLES_MIN_UNITS = 4_096
INLINE_HEAP_BYTES = 1 << 16
HUGE_PAGE_BYTES = 2 << 20
INDEX_BYTES, UNIT_BYTES = 12, 16
"""Of a row in a new index, and of a heap's unit: what a rebuild takes, counted before it begins."""
SHARDS_MAX = 4_096
_NO_COLUMNS: Mapping[str, Column] = {}


@dataclass(frozen=True, slots=True)
class Limits:
    """What the store refuses to go over, with a clear error and before anything is written."""

    rows_max: int = 200_000_000
    """Rows of one table, deleted ones in their window among them."""
    memory_bytes_max: int | None = None
    """Of all tables together; None for what the file system has."""
    key_bytes_max: int = 1_024
    """Bytes of one string join key."""
    value_bytes_max: int = 1 << 20
    """Bytes of one string or bytes value."""
    batch_rows_max: int = 1_000_000
    """Rows of one write, delete or read."""
    read_string_bytes_max: int = 256 << 20
    """Bytes of all strings of one read."""

    @property
    def of_reads(self) -> ReadLimits:
        """Those that a reader needs."""
        return ReadLimits(self.key_bytes_max, self.batch_rows_max, self.read_string_bytes_max)


UNLIMITED = Limits(rows_max=1 << 62, key_bytes_max=(1 << 31) - 1, value_bytes_max=(1 << 31) - 1, batch_rows_max=1 << 62)
"""For what was acknowledged under limits that may have been others, and is brought back."""


class WriteCounts(NamedTuple):
    """What became of the rows of a write; ``rows`` is the sum of the others."""

    rows: int
    inserted: int
    updated: int
    equal: int
    older: int


class DeleteCounts(NamedTuple):
    """What became of the keys of a delete: rows removed, keys without a row, and deletes older than the row they met."""

    deleted: int
    absent: int
    older: int


def schema_of(view: FeatureView, entity: Entity) -> ViewSchema:
    """What the kernel needs to know of a view."""
    return ViewSchema(
        view.project,
        view.name,
        {key.name: parse_type(str(key.type)) for key in entity.join_keys},
        {feature.name: parse_type(str(feature.type)) for feature in view.features},
    )


def grown_rows(indexed: int, needed: int) -> int:
    """How many rows the next index of a shard is made for, when one of so many has no room for what is needed."""
    return max(2 * indexed, needed + needed // 4, FIRST_ROWS)


def _nothing() -> None:
    pass


def _microseconds(duration: timedelta | None) -> int:
    return 0 if duration is None else round(duration.total_seconds() * 1e6)


@dataclass
class _Cursor:
    """Where reclaiming goes on."""

    shard: int = 0
    row: int = 0


class Table(TableReader):
    """The owner's table. Safe to use from several threads: one of them writes at a time, all of them read."""

    definition: FeatureView
    entity: Entity
    version: int
    """Of its rows, which changes where they are all replaced; 1 for those that were never."""
    is_gone = False
    """Whether the store has it no more: its view was dropped, and may have been made again, or the store is closed."""

    def __init__(self, directory: Path, control: Control, limits: Limits, delete_window_us: int, memory: Memory) -> None:
        super().__init__(directory, control, limits.of_reads, follows=False)
        self._limits = limits
        self._memory = memory
        self._document: dict[str, Any] = {}  # what the schema's file says
        self.version = FIRST_VERSION
        self._write_lock = Mutex()
        self._delete_window_us = delete_window_us
        self._cursor = _Cursor()
        self._gathered: dict[int, int] = {}
        self.quick_writer = QuickWriter(self._write_lock, limits.rows_max)
        self._has_loaded = True  # memory may be committed far beyond what small writes need; also by the owner before

    @classmethod
    def create(
        cls,
        directory: Path,
        view: FeatureView,
        entity: Entity,
        *,
        limits: Limits,
        shards: int,
        delete_window_us: int,
        memory: Memory,
    ) -> "Table":
        """An empty table in a new directory. ``shards``: a power of two."""
        if shards < 1 or shards > SHARDS_MAX or shards & (shards - 1):
            raise InvalidArgumentError.of("shards", shards, f"a power of two from 1 to {SHARDS_MAX}")
        directory.mkdir(parents=True)
        directory.chmod(0o755)  # who may read is said once, by the directory above
        beside = directory / "control.new"
        schema = schema_of(view, entity)
        layout = RowLayout.of(schema)
        made: list[Control | Arena | Index] = []
        segments = []
        try:
            made.append(memory.create_control(str(beside), shards))
            for shard in range(shards):
                made.append(memory.create_arena(arena_path(directory, shard, 1), layout, FIRST_ROWS, 0))
                made.append(memory.create_index(index_path(directory, shard, 1), FIRST_ROWS))
                segments.append(Segment(*made[-2:]))  # type: ignore[arg-type]
        except BaseException:
            memory.give(sum(each.memory_bytes for each in made))
            raise
        table = cls(directory, made[0], limits, delete_window_us, memory)  # type: ignore[arg-type]
        table._arenas, table._indexes = [1] * shards, [1] * shards
        table._take(table._write_schema(1, view, entity), schema, layout, 1, segments)
        table._control.publish(1, table._arenas, table._indexes)
        beside.rename(directory / "control")  # from here on there is a table
        return table

    @classmethod
    def attach_owner(cls, directory: Path, *, limits: Limits, delete_window_us: int, memory: Memory) -> tuple["Table", int]:
        """Takes over an existing table. Returns it, and how many rows were lost if its owner died: those it was changing."""
        table = cls(directory, Control.attach(str(directory / "control"), True), limits, delete_window_us, memory)
        table._refresh(writable=True)
        memory.take(table.stats().memory_bytes)
        dropped = 0
        if not table._control.clean:
            for shard in range(len(table._arenas)):  # one after the other: memory for one of them is enough
                dropped += table._rebuild([shard], table._snapshot.layout)
        table._control.clean = False
        table._unlink_leftovers()
        return table, dropped

    def _unlink_leftovers(self) -> None:
        """Of generations that an owner died before it could publish, or to take away."""
        snapshot = self._snapshot
        current = {path for segment in snapshot.segments for path in (segment.arena.path, segment.index.path)}
        current.add(str(schema_path(self._directory, snapshot.schema_id)))
        for pattern in ("arena-*", "index-*", "schema.*"):
            for path in self._directory.glob(pattern):
                if str(path) not in current:
                    path.unlink()

    def _take(
        self, document: dict[str, Any], view: ViewSchema, layout: RowLayout, schema_id: int, segments: Sequence[Segment]
    ) -> None:
        super()._take(document, view, layout, schema_id, segments)
        if document is not self._document:
            self._document = document
            self.definition = FeatureView.model_validate(document["definition"]["view"])
            self.entity = Entity.model_validate(document["definition"]["entity"])
            self.version = document.get("version", FIRST_VERSION)
            self._retention_us = _microseconds(self.definition.retention)

    def _write_schema(self, schema_id: int, view: FeatureView, entity: Entity) -> dict[str, Any]:
        document = schema_document(schema_of(view, entity), _microseconds(view.ttl))
        document["definition"] = {"view": view.model_dump(mode="json"), "entity": entity.model_dump(mode="json")}
        document["version"] = self.version
        path = schema_path(self._directory, schema_id)
        path.write_text(json.dumps(document))
        path.chmod(0o644)
        return document

    @property
    def layout(self) -> RowLayout:
        """Where a row's features lie at this moment."""
        return self._snapshot.layout

    # ------------------------------------------------------------------------------------------------------------ writing

    def write(
        self,
        keys: Sequence[Values],
        event_timestamps_us: npt.NDArray[np.int64],
        columns: Mapping[str, Column],
        *,
        now_us: int,
        before: Callable[[], None] = _nothing,
        limits: Limits | None = None,
    ) -> WriteCounts:
        """Writes n rows, last writer wins by event time; an equal event time overwrites.

        ``event_timestamps_us``: int64 of n, or of 1 for all. ``columns``: feature name to values of n; features left out keep
        what they hold. ``now_us`` is kept as the time of writing. The whole batch is checked, and all room made, before the
        first row is written. ``before`` is called then, while no other writer can come between: what it raises ends the write.
        ``limits``: None for those of this table. Raises InvalidArgumentError, NotFoundError (a feature), or
        ResourceExhaustedError (a limit, memory).
        """
        limits = limits or self._limits
        while True:
            layout = self._snapshot.layout
            batch = self._checked_keys(layout, keys, limits)
            events = checked_events(event_timestamps_us, batch.rows)
            check_columns(self.view.view, layout, columns, batch.rows, limits.value_bytes_max)
            with self._write_lock:
                if self._snapshot.layout is not layout:
                    continue  # the schema changed before the lock was ours: check against the new one
                if batch.rows == 0:
                    return WriteCounts(0, 0, 0, 0, 0)
                return self._write_checked(batch, Source(layout, columns, events), now_us, before, limits)

    def write_fixed(
        self, batch: FixedBatch, *, now_us: int, before: Callable[[], None] = _nothing, limits: Limits | None = None
    ) -> WriteCounts:
        """As ``write``, what lies in its message and was checked there by a layout of this table."""
        limits = limits or self._limits
        if batch.rows <= limits.batch_rows_max:
            keys = keys_of(batch)
            with self._write_lock:
                if batch.layout.layout is self._snapshot.layout:
                    return self._write_checked(keys, source_of(batch), now_us, before, limits)
        # The schema changed, or it is too large.
        return self.write(*batch.as_columns(), now_us=now_us, before=before, limits=limits)

    def _write_checked(
        self, keys: KeyBatch, source: Source, now_us: int, before: Callable[[], None], limits: Limits
    ) -> WriteCounts:
        self._has_loaded |= keys.rows > INLINE_ROWS_MAX
        room = self._make_room(keys, source, limits)
        before()
        return WriteCounts(*write_rows(self._snapshot, keys, source, room, now_us))

    def delete(
        self,
        keys: Sequence[Values],
        event_timestamps_us: npt.NDArray[np.int64],
        *,
        now_us: int,
        before: Callable[[], None] = _nothing,
        limits: Limits | None = None,
    ) -> DeleteCounts:
        """Deletes rows whose event time is not newer. Keys are remembered for the delete window, so that an older event which
        comes late does not bring them back. The rest is as in ``write``."""
        limits = limits or self._limits
        while True:
            layout = self._snapshot.layout
            batch = self._checked_keys(layout, keys, limits)
            events = checked_events(event_timestamps_us, batch.rows)
            with self._write_lock:
                if self._snapshot.layout is not layout:
                    continue
                if batch.rows == 0:
                    return DeleteCounts(0, 0, 0)
                self._make_room(batch, Source(layout, _NO_COLUMNS), limits, deleting=True)
                before()
                return DeleteCounts(*delete_rows(self._snapshot, batch, events, now_us))

    def writes_inline(self, rows: int) -> bool:
        """Whether a write of so many rows returns quickly: it is small, there is room, and no rebuild holds the lock."""
        if rows > INLINE_ROWS_MAX or self._write_lock.is_held:
            return False
        return has_room(self._snapshot, rows, INLINE_HEAP_BYTES)

    def ready_for(self, rows: int) -> None:
        """Makes room so that ``writes_inline`` may say yes to the next write of so many rows, if that is little enough.

        Only a small table lacks memory for long: of a larger one more is committed ahead at a time. A shard whose index is
        nearly full grows now, since writes to rows that are there would find it so each time, and never make it grow.
        """
        if rows > INLINE_ROWS_MAX:
            return
        with self._write_lock, suppress(ResourceExhaustedError):  # then the next write says so, if it needs it
            for segment in self._snapshot.segments:
                self._memory.commit_ahead(segment, INLINE_ROWS_MAX, INLINE_HEAP_BYTES)
            full = shards_without_room(self._snapshot, INLINE_ROWS_MAX)
            if full:
                self._grow([(shard, INLINE_ROWS_MAX, 0) for shard in full])

    def _checked_keys(self, layout: RowLayout, keys: Sequence[Values], limits: Limits) -> KeyBatch:
        batch = key_batch(layout, self._snapshot.join_keys, keys, limits.key_bytes_max)
        if batch.rows > limits.batch_rows_max:
            raise ResourceExhaustedError.of("rows of a batch", batch.rows, limits.batch_rows_max, "write in smaller batches")
        return batch

    def _make_room(self, batch: KeyBatch, source: Source, limits: Limits, *, deleting: bool = False) -> Room:
        if not self.quick_writer.may_hold(self._snapshot, batch.rows):
            total = count_rows(self._snapshot) + count_new(self._snapshot, batch, source)
            if total > limits.rows_max:
                raise ResourceExhaustedError.of(
                    f"rows of view {self.view.view!r}", total, limits.rows_max, "set a retention, or raise rows_max"
                )
        wanted = Room(self._memory, self._snapshot, batch, source, deleting)
        while wanting := wanted.wanting(self._snapshot):
            self._grow(wanting)
        wanted.commit(self._snapshot)
        return wanted

    # --------------------------------------------------------------------------------------------------------- generations

    def _grow(self, wanting: Sequence[tuple[int, int, int]]) -> None:
        """Gives shards room for so many more rows and heap units: a larger index, and a new arena where the old one is full."""
        layout = self._snapshot.layout
        grown: dict[int, Segment] = {}
        with self._unlinked_on_error(grown):
            for shard, rows, units in wanting:
                old = self._snapshot.segments[shard]
                live, dead, free, used, _, heap_used, rows_capacity, heap_capacity = old.counts
                if used - free + rows > rows_capacity or heap_used + units > heap_capacity:
                    grown[shard] = self._new_segment(
                        self._memory, shard, layout, live + dead + rows, size_of_live(old, layout)[1] + units
                    )
                    convert(self._memory, old, layout, grown[shard], layout)
                else:
                    rows_max = grown_rows(live + dead, live + dead + rows)
                    index = self._memory.create_index(self._index_file(shard), rows_max)
                    grown[shard] = Segment(old.arena, index)
                    reindex(old, index)
        self._publish(grown)

    def _rebuild(
        self,
        shards: Sequence[int],
        layout: RowLayout,
        schema: tuple[FeatureView, Entity] | None = None,
        *,
        frees_memory: bool = False,
    ) -> int:
        """Copies shards row by row into a layout, without holes. Returns how many rows were lost, as ``convert`` does.

        ``frees_memory``: what it takes meanwhile is counted and not limited, else a full store could not become less full.
        """
        rebuilt: dict[int, Segment] = {}
        dropped = 0
        before, segments = self._snapshot.layout, self._snapshot.segments
        sizes = {shard: size_of_live(segments[shard], before) for shard in shards}
        memory = Memory() if frees_memory else self._memory
        memory.check(sum(rows * (layout.row_bytes + INDEX_BYTES) + units * UNIT_BYTES for rows, units in sizes.values()))
        with self._unlinked_on_error(rebuilt):
            try:
                for shard, size in sizes.items():
                    rebuilt[shard] = self._new_segment(memory, shard, layout, *size)
                    dropped += convert(memory, segments[shard], before, rebuilt[shard], layout)
            finally:
                if memory is not self._memory:
                    self._memory.take(memory.used)
        self._publish(rebuilt, layout, schema)
        return dropped

    def _new_segment(self, memory: Memory, shard: int, layout: RowLayout, rows: int, heap_units: int) -> Segment:
        arena = memory.create_arena(self._arena_file(shard), layout, rows, heap_units)
        try:
            return Segment(arena, memory.create_index(self._index_file(shard), max(FIRST_ROWS, rows + rows // 4)))
        except BaseException:
            self._unlink(arena)
            raise

    def _arena_file(self, shard: int) -> str:
        path = arena_path(self._directory, shard, self._arenas[shard] + 1)
        Path(path).unlink(missing_ok=True)  # left by an owner that died before it could publish
        return path

    def _index_file(self, shard: int) -> str:
        path = index_path(self._directory, shard, self._indexes[shard] + 1)
        Path(path).unlink(missing_ok=True)
        return path

    @contextmanager
    def _unlinked_on_error(self, replaced: Mapping[int, Segment]) -> Iterator[None]:
        """Takes the files of segments that will not be published away when there was no memory for all of them."""
        try:
            yield
        except BaseException:
            for shard, segment in replaced.items():
                self._unlink_other_than(segment, self._snapshot.segments[shard])
            raise

    def _unlink_other_than(self, gone: Segment, kept: Segment) -> None:
        if gone.arena is not kept.arena:
            self._unlink(gone.arena)
        if gone.index is not kept.index:
            self._unlink(gone.index)

    def _unlink(self, gone: Arena | Index) -> None:
        self._memory.give(gone.memory_bytes)
        Path(gone.path).unlink(missing_ok=True)

    def _publish(
        self, replaced: Mapping[int, Segment], layout: RowLayout | None = None, schema: tuple[FeatureView, Entity] | None = None
    ) -> None:
        """Makes replaced segments, and a new schema if there is one, the table: at one instant for all readers."""
        before = self._snapshot
        segments = list(before.segments)
        for shard, segment in replaced.items():
            segments[shard] = segment
            if segment.arena is not before.segments[shard].arena:
                self._arenas[shard] += 1
                self._gathered.pop(shard, None)
            self._indexes[shard] += segment.index is not before.segments[shard].index
        schema_id, view, document = before.schema_id, self.view, self._document
        if schema is not None:
            schema_id, view = before.schema_id + 1, schema_of(*schema)
            document = self._write_schema(schema_id, *schema)
        self._take(document, view, layout or before.layout, schema_id, segments)
        self._control.publish(schema_id, self._arenas, self._indexes)
        for shard, segment in replaced.items():
            self._unlink_other_than(before.segments[shard], segment)
        if schema is not None:
            schema_path(self._directory, before.schema_id).unlink(missing_ok=True)
        self._cursor = _Cursor()

    def alter(self, view: FeatureView, entity: Entity) -> None:
        """Changes the schema while readers read: features added (null in old rows) or dropped, TTL and retention.

        Takes as long as copying the table does; writes wait. Raises FailedPreconditionError for a change of a type or of keys.
        """
        with self._write_lock:
            if [key.type for key in entity.join_keys] != [key.type for key in self.entity.join_keys]:
                raise FailedPreconditionError(
                    f"the join keys of view {self.view.view!r} cannot change while it holds rows: make a new view of "
                    "the new entity, load it, and point the services to it"
                )
            before = {feature.name: feature.type for feature in self.definition.features}
            for feature in view.features:
                if before.get(feature.name, feature.type) != feature.type:
                    raise FailedPreconditionError(
                        f"feature {feature.name!r} of view {self.view.view!r} cannot change its type from "
                        f"{before[feature.name]} to {feature.type} while it holds rows: add a feature of another name, "
                        "load it, and drop the old one"
                    )
            layout = RowLayout.of(schema_of(view, entity))
            if layout == self._snapshot.layout:
                self._publish({}, schema=(view, entity))
            else:
                self._rebuild(range(len(self._arenas)), layout, (view, entity))

    def renumber(self, version: int) -> None:
        """Says of which version its rows are."""
        with self._write_lock:
            if version != self.version:
                self.version = version
                self._publish({}, schema=(self.definition, self.entity))

    def exchange(self, other: "Table", version: int, commit: Callable[[], None] = _nothing) -> None:
        """Takes all rows of ``other``, a table of the same view and as many shards, and gives it its own.

        ``commit`` is called just before that, when nobody writes to this table any more; what it raises ends the exchange. Each
        reader of this table sees the other rows from one instant on. ``version`` is theirs. Nothing is copied: files change
        their directory.
        """
        with self._write_lock:
            commit()
            with other._write_lock:
                assert self._snapshot.layout == other._snapshot.layout
                # Under a second name first: who looks for a file meanwhile, by what the control file still says, finds it.
                incoming, outgoing = self._linked(other), other._linked(self)
                self._has_loaded |= other._has_loaded  # what was committed ahead for the load comes along
                other.version, self.version = self.version, version
                other.quick_writer.forget()
                self.quick_writer.forget()
                self._publish(incoming, schema=(self.definition, self.entity))
                other._publish(outgoing, schema=(other.definition, other.entity))

    def _linked(self, other: "Table") -> dict[int, Segment]:
        """The other table's segments, under names of this one's next generation."""
        segments = {}
        layout = self._snapshot.layout
        for shard, segment in enumerate(other._snapshot.segments):
            arena, index = self._arena_file(shard), self._index_file(shard)
            os.link(segment.arena.path, arena)
            os.link(segment.index.path, index)
            segments[shard] = Segment(Arena.attach(arena, layout, True), Index.attach(index, True))
            self._memory.take(segments[shard].memory_bytes)  # given back with the names that they have until then
        return segments

    # ------------------------------------------------------------------------------------------------------------- upkeep

    def reclaim(self, *, now_us: int, rows_max: int) -> int:
        """One bounded step of upkeep: looks at ``rows_max`` rows, frees those past retention and deletes past their window.

        Returns how many rows were freed. Does nothing while a write or rebuild holds the table.
        """
        if not self._write_lock.try_acquire():
            return 0
        try:
            retained_from = now_us - self._retention_us if self._retention_us else NEVER_US
            freed = 0
            for _ in range(len(self._snapshot.segments)):
                shard = self._cursor.shard
                segment = self._snapshot.segments[shard]
                if self._retention_us or segment.counts[1]:
                    start = self._cursor.row
                    deleted_from = now_us - self._delete_window_us
                    gone, self._cursor.row = reclaim_rows(self._snapshot, shard, start, rows_max, retained_from, deleted_from)
                    freed += gone
                    rows_max -= (self._cursor.row or segment.counts[3]) - start
                if self._cursor.row == 0:
                    self._cursor.shard = (shard + 1) % len(self._snapshot.segments)
                    _, _, free, used, heap_free, heap_used, *_ = segment.counts
                    if (free > used // 2 and used > FIRST_ROWS) or (
                        heap_free > heap_used // 2 and heap_used > HEAP_HOLES_MIN_UNITS
                    ):
                        following = self._cursor.shard
                        self._rebuild([shard], self._snapshot.layout, frees_memory=True)
                        self._cursor.shard = following
                if rows_max <= 0:
                    break
            return freed
        finally:
            self._write_lock.release()

    def null_counts(self) -> dict[str, int]:
        """How many rows have no value, by feature. Of a table that nobody writes to meanwhile."""
        snapshot = self._current()
        counts = count_nulls(snapshot)
        return {slot.name: counts[slot.bit] for slot in snapshot.layout.slots}

    def tidy_memory(self) -> bool:
        """One bounded step, once a load is over, towards the memory that the rows need, in huge pages. False: there was none.

        Gives back what was committed for a batch that did not follow. Then asks for huge pages behind the next shard that has
        grown since it was last asked for: a large table is bound by cache and TLB misses, and the pages that it was loaded into
        are small ones. Readers may wait for about a millisecond for a page on the move.
        """
        if self._has_loaded and self._write_lock.try_acquire():
            try:
                self._has_loaded = False
                given = [self._memory.give_back(segment) for segment in self._snapshot.segments]
                if any(given):  # which would have ended with the first
                    return True
            finally:
                self._write_lock.release()
        for shard, segment in enumerate(self._snapshot.segments):
            grown = segment.memory_bytes - self._gathered.get(shard, 0)
            if grown >= HUGE_PAGE_BYTES and 4 * grown >= segment.memory_bytes:
                self._gathered[shard] = segment.memory_bytes
                advise_huge(segment)
                return True
        return False

    def close(self) -> None:
        """Marks the table as left in good order."""
        with self._write_lock:
            self._control.clean = True
