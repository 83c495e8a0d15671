"""Writes that are not to be acknowledged before the disk has them, and who waits for that.

Compiled, because with ``--fsync always`` it is done for each write, between two sleeps of the event loop, when code of Python's is
slowest.
"""

import asyncio
import logging
from collections import deque
from functools import partial

cimport cython
from libc.stdint cimport uint64_t

from featurestore.durability.group_sync cimport GroupSync
from featurestore.durability.record_writer cimport RecordWriter

_log = logging.getLogger(__name__)


cdef class Waiters:
    """Those who wait until the disk has a record of a journal, in the order in which they came. They are told on one event loop."""

    def __init__(self, RecordWriter journal not None, GroupSync group not None):
        self._journal, self._group = journal, group
        self._waiting = deque()

    cpdef int when_synced(self, uint64_t sequence, call) except -1:
        """Has it called by the running event loop, once the disk has that record (with None) or it cannot be known that it has
        (with the reason)."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._group.done_fd, self._tell_synced)
        self._journal.lock.acquire()
        try:
            if self._journal._synced < sequence and self._journal._failure is None:
                self._waiting.append((sequence, call))
                self._group.want()
                return 0
            failure = None if self._journal._synced >= sequence else self._journal._failure
        finally:
            self._journal.lock.release()
        self._loop.call_soon(call, failure)
        return 0

    def synced(self, sequence):
        """A future that is done once the disk has that record; InternalError when it cannot be known that it has."""
        future = asyncio.get_running_loop().create_future()
        self.when_synced(sequence, partial(_settle, future))
        return future

    def _tell_synced(self):
        cdef uint64_t synced = self._group.take_done()
        cdef list calls
        self._journal.lock.acquire()
        try:
            self._journal._synced = max(self._journal._synced, synced)
            calls = self._take(self._journal._synced)
        finally:
            self._journal.lock.release()
        _tell(calls, None)

    cpdef int settle(self, uint64_t target, failure) except -1:
        """Has those called who wait for a record up to ``target``. From any thread, which holds the journal's lock."""
        cdef list calls = self._take(target)
        if calls:
            self._loop.call_soon_threadsafe(_tell, calls, failure)
        return 0

    cdef list _take(self, uint64_t target):
        cdef list calls = []
        while self._waiting and self._waiting[0][0] <= target:
            calls.append(self._waiting.popleft()[1])
        return calls

    def close(self):
        """Nobody waits any more, and nobody syncs."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._group.done_fd)
        self._group.close()


@cython.no_gc
@cython.freelist(64)
cdef class Unsynced:
    """What a write came to, not to be told before the disk has it. Awaited it gives just that, then; ``then`` costs less."""

    cpdef int then(self, call) except -1:
        """As ``Waiters.when_synced``, of the write's record."""
        return self._waiters.when_synced(self._sequence, call)

    cpdef Unsynced told_as(self, outcome):
        """The same write, with what its outcome is called elsewhere."""
        return unsynced(outcome, self._waiters, self._sequence)

    def __await__(self):
        yield from self._waiters.synced(self._sequence).__await__()
        return self.outcome


cdef Unsynced unsynced(outcome, Waiters waiters, uint64_t sequence):
    cdef Unsynced made = Unsynced.__new__(Unsynced)
    made.outcome, made._waiters, made._sequence = outcome, waiters, sequence
    return made


def _tell(list calls, failure):
    for call in calls:
        try:
            call(failure)
        except Exception:
            _log.exception("an answer that waited for the disk could not be given")


def _settle(future, failure):
    if future.done():  # its caller went away
        return
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)
