"""When a snapshot is taken, and what becomes of it.

The journal may grow to as much as the rows in memory (and to ``snapshot_bytes_min`` at least); then a process of its own writes
the rows down, and what they stand for goes. So what lies on disk is at most the journal, the snapshot before and the one being
written: three times the rows, and what came while it was written. Right although rows change meanwhile: each is at least as new
as ``base``, and all that was written after ``base`` is in the journal, which is applied again on top.
"""

import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from featurestore.durability import Held, Journal, begin_snapshot, finish_snapshot, hold_files, latest_snapshot
from featurestore.errors import InternalError, UnavailableError

_log = logging.getLogger(__name__)

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


class Snapshots:
    """Takes snapshots of one store, one at a time, and holds its files for a backup."""

    def __init__(self, directory: Path, segments: Path, journal: Journal, command: Sequence[str], bytes_min: int) -> None:
        self._directory = directory
        self._segments = segments
        self._journal = journal
        self._command = command
        self._bytes_min = bytes_min
        self._bytes_wanted = bytes_min
        self._process: subprocess.Popen[str] | None = None
        self._closed = False
        self._files = threading.Lock()  # held by whoever takes files away, or holds them

    @property
    def are_all(self) -> bool:
        """Whether rows are in no journal and in no snapshot yet."""
        return self._journal.bytes_since_snapshot >= EVERYTHING

    def is_due(self, rows_bytes: int) -> bool:
        """Whether the journal has grown to what the rows take."""
        return self._journal.bytes_since_snapshot > max(self._bytes_wanted, rows_bytes)

    def take(self, base: int, definitions: int) -> SnapshotTaken:
        """Writes one, of everything up to record ``base``, taken by that version of the definitions. Blocks meanwhile.

        InternalError where that fails: the journal stays, and the next one is due when it has grown by as much again.
        """
        started = time.monotonic()
        latest = latest_snapshot(self._directory)
        if latest is not None and latest.base == base and not self.are_all:
            return SnapshotTaken(base, latest.records, latest.bytes, 0.0)  # nothing was written since
        try:
            return self._take(base, definitions, started)
        except OSError as error:
            place = error.filename or self._directory
            raise InternalError(f"{place}: got {error.strerror}, expected to write a snapshot") from None

    def _take(self, base: int, definitions: int, started: float) -> SnapshotTaken:
        journal_bytes = self._journal.bytes_since_snapshot
        self._bytes_wanted = journal_bytes + self._bytes_min
        target = begin_snapshot(self._directory)
        arguments = [str(self._segments), str(target), str(self._journal.number), str(definitions)]
        with subprocess.Popen(  # noqa: S603  our own program
            [*self._command, *arguments],
            stdin=subprocess.PIPE,  # which ends with this process, and the other one with it
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C is for the server
        ) as self._process:
            if self._closed:  # while it was being started
                self._process.kill()
            assert self._process.stdout is not None
            assert self._process.stderr is not None
            out, errors = self._process.stdout.read(), self._process.stderr.read()
        if self._process.returncode or self._closed:
            shutil.rmtree(target, ignore_errors=True)
            if self._closed:
                raise UnavailableError("the server is stopping, and ended the snapshot: take one when it is back")
            raise InternalError(f"{self._directory}: the snapshot was not written: {errors.strip()[-500:]}")
        with self._files:
            snapshot = finish_snapshot(self._directory, target, base, int(out))
        self._journal.forget_bytes(journal_bytes)
        self._bytes_wanted = self._bytes_min
        taken = SnapshotTaken(base, snapshot.records, snapshot.bytes, round(time.monotonic() - started, 3))
        _log.info("snapshot", extra={"fields": taken._asdict()})
        return taken

    def hold(self, beside: Callable[[], Mapping[str, bytes]]) -> Held:
        """The files from which the store comes again as it is now, held for a backup. ``beside``: other files' contents."""
        try:
            with self._files:
                snapshot, position = latest_snapshot(self._directory), self._journal.position
                return hold_files(self._directory, snapshot, self._journal.number, position, beside())
        except OSError as error:
            place = error.filename or self._directory
            raise InternalError(f"{place}: got {error.strerror}, expected to hold the files of a backup") from None

    def close(self) -> None:
        """Ends the one that is being written."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
