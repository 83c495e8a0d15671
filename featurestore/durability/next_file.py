"""The file that a journal goes on in, made ahead of time in a thread: its head has to be on the disk before its first record is
written, and no writer is to wait for that.

A head says with which record the file begins. So the first try is for the very next one; where records came while it was made
it is thrown away, and another one made for a record further on, which by the pace of those records is still to come. Invariant:
a file has a journal file's name only once the journal is there; until then a start takes it away.
"""

import os
import threading
from contextlib import suppress
from pathlib import Path

from featurestore.durability.reading import journal_path
from featurestore.durability.record import file_head
from featurestore.durability.record_writer import RecordWriter

_PATIENCE_S = 0.05
"""For the record of a file that was made for one further on; then it is made for the very next one again."""


def begin_file(path: Path, journal: int, first_sequence: int) -> int:
    """Makes a file that has its head, and so has the disk."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(handle, file_head(journal, first_sequence), 0)
        os.fsync(handle)
    except BaseException:
        os.close(handle)
        raise
    return handle


class NextFile:
    """At most one file ahead of a journal, whose ``lock`` is held where its methods say so. It is told where one is there."""

    def __init__(self, directory: Path, journal: RecordWriter) -> None:
        self._directory = directory
        self._journal = journal
        self._lock = journal.lock
        self._ready: tuple[int, int] | None = None  # (first sequence, handle)
        self._taken = threading.Event()
        self._closing = False
        self._maker: threading.Thread | None = None

    def want(self) -> threading.Thread | None:
        """Has one made, unless it is there. With the lock held. Returns the thread that is at it."""
        if self._maker is None and self._ready is None and not self._closing:
            self._taken.clear()
            self._maker = threading.Thread(target=self._make, name="featurestore-journal-file", daemon=True)
            self._maker.start()
        return self._maker

    def take(self, first_sequence: int) -> int | None:
        """The file that begins with that record, if there is one, under its name; whoever syncs it is to sync the directory
        too. With the lock held."""
        if self._ready is None or self._ready[0] != first_sequence:
            return None
        handle, self._ready = self._ready[1], None
        self._journal.turns = False
        self._taken.set()
        try:
            self._path(first_sequence).rename(journal_path(self._directory, first_sequence))
        except OSError:
            os.close(handle)
            return None
        return handle

    def close(self) -> None:
        """Takes away what nobody has taken."""
        with self._lock:
            self._closing = True
            maker = self._maker
        self._taken.set()
        if maker is not None:
            maker.join()
        self._discard()

    def _make(self) -> None:
        ahead = 0
        while True:
            with self._lock:
                before = self._journal.last
                first = before + 1 + ahead
            try:
                handle = begin_file(self._path(first), self._journal.number, first)
            except OSError:  # the disk is full, perhaps: the journal goes on in the file that it has
                break
            with self._lock:
                came = self._journal.last - before
                self._ready = (first, handle)
                self._journal.turns = True
                if came == ahead or self._closing:
                    break
            if came < ahead and self._taken.wait(_PATIENCE_S):
                break
            if not self._discard():
                break
            ahead = 2 * came + 1 if came > ahead else 0
        with self._lock:
            self._maker = None

    def _discard(self) -> bool:
        with self._lock:
            ready, self._ready = self._ready, None
            self._journal.turns = False
        if ready is not None:
            os.close(ready[1])
            with suppress(OSError):
                self._path(ready[0]).unlink()
        return ready is not None

    def _path(self, first_sequence: int) -> Path:
        return journal_path(self._directory, first_sequence).with_suffix(".next.new")
