"""The store: all tables of one directory, under one owner.

Which views there should be is the registry's to say; the store keeps a table for each that it was told of. Invariant: one
process owns a directory at a time, by a file lock that goes with the process.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from featurestore.errors import AlreadyExistsError, FailedPreconditionError, NotFoundError
from featurestore.lock import hold
from featurestore.model import Entity, FeatureView
from featurestore.store.memory import Memory
from featurestore.store.table import Limits, Table

Trust = Literal["all", "readable", "none"]
"""Tables that are taken over; "readable": those that can be, since there is something to make the others from."""
DELETE_WINDOW_US = 86_400_000_000
SHARDS = 16
GROUP_MAY_READ = 0o750
"""The mode of the directory of segments: who may enter it may map the tables. Nobody but the owner may write any of it."""
_DROPPED = "dropped-"
_STAGED = "staged"


class Store:
    """Tables by project and view. Made by ``Store.open``; use as a context manager, or close it."""

    def __init__(self, segments: Path, lock: int, limits: Limits, shards: int, delete_window_us: int) -> None:
        self.segments = segments
        """Where the tables lie."""
        self._lock = lock
        self.limits = limits
        self._shards = shards
        self._delete_window_us = delete_window_us
        self._tables: dict[tuple[str, str], Table] = {}
        self._staged: list[Table] = []
        self.memory = Memory(limits.memory_bytes_max)
        """What all tables together take, and may take."""
        self.torn: list[tuple[str, str]] = []
        """Tables whose owner died while he changed a row, which is lost with what it held before."""
        self.unreadable: list[str] = []
        """Why tables were removed that another featurestore wrote, or that are damaged."""

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        segments: Path | None = None,
        limits: Limits | None = None,
        shards: int = SHARDS,
        delete_window_us: int = DELETE_WINDOW_US,
        mode: int = GROUP_MAY_READ,
        trust: Callable[[Path], Trust] | None = None,
    ) -> "Store":
        """Opens the tables whose segments lie in ``segments`` (``directory/segments`` by default), making it if needed.

        ``mode``: of that directory, which says who may map the tables to read them. ``trust`` is asked, when the
        directory is held, which of the tables that are there already are taken over; the others are removed.

        Raises FailedPreconditionError, naming the holder, when another process has it open.
        """
        segments = segments or directory / "segments"
        segments.mkdir(parents=True, exist_ok=True)
        lock = hold(segments)
        segments.chmod(mode)
        store = cls(segments, lock, limits or Limits(), shards, delete_window_us)
        try:
            for left in (*segments.glob(f"{_DROPPED}*"), *segments.glob(_STAGED)):
                shutil.rmtree(left)
            taken = "all" if trust is None else trust(segments)
            with store.unlimited():
                for control in sorted(segments.glob("*/control")):
                    try:
                        if taken != "none":
                            store._attach(control.parent)
                            continue
                    except FailedPreconditionError as error:
                        if taken == "all":
                            raise
                        store.unreadable.append(error.message)
                    shutil.rmtree(control.parent)
        except BaseException:
            os.close(lock)
            raise
        return store

    @contextmanager
    def unlimited(self) -> Iterator[None]:
        """While what was acknowledged is brought back, which may take somewhat more memory than it did."""
        self.memory.limit = None
        try:
            yield
        finally:
            self.memory.limit = self.limits.memory_bytes_max

    def _attach(self, directory: Path) -> None:
        table, lost = Table.attach_owner(
            directory, limits=self.limits, delete_window_us=self._delete_window_us, memory=self.memory
        )
        self._add(table)
        if lost:
            self.torn.append((table.view.project, table.view.view))

    def _add(self, table: Table) -> None:
        self._tables[table.view.project, table.view.view] = table

    def create_table(self, view: FeatureView, entity: Entity) -> Table:
        """An empty table for a view. Raises AlreadyExistsError, or ResourceExhaustedError when there is no memory for it."""
        if (view.project, view.name) in self._tables:
            raise AlreadyExistsError(f"view {view.name!r} of project {view.project!r} has a table already")
        directory = self.segments / f"{view.project}.{view.name}"
        shutil.rmtree(directory, ignore_errors=True)  # without a control file: left by an owner that died while making it
        try:
            table = Table.create(
                directory,
                view,
                entity,
                limits=self.limits,
                shards=self._shards,
                delete_window_us=self._delete_window_us,
                memory=self.memory,
            )
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        self._add(table)
        return table

    def alter_table(self, view: FeatureView, entity: Entity) -> None:
        """Changes a table's schema while it is read (see ``Table.alter``). Blocks as long as copying the table takes."""
        self.table(view.project, view.name).alter(view, entity)

    def drop_table(self, project: str, view: str) -> None:
        """Removes a table and its rows. Readers that are in the middle of a read finish it."""
        table = self.table(project, view)
        del self._tables[project, view]
        table.is_gone = True
        directory = self.segments / f"{project}.{view}"
        dropped = self.segments / f"{_DROPPED}{directory.name}"
        directory.rename(dropped)  # at one instant: half of a table is no table
        self.memory.give(table.stats().memory_bytes)
        shutil.rmtree(dropped)

    def stage_table(self, project: str, view: str) -> Table:
        """An empty table beside the one of a view, whose place its rows may take (``Table.exchange``). Readers do not find it.

        It lies in a directory of its own. Give it to ``discard_table``.
        """
        live = self.table(project, view)
        parent = self.segments / _STAGED / secrets.token_hex(8)
        try:
            table = Table.create(
                parent / f"{project}.{view}",
                live.definition,
                live.entity,
                limits=self.limits,
                shards=live.stats().shards,
                delete_window_us=self._delete_window_us,
                memory=self.memory,
            )
        except BaseException:
            shutil.rmtree(parent, ignore_errors=True)
            raise
        self._staged.append(table)
        return table

    def discard_table(self, staged: Table) -> None:
        """Removes a table that was staged, and its rows."""
        self._staged.remove(staged)
        self.memory.give(staged.stats().memory_bytes)
        shutil.rmtree(staged.directory.parent)

    def table(self, project: str, view: str) -> Table:
        """The table of a view. Raises NotFoundError with the nearest names."""
        table = self._tables.get((project, view))
        if table is None:
            raise NotFoundError.of("feature view", view, [name for owner, name in self._tables if owner == project])
        return table

    def tables(self) -> list[Table]:
        """All tables, by project and view."""
        return [self._tables[name] for name in sorted(self._tables)]

    def close(self) -> None:
        """Leaves the tables in good order and gives the directory up. Safe to call twice."""
        if self._lock < 0:
            return
        for table in self._tables.values():
            table.is_gone = True
            table.close()
        self._tables.clear()
        self._staged.clear()
        shutil.rmtree(self.segments / _STAGED, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
