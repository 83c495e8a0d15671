# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""A receive that looks for a bounded time, without the GIL, before its caller blocks in the kernel.

A thread that blocks lets its core halt, and is woken by an interrupt, with cold caches: on a fast network that takes longer than
the answer did. Knows a plain socket's file descriptor and nothing of what is received. Invariant: of all cores that the process
may use, one is left to those threads that have something to do, unless there is one alone; and none looks while others want the cores.
"""

import os

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EAGAIN, EINTR, errno

from featurestore_client.busy_polling import CROWDED_S

from featurestore_client.clock cimport monotonic_s
from featurestore_client.http2.rests cimport Rests, note_yield

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void *buffer, size_t length, int flags)
    int MSG_DONTWAIT

cdef extern from "<sched.h>" nogil:
    int sched_yield()


cdef int _looking = 0  # threads; changed with the GIL alone
cdef Rests _rests  # changed with the GIL alone
cdef double _CROWDED_S = CROWDED_S
cdef int _looking_max = max(1, len(os.sched_getaffinity(0)) - 1)


def _forget():
    global _looking
    _looking = 0  # those threads are the parent's


os.register_at_fork(after_in_child=_forget)


def busy_receive(int fd, buffer, double bound_s, double rest_s):
    """Receives into ``buffer``: how many bytes, 0 where the peer has ended; -1 where nothing came within ``bound_s``.

    -1 also where too many threads are looking already; for ``rest_s`` after somebody else had the core for longer than the bound
    twice in a short while; and where receiving failed: a receive that blocks says why.
    """
    global _looking
    cdef Py_buffer view
    cdef ssize_t count
    cdef double now_s = monotonic_s(), looked_s = now_s, ends_s = now_s + bound_s
    if _looking >= _looking_max or now_s < _rests.until_s:
        return -1
    PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
    _looking += 1
    try:
        with nogil:
            while True:
                count = recv(fd, view.buf, view.len, MSG_DONTWAIT)
                if count >= 0 or (errno != EAGAIN and errno != EINTR) or now_s >= ends_s:
                    break
                looked_s = now_s
                sched_yield()  # the server may be waiting for this very core
                now_s = monotonic_s()
    finally:
        _looking -= 1
        note_yield(&_rests, looked_s, now_s, bound_s, rest_s, _CROWDED_S)
        PyBuffer_Release(&view)
    return count
