from libc.stdint cimport uint64_t

from featurestore.durability.record_writer cimport RecordWriter
from featurestore.store.fixed_batch cimport FixedBatch
from featurestore.store.writer cimport Beginning


cdef class JournaledWrites:
    cdef object _store, _registry
    cdef RecordWriter _journal
    cdef dict _gates
    cdef bint _acknowledges_synced

    cpdef bint may_begin(self, table, message) except -1
    cpdef bint is_free(self, message) except -1
    cpdef tuple apply(self, plan, message, apply, begin)
    cpdef write_quickly(self, plan, FixedBatch batch, message, begin)
    cpdef acknowledged(self, result, sequence)
    cdef _Append _append(self, plan, message)
    cdef uint64_t _applied(self, _Append append) except? 0


cdef class _Append(Beginning):
    cdef JournaledWrites writes
    cdef object plan, message
    cdef uint64_t sequence
