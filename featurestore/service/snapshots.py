"""When a snapshot is taken, and what becomes of it.

The journal may grow to as much as the rows in memory (and to ``snapshot_bytes_min`` at least); then a process of its own writes
the rows down, and what they stand for goes. So what lies on disk is at most the journal, the snapshot before and the one being
written: three times the rows, and what came while it was written. Right although rows change meanwhile: each is at least as new
as ``base``, and all that was written after ``base`` is in the journal, which is applied again on top.
"""

import logging
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from featurestore.durability import Journal, begin_snapshot, finish_snapshot

_log = logging.getLogger(__name__)


def disk_bytes_max(rows_bytes: int, snapshot_bytes: int, bytes_min: int) -> int:
    """What may lie on disk: a journal that is as long as it may get, the snapshot before, and the one being written."""
    return max(bytes_min, rows_bytes) + 2 * snapshot_bytes


class Snapshots:
    """Takes snapshots of one store, one at a time."""

    def __init__(self, directory: Path, segments: Path, journal: Journal, command: Sequence[str], bytes_min: int) -> None:
        self._directory = directory
        self._segments = segments
        self._journal = journal
        self._command = command
        self._bytes_min = bytes_min
        self._bytes_wanted = bytes_min
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def is_due(self, rows_bytes: int) -> bool:
        """Whether the journal has grown to what the rows take."""
        return self._journal.bytes_since_snapshot > max(self._bytes_wanted, rows_bytes)

    def take(self, base: int, definitions: int) -> None:
        """Writes one, of everything up to record ``base``, taken by that version of the definitions. Blocks meanwhile.

        A failure is logged: the journal stays, and the next try waits until it has grown by as much again.
        """
        started = time.monotonic()
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
            if not self._closed:
                _log.error("snapshot failed", extra={"fields": {"reason": errors.strip()[-500:]}})
            return
        snapshot = finish_snapshot(self._directory, target, base, int(out))
        self._journal.forget_bytes(journal_bytes)
        self._bytes_wanted = self._bytes_min
        seconds = round(time.monotonic() - started, 3)
        _log.info("snapshot", extra={"fields": {"base": base, "records": snapshot.records, "seconds": seconds}})

    def close(self) -> None:
        """Ends the one that is being written."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
