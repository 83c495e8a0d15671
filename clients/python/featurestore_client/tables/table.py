"""One view's table, read from any process that can map its segments.

Invariant: a read works on one ``Snapshot`` from start to end; a snapshot's segments are never changed in shape, only replaced
in a new one, which the control file publishes.
"""

import json
import os
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from featurestore_client.errors import FailedPreconditionError, FeatureStoreError, NotFoundError
from featurestore_client.tables.layout import RowLayout
from featurestore_client.tables.reader import Projection, Snapshot, SnapshotReader
from featurestore_client.tables.segment import Arena, Control, Index, Segment
from featurestore_client.types import ViewSchema, parse_type

_ATTEMPTS_MAX = 1_000


class ReadLimits(NamedTuple):
    """What a read may take."""

    key_bytes_max: int = 1_024
    """Bytes of one string join key."""
    batch_rows_max: int = 1_000_000
    read_string_bytes_max: int = 256 << 20
    """Bytes of all strings of one read."""


class TableStats(NamedTuple):
    """A table's size. ``memory_bytes`` is all that is mapped and backed: index, rows, strings, slack, and the control file."""

    rows: int
    deleted_rows: int
    memory_bytes: int
    row_bytes: int
    shards: int
    generation: int


def schema_path(directory: Path, schema_id: int) -> Path:
    """The file that describes a table's rows."""
    return directory / f"schema.{schema_id}.json"


def arena_path(directory: Path, shard: int, generation: int) -> str:
    """The file of a shard's rows."""
    return str(directory / f"arena-{shard}.{generation}")


def index_path(directory: Path, shard: int, generation: int) -> str:
    """The file of a shard's index."""
    return str(directory / f"index-{shard}.{generation}")


def schema_document(view: ViewSchema, ttl_us: int) -> dict[str, Any]:
    """What a schema file says to readers; its writer may add to it."""
    return {
        "project": view.project,
        "view": view.view,
        "join_keys": {name: each.text for name, each in view.join_keys.items()},
        "features": {name: each.text for name, each in view.features.items()},
        "ttl_us": ttl_us,
    }


class TableReader(SnapshotReader):
    """Reads a table. ``view`` and ``ttl_us`` (0: none) are those of its present schema."""

    view: ViewSchema
    ttl_us: int

    def __init__(self, directory: Path, control: Control, limits: ReadLimits, *, follows: bool = True) -> None:
        super().__init__(control, follows)
        self._directory = directory
        self._read_limits = limits
        self._refreshing = threading.Lock()
        self._arenas: list[int] = []
        self._indexes: list[int] = []
        _READERS.add(self)

    def after_fork(self) -> None:
        """In a child process: whichever thread of the parent was refreshing at that moment is not here to let go."""
        self._refreshing = threading.Lock()

    @property
    def directory(self) -> Path:
        """Where its files lie."""
        return self._directory

    @classmethod
    def attach(cls, directory: Path, *, limits: ReadLimits | None = None) -> "TableReader":
        """Maps the table in ``directory`` read-only. Raises NotFoundError when there is none."""
        path = directory / "control"
        if not path.exists():
            raise NotFoundError(f"there is no feature table in {directory}: expected a file named control in it")
        reader = cls(directory, Control.attach(str(path), False), limits or ReadLimits())
        reader._refresh(writable=False)
        return reader

    def _refresh(self, *, writable: bool) -> None:
        with self._refreshing:  # of two threads, the slower one must not bring back what the other has replaced
            if self._arenas and self._control.epoch == self._epoch:
                return
            self._map(writable=writable)

    def _map(self, *, writable: bool) -> None:
        """Maps what the control file names now. Files of a moment ago may be gone already: then it names others by now."""
        for _ in range(_ATTEMPTS_MAX):
            published = self._control.read()
            if published is None:
                continue
            epoch, schema_id, arenas, indexes = published
            try:
                document, view = _schema_in(schema_path(self._directory, schema_id))
                layout = RowLayout.of(view)
                if self._arenas and layout == self._snapshot.layout:
                    layout = self._snapshot.layout  # the very one: what was compiled for it stands
                segments = [
                    Segment(
                        Arena.attach(arena_path(self._directory, shard, arena), layout, writable),
                        Index.attach(index_path(self._directory, shard, index), writable),
                    )
                    for shard, (arena, index) in enumerate(zip(arenas, indexes, strict=True))
                ]
            except FileNotFoundError:
                if self._control.epoch == epoch:
                    raise
                continue
            self._take(document, view, layout, schema_id, segments)
            self._epoch, self._arenas, self._indexes = epoch, arenas, indexes
            return
        raise FailedPreconditionError(f"{self._directory} changes faster than it can be read: try again")

    def _take(
        self, document: dict[str, Any], view: ViewSchema, layout: RowLayout, schema_id: int, segments: Sequence[Segment]
    ) -> None:
        """Makes these segments what is read from now on. ``document`` is what the schema's file says."""
        self.view, self.ttl_us = view, int(document["ttl_us"])
        self._snapshot = Snapshot(layout, schema_id, segments, [*view.join_keys], self.ttl_us, self._read_limits)

    def projection(
        self,
        features: Sequence[str],
        *,
        columnar: bool = False,
        null_bits: Sequence[int] | None = None,
        null_row_bytes: int = 0,
    ) -> Projection:
        """Which features to read, resolved once and used for many reads.

        Fixed-width features come out packed in the order given: row-major, ``row_bytes`` a row without padding; or,
        ``columnar``, column after column, feature k from byte ``rows * offsets[k]``. Strings come out apart, in order.
        ``null_bits[k]`` is feature k's bit in a row of the null bitmap (k by default), which has ``null_row_bytes`` a row.
        Raises NotFoundError for a feature the view does not have.
        """
        return Projection(self._current().layout, features, columnar, null_bits, null_row_bytes)

    def _recompile(self, projection: Projection, layout: RowLayout) -> Projection:
        again = Projection(layout, projection.features, projection.columnar, projection.null_bits, projection.null_row_bytes)
        before, now = projection.layout.slot_of, layout.slot_of
        if any(before[name].type != now[name].type for name in projection.features):
            raise FailedPreconditionError(f"the types of features of {self.view.view!r} changed: resolve the names again")
        return again

    def follow(self) -> None:
        """Maps what the table is now, if that is not mapped, and lets go of what it was, as a read does."""
        self._current()

    def stats(self) -> TableStats:
        """The table's size now."""
        snapshot = self._current()
        counts = [segment.counts for segment in snapshot.segments]
        return TableStats(
            rows=sum(count[0] for count in counts),
            deleted_rows=sum(count[1] for count in counts),
            memory_bytes=self._control.memory_bytes + sum(segment.memory_bytes for segment in snapshot.segments),
            row_bytes=snapshot.layout.row_bytes,
            shards=len(snapshot.segments),
            generation=max(self._arenas) + max(self._indexes) - 1,
        )


def _schema_in(path: Path) -> tuple[dict[str, Any], ViewSchema]:
    try:
        document = json.loads(path.read_text())
        return document, ViewSchema(
            document["project"],
            document["view"],
            {name: parse_type(text) for name, text in document["join_keys"].items()},
            {name: parse_type(text) for name, text in document["features"].items()},
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise FailedPreconditionError(f"{path} does not say what the rows of a table hold, it is damaged: {error!r}") from None


_READERS: weakref.WeakSet[TableReader] = weakref.WeakSet()


def follow_all() -> None:
    """Has each table that this process reads map what it is now, and so let go of the rows that were replaced, or outgrown.

    A read does the same, which may be long in coming. For a process that reads in one thread; what cannot be mapped is left for
    the next read to say.
    """
    for reader in list(_READERS):
        with suppress(FeatureStoreError, OSError):
            reader.follow()


def _after_fork() -> None:
    for reader in list(_READERS):
        reader.after_fork()


os.register_at_fork(after_in_child=_after_fork)
