from libc.stdint cimport uint64_t

from featurestore.store.memory cimport Memory
from featurestore.store.source cimport Source
from featurestore_client.tables.keys cimport KeyBatch
from featurestore_client.tables.reader cimport Snapshot
from featurestore_client.tables.segment cimport SegmentHeader

cdef extern from "pthread.h" nogil:
    ctypedef struct pthread_t:
        pass


cdef struct Need:
    uint64_t new_rows
    uint64_t heap_units


cdef struct Ahead:             # memory to commit in one shard; the last of several has no path
    const char *path
    SegmentHeader *header
    uint64_t length
    bint is_done


cdef class Room:
    cdef Need *needs
    cdef Ahead *ahead
    cdef list paths               # what those of ahead point to
    cdef pthread_t thread
    cdef bint is_committing
    cdef uint64_t ahead_bytes     # that are counted for it
    cdef Memory memory
    cdef KeyBatch keys
    cdef Source source
    cdef bint deleting
    cdef bint is_measured

    cdef list _short_of(self, Snapshot snapshot, uint64_t spare_part)
    cdef int _commit(self, Snapshot snapshot) except -1
    cdef int _plan_ahead(self, Snapshot snapshot) except -1
    cdef int count_ahead(self) except -1
    cdef void begin_ahead(self) noexcept nogil
    cdef void end_ahead(self) noexcept nogil


cpdef uint64_t count_rows(Snapshot snapshot) except? 0
cdef bint takes_fixed(Snapshot snapshot, KeyBatch keys) noexcept nogil
