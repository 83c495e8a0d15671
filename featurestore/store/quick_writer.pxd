from libc.stdint cimport int64_t, uint64_t

from featurestore.mutex cimport Mutex
from featurestore.store.fixed_batch cimport FixedBatch
from featurestore.store.writer cimport Beginning
from featurestore_client.tables.reader cimport Snapshot, SnapshotReader


cdef class QuickWriter:
    cdef Mutex _lock
    cdef uint64_t _rows_max
    cdef uint64_t _rows_at_most    # what was written since they were counted is taken for new

    cpdef bint may_hold(self, Snapshot snapshot, uint64_t rows) except -1
    cpdef tuple write(self, SnapshotReader table, FixedBatch batch, int64_t now_us, Beginning beginning)
