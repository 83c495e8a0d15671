"""What a start makes of what the owner before left behind: tables in memory, as far as they are to be trusted, and the journal.

    tables still mapped, and the mark says which records they hold     taken over; the records behind the mark are replayed
    a table whose owner died while he changed a row                    made anew: from the snapshot, and the records behind it
    a table of another featurestore's format, or that is damaged       made anew, in the same way
    a table with the rows of another version than the registry's       made anew: from that version on disk, and what is behind
    no tables (a reboot), or nothing known of them                     made anew, all of them

Replaying is right because it is done in order and can be repeated: the later event time wins, and of equal ones the later
record, as when they came. And it is done under the definitions that hold now: a record is applied to a view that was the same
when the record was written, and of it the features that were; what has been dropped since, and made again under its old name,
has none of the old rows live either (``Registry.features_known``).

Invariant: the mark says nothing while a table is being filled from the beginning, so that a start which dies is begun again.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from featurestore.durability import (
    Fsync,
    Journal,
    JournalReader,
    Mark,
    Record,
    journal_bytes,
    journal_number,
    latest_snapshot,
    let_go,
    version_files,
)
from featurestore.errors import FailedPreconditionError, InternalError
from featurestore.registry import Registry
from featurestore.service import table_changes
from featurestore.service.read_ahead import ReadAhead
from featurestore.service.replacing import Replacing
from featurestore.service.replayer import Apply, Replay, Replayer
from featurestore.service.snapshots import EVERYTHING, Snapshots, SnapshotWriter, WriteTables
from featurestore.service.write_plan import WritePlan
from featurestore.store import Store, Trust

_log = logging.getLogger(__name__)

DIRECTORY_NAME = "journal"
AHEAD_MAX = 4
"""Records that are read and decoded while one is applied."""
TOLD_EVERY_S = 5.0

Progress = Callable[[int, int], None]
"""Called with how many bytes of versions, snapshot and journal are applied, and how many there are."""


class LoggedProgress:
    """A line in the log now and then, while tables are filled."""

    def __init__(self) -> None:
        self._began_s = self._told_s = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """So far it is."""
        now_s = time.monotonic()
        if now_s - self._told_s < TOLD_EVERY_S or not 0 < done < total:
            return
        self._told_s = now_s
        left_s = (now_s - self._began_s) * (total - done) / done
        _log.info("recovering", extra={"fields": {"share": f"{done / total:.0%}", "bytes": total, "left_s": round(left_s)}})


@dataclass(frozen=True)
class Durability:
    """How writes are kept, and who can read what was kept."""

    make_replay: Callable[[], Replay]
    snapshot_command: Sequence[str]
    """What writes a snapshot, as a process of its own."""
    write_tables: WriteTables
    """What that process does."""
    fsync: Fsync = "interval"
    fsync_interval_s: float = 1.0
    snapshot_bytes_min: int = 256 << 20
    """A smaller journal is left as it is."""
    versions_kept: int = 1
    """Of the rows of a view that are replaced as a whole: how many earlier ones can be brought back."""
    progress: Callable[[], Progress] = LoggedProgress
    """Makes what is told how far a start is."""


class Recovered(NamedTuple):
    """What a start found and repaired."""

    records: int
    """Replayed."""
    tables: int
    """Made anew."""
    cut_bytes: int
    """Of a journal's end that was not whole."""
    seconds: float


class _Whole(NamedTuple):
    """A journal of which it is known how many records it has, and the views that are filled from it."""

    directory: Path
    records: int
    names: set[tuple[str, str]]


class Recovery:
    """The steps of one start, in order: ``trust``, ``follow_definitions``, ``replay``, ``begin_journal``."""

    def __init__(self, directory: Path, durability: Durability) -> None:
        self._directory = directory / DIRECTORY_NAME
        self._durability = durability
        self._started = time.monotonic()
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise InternalError(f"{self._directory}: got {error.strerror}, expected a directory for the journal") from None
        self._records = 0

    def trust(self, segments: Path) -> Trust:
        """Which of the tables that lie there are to be taken over. Asked when the directory is ours."""
        let_go(self._directory)
        self._snapshot = latest_snapshot(self._directory)
        self._base = self._snapshot.base if self._snapshot is not None else 0
        with self._told():
            self._number = journal_number(self._directory)
            if self._number == 0 and self._snapshot is not None:
                self._number = journal_number(self._snapshot.directory)
        self._mark, self._marked = Mark.attach(segments, self._directory, self._number)
        if self._number == 0:
            self._marked = self._marked or 0  # there is no journal yet: what is there has been there before it
            return "all"
        return "none" if self._marked is None else "readable"

    def follow_definitions(self, store: Store, registry: Registry) -> None:
        """Brings the tables in step with the definitions; tables that lost a row are made anew.

        FailedPreconditionError where there are none, but rows: without the definitions they would be taken for dropped.
        """
        if self._number and not registry.version:
            raise FailedPreconditionError(
                f"{registry.path} is not there, and {self._directory} holds rows whose definitions were in it: put it back, "
                f"from a backup for example, or move {self._directory} away to begin anew"
            )
        for reason in store.unreadable:
            _log.warning("table unreadable", extra={"fields": {"reason": reason, "made_from": str(self._directory)}})
        if self._number:  # without a journal the table is all that there is
            while store.torn:
                store.drop_table(*store.torn.pop())
        self._adopted = self._number == 0 and any(table.stats().rows for table in store.tables())
        for table in store.tables():
            name = table.view.project, table.view.view
            versions = registry.versions(*name)
            is_known = self._number or versions.since  # else there is no journal yet, and nothing was replaced
            if is_known and table.version != versions.current.number:  # its owner died in the middle of a swap
                store.drop_table(*name)
        held = {(table.view.project, table.view.view) for table in store.tables()}
        views = [(view.project, view.name) for view in registry.current.feature_views]
        self._anew = {name for name in views if name not in held}
        covered = self._snapshot.definitions if self._snapshot is not None else 0
        self._from_version = {name for name in self._anew if registry.versions(*name).since > covered}
        self._after = {name: self._first_after(name, registry) for name in views}
        if self._anew:
            self._mark.forget()
        table_changes.prepare(store, registry.current)
        table_changes.settle(store, registry.current)
        for name in self._anew:
            store.table(*name).renumber(registry.versions(*name).current.number)

    def _first_after(self, name: tuple[str, str], registry: Registry) -> int:
        """Up to which record a view's rows do not come from the journal."""
        if name not in self._anew:
            return self._marked or 0
        return registry.versions(*name).after if name in self._from_version else self._base

    def replay(self, store: Store, registry: Registry) -> None:
        """Applies what the tables do not hold, and makes the journal end where it is whole."""
        with self._told():
            self._replay(store, registry)
            if self._number and max(self._end.sequence, self._base) < (self._marked or 0):
                # The journal is another one than that which the tables were written with: one that was restored, or cut.
                for table in store.tables():
                    store.drop_table(table.view.project, table.view.view)
                self._marked = None
                self.follow_definitions(store, registry)
                self._replay(store, registry)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Says in a sentence which file cannot be read."""
        try:
            yield
        except OSError as error:
            path = error.filename or self._directory
            raise InternalError(f"{path}: got {error.strerror}, expected a journal's file that can be read") from None

    def _replay(self, store: Store, registry: Registry) -> None:
        plans = {name: WritePlan(*name, registry.current, store) for name in self._after}
        replayer = Replayer(registry, self._durability.make_replay())
        whole = self._whole(registry)
        after = min(self._after.values(), default=self._marked or self._base)
        reader = JournalReader(self._directory, after, had=self._marked or 0)
        done, total = 0, journal_bytes(self._directory, after) + sum(journal_bytes(each.directory, 0) for each in whole)
        progress = self._durability.progress()
        with ReadAhead(self._decoded(whole, reader, plans, replayer), AHEAD_MAX) as records:
            for record, apply in records:
                done += record.record_bytes
                if apply is not None:
                    self._records += 1
                    apply()
                progress(min(done, total), total)
        progress(total, total)
        self._end = reader.cut()

    def _whole(self, registry: Registry) -> list[_Whole]:
        """What tables are to be filled from before the journal."""
        found = []
        for name in self._from_version:
            number = registry.versions(*name).current.number
            files = version_files(self._directory, *name, number)
            found.append(_Whole(files.directory, files.records, {name}))
        if self._snapshot is not None and self._anew:
            found.append(_Whole(self._snapshot.directory, self._snapshot.records, self._anew - self._from_version))
        return found

    def _decoded(
        self,
        whole: Sequence[_Whole],
        journal: JournalReader,
        plans: Mapping[tuple[str, str], WritePlan],
        replayer: Replayer,
    ) -> Iterator[tuple[Record, Apply | None]]:
        """The records of all of them, in order, and what applies each that is to be applied."""
        for directory, count, names in whole:
            reader = JournalReader(directory)
            for record in reader:
                name = record.entry.project, record.entry.view
                yield record, replayer.decode(directory, record, plans[name]) if name in names else None
            reader.expect_end(count)
        for record in journal:
            name = record.entry.project, record.entry.view
            is_wanted = record.sequence > self._after.get(name, record.sequence)
            yield record, replayer.decode(self._directory, record, plans[name]) if is_wanted else None

    def begin_journal(self) -> tuple[Journal, Recovered]:
        """The journal to go on with; from now on the mark moves with it."""
        number = self._end.journal or self._number or secrets.randbits(63) + 1
        self._mark.begin(number, max(self._end.sequence, self._base))
        journal = Journal(
            self._directory,
            number,
            max(self._end.sequence, self._base),  # a loss of power may take records that the snapshot stands for
            fsync=self._durability.fsync,
            fsync_interval_s=self._durability.fsync_interval_s,
            mark=self._mark.word,
            bytes_since_snapshot=EVERYTHING if self._adopted else journal_bytes(self._directory, self._base),
        )
        anew = len(self._anew) if self._end.sequence else 0
        recovered = Recovered(self._records, anew, self._end.cut_bytes, round(time.monotonic() - self._started, 3))
        if recovered.records or recovered.tables or recovered.cut_bytes:
            _log.info("recovered", extra={"fields": recovered._asdict()})
        return journal, recovered

    def writer(self, journal: Journal) -> SnapshotWriter:
        """What writes tables down."""
        durability = self._durability
        return SnapshotWriter(durability.snapshot_command, durability.write_tables, journal.number)

    def snapshots(self, journal: Journal, segments: Path, writer: SnapshotWriter) -> Snapshots:
        """What takes the next ones."""
        return Snapshots(self._directory, segments, journal, writer, self._durability.snapshot_bytes_min)

    def replacing(self, journal: Journal, store: Store, registry: Registry, writer: SnapshotWriter) -> Replacing:
        """What replaces the rows of whole views."""
        durability = self._durability

        def make_replayer() -> Replayer:
            return Replayer(registry, durability.make_replay())

        replacing = Replacing(self._directory, store, registry, journal, writer, make_replayer, durability.versions_kept)
        try:
            replacing.tidy()
        except OSError as error:  # of a disk that is read-only: reads go on
            _log.warning("former rows left", extra={"fields": {"file": error.filename, "reason": error.strerror}})
        return replacing
