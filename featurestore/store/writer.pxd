from libc.stdint cimport int64_t, uint64_t

from featurestore.store.fixed_batch cimport FixedBatch
from featurestore_client.tables.reader cimport Snapshot


cdef class Beginning:
    cpdef int begin(self) except -1

cdef tuple write_fitting(Snapshot snapshot, FixedBatch batch, int64_t now, Beginning beginning)
