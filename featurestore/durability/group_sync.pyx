"""One sync for many writes: a thread that syncs a file over and over for all who wait, and never takes the GIL.

A writer that waits for the disk would pay for each hand-over of the GIL to a thread of Python and back as much as for the disk.

When a sync is done, those that it was for are about to write again, and others have come meanwhile. The next one begins once as
many as all of these wait, or when it has waited as long as the last one took: so writers that follow each other closely end up
in one sync instead of two that take turns. (What databases call a commit delay, measured instead of set.)
"""

import os

from libc.errno cimport ETIMEDOUT, errno
from libc.stdint cimport int64_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport fdatasync, read, write

cdef extern from "pthread.h" nogil:
    ctypedef struct pthread_condattr_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_condattr_init(pthread_condattr_t *attributes)
    int pthread_condattr_setclock(pthread_condattr_t *attributes, int clock)
    int pthread_condattr_destroy(pthread_condattr_t *attributes)
    int pthread_cond_init(pthread_cond_t *condition, pthread_condattr_t *attributes)
    int pthread_cond_destroy(pthread_cond_t *condition)
    int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
    int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const timespec *until)
    int pthread_cond_signal(pthread_cond_t *condition)

cdef enum:
    DELAY_NS_MAX = 1_000_000   # a disk that takes longer is not waited for twice
    NS = 1_000_000_000


cdef class GroupSync:
    """Of one file at a time. ``serve`` in a thread; the rest from any.

    ``done_fd`` (an eventfd) becomes readable whenever a sync that somebody waited for is done.
    """

    def __cinit__(self):
        cdef pthread_condattr_t attributes
        pthread_mutex_init(&self._mutex, NULL)
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(&self._changed, &attributes)
        pthread_condattr_destroy(&attributes)
        self._file = self.done_fd = -1

    def __init__(self):
        self.done_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __dealloc__(self):
        pthread_cond_destroy(&self._changed)
        pthread_mutex_destroy(&self._mutex)

    def close(self):
        """Gives ``done_fd`` up; ``serve`` has ended."""
        os.close(self.done_fd)

    cpdef void note(self, int file, uint64_t sequence) noexcept:
        """Everything up to that record is written, the last of it to that file; of earlier files all is synced."""
        pthread_mutex_lock(&self._mutex)
        self._file = file
        self._last = sequence
        pthread_mutex_unlock(&self._mutex)

    cpdef void want(self) noexcept:
        """One more waits for what is written."""
        pthread_mutex_lock(&self._mutex)
        self._waiting += 1
        cdef bint is_time = self._idle or self._waiting == self._expected
        pthread_mutex_unlock(&self._mutex)
        if is_time:
            pthread_cond_signal(&self._changed)

    cdef uint64_t take_done(self) noexcept:
        """Up to which record it has synced; ``done_fd`` is not readable any more until that has moved."""
        cdef uint64_t rounds, synced
        read(self.done_fd, &rounds, sizeof(rounds))
        pthread_mutex_lock(&self._mutex)
        synced = self._synced
        pthread_mutex_unlock(&self._mutex)
        return synced

    cpdef void stop(self) noexcept:
        """Has ``serve`` end, or the next one that is begun."""
        pthread_mutex_lock(&self._mutex)
        self._stopped = True
        pthread_cond_signal(&self._changed)
        pthread_mutex_unlock(&self._mutex)

    def serve(self):
        """Syncs for whoever waits, until ``stop``. Raises OSError where the disk fails."""
        cdef int failure
        with nogil:
            failure = self._serve()
        if failure:
            raise OSError(failure, os.strerror(failure))

    cdef int _serve(self) noexcept nogil:
        cdef uint64_t target, one = 1
        cdef Py_ssize_t joined
        cdef int file, failure = 0
        cdef int64_t began_ns, now_ns
        cdef timespec until = _at(0)
        pthread_mutex_lock(&self._mutex)
        while not self._stopped:
            if self._waiting < self._expected:
                if pthread_cond_timedwait(&self._changed, &self._mutex, &until) == ETIMEDOUT:
                    self._expected = 0
                continue
            if self._waiting == 0:
                self._idle = True
                pthread_cond_wait(&self._changed, &self._mutex)
                self._idle = False
                continue
            file, target = self._file, self._last
            joined, self._waiting = self._waiting, 0
            if target > self._synced:
                pthread_mutex_unlock(&self._mutex)
                began_ns = _now_ns()
                failure = errno if fdatasync(file) else 0
                now_ns = _now_ns()
                pthread_mutex_lock(&self._mutex)
                if failure:
                    break
                until = _at(now_ns + min(now_ns - began_ns, <int64_t>DELAY_NS_MAX))
                self._synced = target
                self.rounds += 1
            self._expected = joined + self._waiting
            write(self.done_fd, &one, sizeof(one))
        self._stopped = False
        pthread_mutex_unlock(&self._mutex)
        return failure


cdef int64_t _now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * NS + now.tv_nsec


cdef timespec _at(int64_t at_ns) noexcept nogil:
    cdef timespec at
    at.tv_sec = at_ns // NS
    at.tv_nsec = at_ns % NS
    return at
