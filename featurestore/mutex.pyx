"""A lock between threads that compiled code takes without a call of Python, which would cost more than what it is held for."""

cimport cython
from cpython.pythread cimport (
    NOWAIT_LOCK, WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock
)


@cython.final
cdef class Mutex:
    """A context manager, too. Not to be taken twice by one thread; signals are handled when the main thread has got it."""

    def __cinit__(self):
        self._lock = PyThread_allocate_lock()
        if self._lock == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self._lock != NULL:
            PyThread_free_lock(self._lock)

    cpdef void acquire(self) noexcept:
        """Takes it, when it is free."""
        if not PyThread_acquire_lock(self._lock, NOWAIT_LOCK):
            with nogil:
                PyThread_acquire_lock(self._lock, WAIT_LOCK)
        self.is_held = True

    cpdef bint try_acquire(self) noexcept:
        """Takes it, if it is free. Whether it was."""
        if not PyThread_acquire_lock(self._lock, NOWAIT_LOCK):
            return False
        self.is_held = True
        return True

    cpdef void release(self) noexcept:
        """Gives it back."""
        self.is_held = False
        PyThread_release_lock(self._lock)

    def __enter__(self):
        self.acquire()

    def __exit__(self, *raised):
        self.release()
