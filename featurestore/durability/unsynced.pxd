from libc.stdint cimport uint64_t

from featurestore.durability.group_sync cimport GroupSync
from featurestore.durability.record_writer cimport RecordWriter


cdef class Waiters:
    cdef RecordWriter _journal
    cdef GroupSync _group
    cdef object _waiting    # a deque of sequences and calls
    cdef object _loop       # on which they wait

    cpdef int when_synced(self, uint64_t sequence, call) except -1
    cpdef int settle(self, uint64_t target, failure) except -1
    cdef list _take(self, uint64_t target)


cdef class Unsynced:
    cdef readonly object outcome
    cdef Waiters _waiters
    cdef uint64_t _sequence

    cpdef int then(self, call) except -1
    cpdef Unsynced told_as(self, outcome)


cdef Unsynced unsynced(outcome, Waiters waiters, uint64_t sequence)
