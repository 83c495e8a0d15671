from libc.stdint cimport uint64_t

from featurestore.durability.record_writer cimport RecordWriter
from featurestore.durability.unsynced cimport Waiters
from featurestore.store.fixed_batch cimport FixedBatch
from featurestore.store.writer cimport Beginning
from featurestore_client.tables.reader cimport SnapshotReader


cdef class Destination:
    cdef readonly str project, view
    cdef readonly SnapshotReader table
    cdef readonly bint is_staged


cdef class JournaledWrites:
    cdef object _store, _registry
    cdef RecordWriter _journal
    cdef dict _gates
    cdef Waiters _waiters

    cpdef bint may_begin(self, table, message) except -1
    cpdef bint is_free(self, message) except -1
    cpdef tuple apply(self, Destination to, message, apply, begin)
    cpdef write_quickly(self, Destination to, FixedBatch batch, message, begin)
    cpdef acknowledged(self, result, sequence)
    cdef _Append _append(self, Destination to, message)
    cdef uint64_t _applied(self, _Append append) except? 0


cdef class _Append(Beginning):
    cdef JournaledWrites writes
    cdef Destination to
    cdef object message
    cdef uint64_t sequence
