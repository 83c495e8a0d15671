"""The journal: what was written, in order, before it is applied.

``append`` gives a record to the system with one write, so that it survives the end of the process; ``waiters`` wait until the
disk has it, where that is promised (``fsync always``; ``unsynced.pyx``): a thread syncs for all who wait meanwhile, so that
many small writers share one sync (``group_sync.pyx``). Append, then apply, then ``applied``; then acknowledge.

Owns the files of a directory from the last record on; what is written to them, and which records are applied, is
``RecordWriter``'s (``record_writer.pyx``). Invariants: a file's head is on the disk before its first record is written
(``next_file.py``), its name before a record of it counts as synced; and ``synced`` in a record is never more than what is.
"""

import errno
import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from featurestore.durability.ending import NotedEnd, note_end
from featurestore.durability.group_sync import GroupSync
from featurestore.durability.next_file import NextFile, begin_file
from featurestore.durability.reading import journal_path
from featurestore.durability.record import FILE_HEAD_BYTES
from featurestore.durability.record_writer import RecordWriter
from featurestore.durability.unsynced import Waiters
from featurestore.errors import FeatureStoreError, InternalError, ResourceExhaustedError

_log = logging.getLogger(__name__)

Fsync = Literal["always", "interval", "never"]
FILE_BYTES = 64 << 20
"""A file that has reached this is followed by another one as soon as that is there, and at twice as much at any rate."""
TOLD_EVERY_S = 10.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Position(NamedTuple):
    """How far a journal had come at one instant."""

    last: int
    """The last record."""
    first: int
    """With which record the file began that was written to; 0: there was none."""
    offset: int
    """The end of that file."""


class Journal(RecordWriter):
    """Appends to a journal that ends with record ``last``, in files of its own. Safe to use from several threads.

    ``mark`` is as ``Mark.word`` has it; None: nobody is told. The first file is made with the first record: on a full disk, or
    one that is read-only, reads go on.
    """

    def __init__(
        self,
        directory: Path,
        journal: int,
        last: int,
        *,
        fsync: Fsync,
        fsync_interval_s: float,
        mark: memoryview | None = None,
        file_bytes: int = FILE_BYTES,
        bytes_since_snapshot: int = 0,
    ) -> None:
        super().__init__(journal, last, mark or memoryview(bytearray(8)).cast("Q"), file_bytes, bytes_since_snapshot)
        self._directory = directory
        self._directory_handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)  # now: it is needed where files run out
        self._fsync = fsync
        self._file_bytes = file_bytes
        self._files: list[int] = []  # those that are not synced; the last one is written to
        self._first = 0
        self._told_full_s = -TOLD_EVERY_S
        self._next = NextFile(directory, self)
        self._closing = threading.Event()
        self._group = group = GroupSync() if fsync == "always" else None
        self.waiters = None if group is None else Waiters(self, group)
        """Where a write is to be acknowledged only when the disk has it."""
        pace = (lambda: self._sync_paced(fsync_interval_s)) if group is None else lambda: self._sync_wanted(group)
        self._syncer = threading.Thread(target=pace, name="featurestore-journal", daemon=True)
        self._syncer.start()

    @property
    def position(self) -> Position:
        """How far it has come."""
        with self.lock:
            return Position(self.last, self._first, self._offset)

    def begin_file(self, *, waits: bool = True) -> None:
        """Goes on in a new file, so that what has been written can go as a whole: soon, or, where it ``waits``, at once.

        No writer waits for it.
        """
        with self.lock:
            if not self._first or self.last < self._first:
                return  # it is new
            maker = self._next.want()
        if not waits:
            return
        if maker is not None:
            maker.join()
        with self.lock:  # whatever is written next may come only when the snapshot is there
            handle = self._next.take(self.last + 1)
            if handle is not None:
                self._go_on_in(handle, self.last + 1)

    def close(self) -> None:
        """Syncs what is written, and gives the files up. Raises InternalError where the disk has not taken all of it."""
        self._closing.set()
        if self._group is not None:
            self._group.stop()
        self._syncer.join()
        self._next.close()
        self._sync()
        if self.waiters is not None:
            self.waiters.close()
        for handle in (*self._files, self._directory_handle):
            os.close(handle)
        if self._failure is not None:
            raise InternalError(self._failure.message)

    def note_end(self) -> None:
        """Notes where it ends, once it is closed: a file that is missing later is told from one that the disk never got."""
        if self._fsync != "never":  # which leaves files to the system as soon as they are followed by others
            note_end(self._directory, NotedEnd(self.number, self.last))

    # ---------------------------------------------------------------------------------------------------------------- files

    def _turn_file(self, sequence: int) -> None:
        """Sees to it that there is a file to write that record to."""
        handle = self._next.take(sequence)
        if handle is None:
            if self._files and self._offset >= self._file_bytes:
                self._next.want()
            if self._files and self._offset < 2 * self._file_bytes:
                return
            handle = self._new_file(sequence)
        self._go_on_in(handle, sequence)

    def _go_on_in(self, handle: int, sequence: int) -> None:
        if self._files and self._fsync == "never":
            os.close(self._files.pop())
        self._files.append(handle)
        self._is_one_file = len(self._files) == 1
        self._file, self._first, self._offset = handle, sequence, FILE_HEAD_BYTES

    def _new_file(self, first_sequence: int) -> int:
        path, handle = journal_path(self._directory, first_sequence), -1
        try:
            handle = begin_file(path.with_suffix(".new"), self.number, first_sequence)
            path.with_suffix(".new").rename(path)
            os.fsync(self._directory_handle)
        except OSError as error:
            if handle >= 0:
                os.close(handle)
            raise self._refusal(error, FILE_HEAD_BYTES) from None
        return handle

    def _refusal(self, error: OSError, size: int) -> FeatureStoreError:
        if error.errno not in _FULL:
            return InternalError(f"{self._directory}: got {error.strerror}, expected to write {size} bytes to the journal")
        space = os.statvfs(self._directory)
        left = space.f_bavail * space.f_frsize
        if time.monotonic() - self._told_full_s > TOLD_EVERY_S:
            self._told_full_s = time.monotonic()
            _log.error("journal full", extra={"fields": {"directory": self._directory, "bytes_left": left, "bytes": size}})
        return ResourceExhaustedError(
            f"the journal's disk is full: {self._directory} has {left} bytes left, {size} were needed; nothing was written. "
            "Make room there, and writes go on by themselves"
        )

    # -------------------------------------------------------------------------------------------------------------- syncing

    def _sync_wanted(self, group: GroupSync) -> None:
        while not self._closing.is_set():
            try:
                group.serve()
            except OSError as error:
                self._fail(error)
                return
            self._sync()  # a file was followed by another one

    def _sync_paced(self, interval_s: float) -> None:
        while not self._closing.wait(interval_s):
            if self._fsync == "interval":
                self._sync()
                continue
            with self.lock:
                files = [os.dup(each) for each in self._files]  # else they may be closed meanwhile
            for each in files:
                _let_go_of_memory(each)
                os.close(each)

    def _sync(self) -> None:
        with self.lock:
            target, handles = self.last, list(self._files)
            if self._failure is not None or target == self._synced:
                return
        try:
            for handle in handles:
                os.fdatasync(handle)
                _let_go_of_memory(handle)
            if handles[1:]:
                os.fsync(self._directory_handle)  # the later ones have their names
        except OSError as error:
            self._fail(error)
            return
        with self.lock:
            self._synced = target
            for handle in handles[:-1]:
                os.close(handle)
                self._files.remove(handle)
            self._is_one_file = len(self._files) == 1
            if self._group is not None and self._is_one_file:
                self._group.note(self._files[0], self.last)
            if self.waiters is not None:
                self.waiters.settle(target, None)

    def _fail(self, error: OSError) -> None:
        # What the system could not write it may have forgotten: to try again would prove nothing.
        failure = InternalError(
            f"{self._directory}: got {error.strerror}, expected to sync the journal; no more is written until the server is "
            "started again"
        )
        with self.lock:
            self._failure = failure
            if self.waiters is not None:
                self.waiters.settle(self.last, failure)


def _let_go_of_memory(handle: int) -> None:
    """Has the system write what is not written, and keep no copy of what is: nobody reads it, and memory has better uses.

    (At hundreds of megabytes a second each page of that copy would be memory that has not been in use for long, if ever.)
    """
    with suppress(OSError):  # it is a hint
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
