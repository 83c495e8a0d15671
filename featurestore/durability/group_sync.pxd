from libc.stdint cimport uint64_t

cdef extern from "pthread.h" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass


cdef class GroupSync:
    cdef pthread_mutex_t _mutex
    cdef pthread_cond_t _changed
    cdef bint _stopped, _idle
    cdef int _file
    cdef uint64_t _last, _synced
    cdef Py_ssize_t _waiting, _expected
    cdef readonly int done_fd
    cdef readonly Py_ssize_t rounds    # how many syncs there were

    cpdef void note(self, int file, uint64_t sequence) noexcept
    cpdef void want(self) noexcept
    cpdef void stop(self) noexcept
    cdef uint64_t take_done(self) noexcept
    cdef int _serve(self) noexcept nogil
