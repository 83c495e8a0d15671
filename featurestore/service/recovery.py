"""What a start makes of what the owner before left behind: tables in memory, as far as they are to be trusted, and the journal.

    tables still mapped, and the mark says which records they hold     taken over; the records behind the mark are replayed
    a table whose owner died while he changed a row                    made anew: from the snapshot, and the records behind it
    no tables (a reboot), or nothing known of them                     the same, all of them

Replaying is right because it is done in order and can be repeated: the later event time wins, and of equal ones the later
record, as when they came. And it is done under the definitions that hold now: a record is applied to a view that was the same
when the record was written, and of it the features that were; what has been dropped since, and made again under its old name,
has none of the old rows live either (``Registry.features_known``).

Invariant: the mark says nothing while a table is being filled from the beginning, so that a start which dies is begun again.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from featurestore.durability import (
    Entry,
    Fsync,
    Journal,
    JournalReader,
    Mark,
    Record,
    Snapshot,
    journal_bytes,
    journal_number,
    latest_snapshot,
    let_go,
)
from featurestore.errors import FeatureStoreError, InternalError
from featurestore.registry import Registry
from featurestore.service import table_changes
from featurestore.service.read_ahead import ReadAhead
from featurestore.service.snapshots import EVERYTHING, Snapshots
from featurestore.service.write_plan import WritePlan
from featurestore.store import Store

_log = logging.getLogger(__name__)

DIRECTORY_NAME = "journal"
AHEAD_MAX = 4
"""Records that are read and decoded while one is applied."""
TOLD_EVERY_S = 5.0

Apply = Callable[[], object]
Replay = Callable[[Entry, WritePlan, frozenset[str]], Apply]
"""Decodes an entry; what it gives back applies it to the plan's table, of its features only those."""
Progress = Callable[[int, int], None]
"""Called with how many bytes of snapshot and journal are applied, and how many there are."""


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

    replay: Replay
    snapshot_command: Sequence[str]
    """What writes a snapshot, as a process of its own."""
    fsync: Fsync = "interval"
    fsync_interval_s: float = 1.0
    snapshot_bytes_min: int = 256 << 20
    """A smaller journal is left as it is."""
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


class Recovery:
    """The steps of one start, in order: ``keeps_tables``, ``follow_definitions``, ``replay``, ``begin_journal``."""

    def __init__(self, directory: Path, durability: Durability) -> None:
        self._directory = directory / DIRECTORY_NAME
        self._durability = durability
        self._started = time.monotonic()
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise InternalError(f"{self._directory}: got {error.strerror}, expected a directory for the journal") from None
        self._records = 0

    def keeps_tables(self, segments: Path) -> bool:
        """Whether tables that lie there are to be taken over. Asked when the directory is ours."""
        let_go(self._directory)
        self._snapshot = latest_snapshot(self._directory)
        self._base = self._snapshot.base if self._snapshot is not None else 0
        with self._told():
            self._number = journal_number(self._directory)
            if self._number == 0 and self._snapshot is not None:
                self._number = journal_number(self._snapshot.directory)
        self._mark, self._marked = Mark.attach(segments, self._directory, self._number)
        if self._number == 0 and self._marked is None:
            self._marked = 0  # there is no journal yet: what is there has been there before it
        return self._marked is not None

    def follow_definitions(self, store: Store, registry: Registry) -> None:
        """Brings the tables in step with the definitions; tables that lost a row are made anew."""
        for name in store.torn if self._number else ():  # without a journal the table is all that there is
            store.drop_table(*name)
        self._adopted = self._number == 0 and any(table.stats().rows for table in store.tables())
        held = {(table.view.project, table.view.view) for table in store.tables()}
        views = [(view.project, view.name) for view in registry.current.feature_views]
        self._anew = {name for name in views if name not in held}
        self._after = {name: self._base if name in self._anew else self._marked or 0 for name in views}
        if self._anew:
            self._mark.forget()
        table_changes.prepare(store, registry.current)
        table_changes.settle(store, registry.current)

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
        self._plans = {name: WritePlan(*name, registry.current, store) for name in self._after}
        progress = self._durability.progress()
        after = min(self._after.values(), default=self._marked or self._base)
        snapshot = self._snapshot if self._anew else None
        done, total = 0, journal_bytes(self._directory, after) + (snapshot.bytes if snapshot is not None else 0)
        reader = JournalReader(self._directory, after)
        with ReadAhead(self._decoded(snapshot, reader, registry), AHEAD_MAX) as records:
            for record, apply in records:
                done += record.record_bytes
                if apply is not None:
                    self._records += 1
                    apply()
                progress(min(done, total), total)
        progress(total, total)
        self._end = reader.cut()

    def _decoded(
        self, snapshot: Snapshot | None, journal: JournalReader, registry: Registry
    ) -> Iterator[tuple[Record, Apply | None]]:
        """The records of both, in order, and what applies each of them, where it is to be applied."""
        if snapshot is not None:
            reader = JournalReader(snapshot.directory)
            for record in reader:
                is_wanted = (record.entry.project, record.entry.view) in self._anew
                yield record, self._decode(snapshot.directory, record, registry) if is_wanted else None
            reader.expect_end(snapshot.records)
        for record in journal:
            is_wanted = record.sequence > self._after.get((record.entry.project, record.entry.view), record.sequence)
            yield record, self._decode(self._directory, record, registry) if is_wanted else None

    def _decode(self, directory: Path, record: Record, registry: Registry) -> Apply | None:
        entry = record.entry
        plan = self._plans[entry.project, entry.view]
        features = registry.features_known(plan.project, plan.view, entry.definitions)
        if features is None:
            return None
        with _told_of(directory, record):
            apply = self._durability.replay(entry, plan, features)

        def apply_told() -> None:
            with _told_of(directory, record):
                apply()

        return apply_told

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
            mark=self._mark.move,
            bytes_since_snapshot=EVERYTHING if self._adopted else journal_bytes(self._directory, self._base),
        )
        anew = len(self._anew) if self._end.sequence else 0
        recovered = Recovered(self._records, anew, self._end.cut_bytes, round(time.monotonic() - self._started, 3))
        if recovered.records or recovered.tables or recovered.cut_bytes:
            _log.info("recovered", extra={"fields": recovered._asdict()})
        return journal, recovered

    def snapshots(self, journal: Journal, segments: Path) -> Snapshots:
        """What takes the next ones."""
        durability = self._durability
        return Snapshots(self._directory, segments, journal, durability.snapshot_command, durability.snapshot_bytes_min)


@contextmanager
def _told_of(directory: Path, record: Record) -> Iterator[None]:
    """Says in a sentence which record cannot be applied."""
    try:
        yield
    except FeatureStoreError as error:
        raise type(error)(
            f"{directory}: record {record.sequence}, a write to view {record.entry.view!r}, cannot be applied again: "
            f"{error.message}"
        ) from None
