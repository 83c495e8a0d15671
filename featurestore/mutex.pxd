cimport cython
from cpython.pythread cimport PyThread_type_lock


@cython.final
cdef class Mutex:
    cdef PyThread_type_lock _lock
    cdef readonly bint is_held    # by somebody

    cpdef void acquire(self) noexcept
    cpdef bint try_acquire(self) noexcept
    cpdef void release(self) noexcept
