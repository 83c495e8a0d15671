"""When a snapshot is taken, and what becomes of it.

The journal may grow to as much as the rows in memory (and to ``snapshot_bytes_min`` at least); then a process of its own writes
the rows down, and what they stand for goes. So what lies on disk is at most the journal, the snapshot before and the one being
written: three times the rows, and what came while it was written. That process gives way to all else, until the journal has
grown by four times that, or it hardly comes to run while somebody waits for it. Right although rows change meanwhile: each is
at least as new as ``base``, and all that was written after ``base`` is in the journal, which is applied again on top.
"""

import logging
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from featurestore.durability import (
    Held,
    Journal,
    Snapshot,
    VersionFiles,
    begin_snapshot,
    finish_snapshot,
    hold_files,
    latest_snapshot,
)
from featurestore.errors import InternalError, UnavailableError
from featurestore.priority import give_way

_log = logging.getLogger(__name__)

WriteTables = Callable[[Path, Path, int, int], int]
"""Writes the tables in one directory into another one, for that journal, under that version of the definitions."""
WRITTEN_HERE_BYTES = 4 << 20
"""Of memory: such tables are written in some 20 ms, and a process takes ten times as long to start."""

OVERDUE = 4
"""So many times by what makes a snapshot due may the journal grow while it is written by what gives way to all else."""

PATIENCE_S = 5.0
"""After so long, a process that somebody waits for must have had a share of a core."""
SHARE_MIN = 0.2
"""Since it began: less it would hardly have where it took its share, beside four others that want the core."""


def disk_bytes_max(rows_bytes: int, snapshot_bytes: int, bytes_min: int) -> int:
    """What may lie on disk: a journal that is as long as it may get, the snapshot before, and the one being written."""
    return max(bytes_min, rows_bytes) + 2 * snapshot_bytes


EVERYTHING = 1 << 62
"""More bytes than any journal has: of rows that no journal has, a snapshot is due at once."""


class SnapshotTaken(NamedTuple):
    """A snapshot, and what it took."""

    base: int
    """It stands for the journal up to this record."""
    records: int
    """Its own."""
    bytes: int
    seconds: float


class SnapshotWriter:
    """Has tables written down by a process of its own, which maps them. Safe to use from several threads.

    ``write``: what such a process does, done here for a table that takes less time than a process needs to start.
    """

    def __init__(self, command: Sequence[str], write: WriteTables, journal: int) -> None:
        self._command = command
        self._write = write
        self._journal = journal
        self._lock = threading.Lock()
        self._processes: dict[subprocess.Popen[str], bool] = {}  # and whether each gives way
        self._waiting = 0
        self.is_closed = False

    def write(
        self, segments: Path, target: Path, definitions: int, *, memory_bytes: int | None = None, gives_way: bool = False
    ) -> int:
        """Writes the tables in ``segments``, as they are under that version of the definitions, into an empty directory.

        ``memory_bytes``: what they take, if it is known. ``gives_way``: to all else that wants its core, until ``hurry``, or
        until it starves while it is ``waited_for``.
        Returns in how many records. Blocks meanwhile. Raises InternalError with the process's sentence.
        """
        if memory_bytes is not None and memory_bytes <= WRITTEN_HERE_BYTES:
            return self._write(segments, target, self._journal, definitions)
        command = [*self._command, str(segments), str(target), str(self._journal), str(definitions)]
        code, out, errors = self._run(command, gives_way)
        if code == -signal.SIGKILL and gives_way and not self.is_closed:
            for each in target.iterdir():
                each.unlink()
            code, out, errors = self._run(command, gives_way=False)
        if self.is_closed:
            raise UnavailableError("the server is stopping, and ended what was being written down: try again when it is back")
        if code:
            raise InternalError(f"the tables could not be written down: {errors.strip()[-500:]}")
        return int(out)

    def _run(self, command: Sequence[str], gives_way: bool) -> tuple[int, str, str]:
        with subprocess.Popen(  # noqa: S603  our own program
            command,
            stdin=subprocess.PIPE,  # which ends with this process, and the other one with it
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,  # a Ctrl-C is for the server. (A session of its own would have a share of the cores of its own.)
        ) as process:
            with self._lock:
                self._processes[process] = gives_way
                if self.is_closed:  # while it was being started
                    process.kill()
            if gives_way:  # from here on it may have to be hurried, which it is known to by now
                give_way(process.pid)
            assert process.stdout is not None
            assert process.stderr is not None
            began_s = time.monotonic()
            told = select.poll()  # not ``select``, which takes no descriptor beyond 1,023
            told.register(process.stdout, select.POLLIN)
            while gives_way and not told.poll(1e3 * PATIENCE_S / 5):
                if self._waiting and _starves(process.pid, time.monotonic() - began_s):
                    self.hurry()
            out, errors = process.stdout.read(), process.stderr.read()
        with self._lock:
            del self._processes[process]
        return process.returncode, out, errors

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """While somebody waits for what is written. To be entered by one thread."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def hurry(self) -> None:
        """Has what gives way begin again as a process that takes its share: it cannot be had back from giving way."""
        with self._lock:
            for process in [process for process, gives_way in self._processes.items() if gives_way]:
                process.kill()

    def close(self) -> None:
        """Ends what is being written."""
        with self._lock:
            self.is_closed = True
            for process in self._processes:
                process.kill()


def _starves(process: int, age_s: float) -> bool:
    """Whether it would run now (and not wait for the disk, say), but has hardly done so since it began."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()  # the third one and on
    except OSError:  # it has just ended
        return False
    ran_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return fields[0] == "R" and age_s > PATIENCE_S and ran_s < SHARE_MIN * age_s


class Snapshots:
    """Takes snapshots of one store, one at a time, and holds its files for a backup."""

    def __init__(self, directory: Path, segments: Path, journal: Journal, writer: SnapshotWriter, bytes_min: int) -> None:
        self._directory = directory
        self._segments = segments
        self._journal = journal
        self._writer = writer
        self._bytes_min = bytes_min
        self._bytes_wanted = bytes_min
        self._begun_bytes = 0  # the journal's, when the last one was begun
        self._files = threading.Lock()  # held by whoever takes a snapshot's files away, or holds them

    @property
    def are_all(self) -> bool:
        """Whether rows are in no journal and in no snapshot yet."""
        return self._journal.bytes_since_snapshot >= EVERYTHING

    def is_due(self, rows_bytes: int) -> bool:
        """Whether the journal has grown to what the rows take."""
        return self._journal.bytes_since_snapshot > max(self._bytes_wanted, rows_bytes)

    def waited_for(self) -> AbstractContextManager[None]:
        """While somebody waits for one: where its process hardly comes to run, it is to take its share."""
        return self._writer.waited_for()

    def hurry_if_overdue(self, rows_bytes: int) -> None:
        """Has one that is being written take its share of the cores, where the journal has grown by far more meanwhile."""
        if self._journal.bytes_since_snapshot - self._begun_bytes > OVERDUE * max(self._bytes_min, rows_bytes):
            self._writer.hurry()

    def take(
        self, base: int, definitions: int, is_current: Callable[[], bool], needed_after: Callable[[], int]
    ) -> SnapshotTaken | None:
        """Writes one, of everything up to record ``base``, taken by that version of the definitions. Blocks meanwhile.

        ``is_current``: whether the definitions are still those. None where they are not any more: rows may have been read
        that have features which those do not know, and would bring back the rows without them, as new as they are.
        ``needed_after``: behind which record the journal is needed whatever is in the snapshot. InternalError where it
        fails: the journal stays, and the next one is due when it has grown by as much again.
        """
        started = time.monotonic()
        latest = latest_snapshot(self._directory)
        if latest is not None and (latest.base, latest.definitions) == (base, definitions) and not self.are_all:
            return SnapshotTaken(base, latest.records, latest.bytes, 0.0)  # nothing was written since
        self._begun_bytes = journal_bytes = self._journal.bytes_since_snapshot
        self._bytes_wanted = journal_bytes + self._bytes_min
        try:
            target = begin_snapshot(self._directory)
            try:
                records = self._writer.write(self._segments, target, definitions, gives_way=True)
                if not is_current():
                    return None
                with self._files:
                    snapshot = finish_snapshot(self._directory, target, base, records, definitions, needed_after())
            finally:
                shutil.rmtree(target, ignore_errors=True)  # where it has not become one
        except OSError as error:
            place = error.filename or self._directory
            raise InternalError(f"{place}: got {error.strerror}, expected to write a snapshot") from None
        self._journal.forget_bytes(journal_bytes)
        self._bytes_wanted = self._bytes_min
        taken = SnapshotTaken(base, snapshot.records, snapshot.bytes, round(time.monotonic() - started, 3))
        _log.info("snapshot", extra={"fields": taken._asdict()})
        return taken

    def hold(
        self,
        beside: Callable[[], Mapping[str, bytes]],
        versions: Callable[[Snapshot | None], Iterable[VersionFiles]],
        needed_after: Callable[[int], int],
    ) -> Held:
        """The files from which the store comes again as it is now, held for a backup.

        ``beside``: other files' contents. ``versions``: those that are needed beside a snapshot. ``needed_after``: as in
        ``take``, beside a snapshot that was begun under that version of the definitions.
        """
        try:
            with self._files:
                snapshot, position = latest_snapshot(self._directory), self._journal.position
                needed = versions(snapshot)
                after = 0 if snapshot is None else min(snapshot.base, needed_after(snapshot.definitions))
                return hold_files(self._directory, snapshot, needed, self._journal.number, after, position, beside())
        except OSError as error:
            place = error.filename or self._directory
            raise InternalError(f"{place}: got {error.strerror}, expected to hold the files of a backup") from None
