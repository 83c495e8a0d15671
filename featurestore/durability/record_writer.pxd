from libc.stdint cimport int64_t, uint64_t

from featurestore.durability.group_sync cimport GroupSync
from featurestore.mutex cimport Mutex


cdef class RecordWriter:
    cdef readonly Mutex lock
    cdef readonly uint64_t number      # the journal's own, which is random
    cdef readonly uint64_t last        # the sequence of the last record
    cdef uint64_t _applied             # all up to this are applied
    cdef set _applied_ahead            # and of those behind it, these
    cdef uint64_t[::1] _mark
    cdef public uint64_t _synced       # all up to this are on the disk
    cdef public int _file              # that is written to; -1: none yet
    cdef public int64_t _offset        # its end
    cdef int64_t _turn_offset          # from which on another file may be wanted
    cdef public bint turns             # whether another file is there for a record to come
    cdef public GroupSync _group       # that syncs for whoever waits; None: nobody does
    cdef public bint _is_one_file      # whether all that is not synced is in the file that is written to
    cdef public object _failure        # what every call is told once the disk has failed
    cdef readonly uint64_t bytes_since_snapshot    # of records that no snapshot stands for

    cdef uint64_t append_record(self, message, str project, str view, uint64_t definitions) except 0
    cdef int note_applied(self, uint64_t sequence) except -1
    cdef Py_ssize_t _write(self, message, str project, str view, uint64_t definitions, uint64_t sequence) except -1
