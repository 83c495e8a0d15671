"""All rows of a view replaced at one instant: by a load, or by an earlier version.

    stage      an empty table beside the view's own, which nobody reads; writes go on to the view's own, and into the journal
    fill       the load writes there, not through the journal
    catch up   what was written to the view meanwhile, from the journal, in order
    write down the rows as a version on disk
    swap       the last few records; the registry commits the version; the two tables exchange their rows
    keep       what the view had before, as a version on disk, for ``rollback``

The commit of the registry is the instant for everybody who starts later, the exchange the one for whoever reads now. Between
the two nobody writes to the view, and a start sees by the table's number on which side it is (``recovery.py``). Until a
snapshot has been begun behind the commit, the journal is kept from where the version was written down. All of it blocks.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from featurestore.durability import (
    Journal,
    JournalReader,
    Snapshot,
    VersionFiles,
    begin_version,
    finish_version,
    keep_versions,
    latest_snapshot,
    sync_journal,
    version_files,
)
from featurestore.errors import FailedPreconditionError, InternalError, NotFoundError, ResourceExhaustedError
from featurestore.registry import Registry, Version, ViewVersions
from featurestore.service.replayer import Replayer
from featurestore.service.snapshots import SnapshotWriter
from featurestore.service.write_plan import WritePlan
from featurestore.store import Store


class Staged:
    """A table that is being filled to take the place of a view's."""

    def __init__(self, plan: WritePlan, replayer: Replayer, number: int, started_us: int, source: str, after: int) -> None:
        self.plan = plan
        self.replayer = replayer
        self.number = number
        """Of the version that it is to be."""
        self.started_us = started_us
        self.source = source
        self.after = after
        """The journal's records up to this one need not be caught up with: they are in it, or were there before it."""
        self.held_after = after
        """The journal's records behind this one are still needed."""

    @property
    def name(self) -> tuple[str, str]:
        """The project and the view."""
        return self.plan.project, self.plan.view

    @property
    def described(self) -> str:
        """For people: where the rows come from, and since when."""
        at = datetime.fromtimestamp(self.started_us / 1e6, UTC)
        return f"from {self.source or 'an unnamed source'} since {at:%Y-%m-%d %H:%M:%S} UTC"


class Replaced(NamedTuple):
    """Which version of a view's rows serves, and which one did before."""

    version: Version
    former: Version
    former_is_kept: bool


class Replacing:
    """The steps, over one store and its journal."""

    def __init__(
        self,
        directory: Path,
        store: Store,
        registry: Registry,
        journal: Journal,
        writer: SnapshotWriter,
        make_replayer: Callable[[], Replayer],
        versions_kept: int,
    ) -> None:
        self._directory = directory
        self._store = store
        self._registry = registry
        self._journal = journal
        self._writer = writer
        self._make_replayer = make_replayer
        self._versions_kept = versions_kept
        self._staged: dict[tuple[str, str], Staged] = {}
        self._files = threading.Lock()  # held by whoever makes a version's files, or looks which may go

    # -------------------------------------------------------------------------------------------------------------- filling

    def stage(self, project: str, view: str, *, source: str, started_us: int, rows: int = 0) -> Staged:
        """An empty table to be filled with about so many rows (0: as many as there are).

        Raises FailedPreconditionError where the view is being replaced already, ResourceExhaustedError where there is no
        memory for two of it.
        """
        other = self._staged.get((project, view))
        if other is not None:
            raise FailedPreconditionError(
                f"view {view!r} is being replaced already, {other.described}: wait until that has ended, or end it"
            )
        self._check_room(project, view, rows)
        table = self._store.stage_table(project, view)
        plan = WritePlan(project, view, self._registry.current, self._store, staged=table)
        number = self._registry.versions(project, view).next_number
        self._journal.begin_file(waits=False)
        staged = Staged(plan, self._make_replayer(), number, started_us, source, self._journal.applied_to)
        self._staged[project, view] = staged
        return staged

    def _check_room(self, project: str, view: str, rows: int) -> None:
        stats = self._store.table(project, view).stats()
        needed = stats.memory_bytes
        if rows:
            needed = rows * (stats.memory_bytes // stats.rows if stats.rows else stats.row_bytes)
        space = os.statvfs(self._store.segments)
        free, of = space.f_bavail * space.f_frsize, f"{self._store.segments} has"
        memory = self._store.memory
        if memory.limit is not None and memory.limit - memory.used < free:
            free, of = max(0, memory.limit - memory.used), f"--max-memory, {memory.limit}, leaves"
        if needed > free:
            raise ResourceExhaustedError(
                f"view {view!r} cannot be replaced: the old and the new rows are in memory together until the swap, which "
                f"takes about {needed} bytes more, and {of} {free}: make room, or load into the view without replacing it"
            )

    def fill(self, staged: Staged, version: Version) -> None:
        """Fills it with the rows of a version that was kept."""
        files = version_files(self._directory, *staged.name, version.number)
        reader = JournalReader(files.directory)
        for record in reader:
            staged.replayer.apply(files.directory, record, staged.plan)
        reader.expect_end(files.records)

    def kept(self, project: str, view: str, number: int | None) -> Version:
        """The version of that number, or the latest one. NotFoundError with those that there are."""
        versions = self._registry.versions(project, view)
        found = versions.find(number)
        if found is None:
            there = ", ".join(str(each.number) for each in versions.kept) or "none"
            wanted = "an earlier version" if number is None else f"version {number}"
            raise NotFoundError(f"view {view!r} has not kept {wanted} of its rows; those it has: {there}")
        return found

    # ------------------------------------------------------------------------------------------------------------- swapping

    def catch_up(self, staged: Staged) -> int:
        """Applies what was written to the view since. Returns how many records that were.

        What is written meanwhile is for the next time; where nobody writes to the view, nothing is left.
        """
        last, applied = self._journal.last, 0
        self._journal.begin_file(waits=False)  # so that the next time has little to read
        if last == staged.after:
            return 0
        for record in JournalReader(self._directory, staged.after):
            if (record.entry.project, record.entry.view) == staged.name:
                applied += staged.replayer.apply(self._directory, record, staged.plan)
            staged.after = record.sequence
            if record.sequence == last:
                return applied
        raise InternalError(f"{self._directory}: got {staged.after} records, expected {last}: files of the journal are missing")

    def write_down(self, staged: Staged) -> None:
        """Has the disk take the rows, as the version that they are to be, and the journal up to what they hold of it."""
        after = staged.after
        self._write(staged, staged.number)
        sync_journal(self._directory)
        staged.held_after = after

    def _write(self, staged: Staged, number: int) -> VersionFiles:
        view = ".".join(staged.name)
        with self._files:
            target = begin_version(self._directory, view)
        try:
            table = staged.plan.table
            records = self._writer.write(
                table.directory.parent, target, self._registry.version, memory_bytes=table.stats().memory_bytes
            )
            with self._files:
                return finish_version(self._directory, view, target, number, records)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise

    def swap(self, staged: Staged, now_us: int) -> tuple[Version, Version]:
        """The swap, while no definition changes. Returns the versions after and before it."""
        project, view = staged.name
        table, versions = self._store.table(project, view), self._registry.versions(project, view)
        before = versions.current

        def commit() -> None:  # while nobody writes to the view
            nonlocal before
            self.catch_up(staged)
            rows = staged.plan.table.stats().rows
            current = Version(number=staged.number, time_us=now_us, rows=rows, source=staged.source)
            before = versions.current.model_copy(update={"rows": table.stats().rows})
            since = self._registry.version + 1
            changed = ViewVersions(current=current, since=since, after=staged.held_after, kept=versions.kept)
            self._registry.commit_versions(project, view, changed)

        try:
            table.exchange(staged.plan.table, staged.number, commit)
        except BaseException:
            if self._registry.versions(project, view) != versions:
                self._registry.commit_versions(project, view, versions)
            raise
        return self._registry.versions(project, view).current, before

    def write_down_former(self, staged: Staged, before: Version) -> None:
        """Has the disk take what the view had, which since the swap is where the new rows were filled in."""
        if self._versions_kept:
            self._write(staged, before.number)

    def keep(self, staged: Staged, before: Version) -> bool:
        """Keeps that as a version. Returns whether any are to be kept."""
        project, view = staged.name
        versions = self._registry.versions(project, view)
        kept = (before, *versions.kept)[: self._versions_kept]
        self._registry.commit_versions(project, view, versions.model_copy(update={"kept": kept}))
        return bool(kept)

    def discard(self, staged: Staged) -> None:
        """Gives up what is staged, or what a swap has left there. Nothing happens where that was done."""
        if self._staged.get(staged.name) is not staged:
            return
        del self._staged[staged.name]
        self._store.discard_table(staged.plan.table)
        self.tidy()

    # ------------------------------------------------------------------------------------------------------------- upkeep

    def refuse_changes(self, views: Iterable[tuple[str, str]]) -> None:
        """Raises FailedPreconditionError where one of these views is being replaced: its schema must stay until then."""
        for name in views:
            staged = self._staged.get(name)
            if staged is not None:
                raise FailedPreconditionError(
                    f"view {staged.plan.view!r} is being replaced, {staged.described}: apply the change when that has ended, "
                    "or end it"
                )

    def needed_after(self, definitions: int) -> int:
        """The journal's records behind this one are needed, whatever a snapshot stands for that was begun under that version
        of the definitions."""
        held = [staged.held_after for staged in [*self._staged.values()]]  # first: what leaves it is in the registry by then
        held += [each.after for each in self._registry.all_versions.values() if each.since > definitions]
        return min(held, default=self._journal.last)

    def needed_files(self, snapshot: Snapshot | None) -> list[VersionFiles]:
        """Those of the versions that are needed beside that snapshot. InternalError where one of them is not there."""
        wanted = self._wanted(snapshot).items()
        views = ((*name.partition(".")[::2], number) for name, numbers in wanted for number in numbers)
        return [version_files(self._directory, project, view, number) for project, view, number in views]

    def _wanted(self, snapshot: Snapshot | None) -> dict[str, set[int]]:
        covered = snapshot.definitions if snapshot is not None else 0
        return {name: each.numbers_on_disk(covered) for name, each in self._registry.all_versions.items()}

    def tidy(self) -> None:
        """Removes versions from disk that nobody needs any more."""
        with self._files:
            untouched = {".".join(name) for name in [*self._staged]}  # first: what leaves it is in the registry by then
            keep_versions(self._directory, self._wanted(latest_snapshot(self._directory)), untouched=untouched)
