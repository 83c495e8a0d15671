"""Few rows into a table, as the event loop writes them: at once, or not at all.

Compiled, since a write of one row takes less time than a few calls of Python would.
"""

from featurestore.store.room cimport count_rows
from featurestore.store.writer cimport write_fitting

INLINE_ROWS_MAX = 256
cdef Py_ssize_t _INLINE_ROWS_MAX = INLINE_ROWS_MAX
cdef uint64_t UNKNOWN = <uint64_t>-1


cdef class QuickWriter:
    """Of one table: ``lock`` is held by who writes to it, and it may have ``rows_max`` rows, deleted ones in their window among them."""

    def __init__(self, Mutex lock not None, uint64_t rows_max):
        self._lock = lock
        self._rows_max = rows_max
        self._rows_at_most = UNKNOWN

    def forget(self):
        """The table has other rows now."""
        self._rows_at_most = UNKNOWN

    cpdef bint may_hold(self, Snapshot snapshot, uint64_t rows) except -1:
        """Whether so many rows more are allowed for sure. To be asked with the lock held."""
        if self._rows_at_most == UNKNOWN or self._rows_at_most + rows > self._rows_max:
            self._rows_at_most = count_rows(snapshot)
        self._rows_at_most += rows
        return self._rows_at_most <= self._rows_max

    cpdef tuple write(self, SnapshotReader table, FixedBatch batch, int64_t now_us, Beginning beginning):
        """As ``table.write_fixed``, where that returns quickly: few rows, for which there is room, and nobody else writes. Returns
        the numbers of WriteCounts; else None, and nothing was begun."""
        if batch.rows > _INLINE_ROWS_MAX or not self._lock.try_acquire():
            return None
        try:
            if not self.may_hold(table._snapshot, batch.rows):
                return None
            return write_fitting(table._snapshot, batch, now_us, beginning)
        finally:
            self._lock.release()
