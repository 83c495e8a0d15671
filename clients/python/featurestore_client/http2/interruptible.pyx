# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Receiving from, and sending to, a socket that blocks, for a caller who has a deadline.

Python's own begin anew after a signal, and then the kernel measures its timeout (SO_RCVTIMEO) from the start: where signals come more
often than that, the wait has no end. Here the caller is told, and says how long is left. Knows a plain socket's file descriptor.
Invariant: one system call each, and signal handlers have run before InterruptedError is raised.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from libc.errno cimport EINTR, errno

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void *buffer, size_t length, int flags)
    ssize_t send(int fd, const void *buffer, size_t length, int flags)
    int MSG_NOSIGNAL

cdef extern from *:
    """
    static inline void set_errno(int value) { errno = value; }
    """
    void set_errno(int value) nogil


cdef inline ssize_t _checked(ssize_t count, int failure) except -1:
    if count < 0:
        if failure == EINTR:
            PyErr_CheckSignals()
        set_errno(failure)
        PyErr_SetFromErrno(OSError)
    return count


def receive_once(int fd, buffer not None):
    """Receives into ``buffer``: how many bytes, 0 where the peer has ended.

    Raises BlockingIOError after the socket's timeout, InterruptedError after a signal, whose handler may raise something else.
    """
    cdef Py_buffer view
    cdef ssize_t count
    cdef int failure
    PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
    with nogil:
        count = recv(fd, view.buf, view.len, 0)
        failure = errno
    PyBuffer_Release(&view)
    return _checked(count, failure)


def send_once(int fd, data not None):
    """Sends of ``data`` what goes out: how many bytes. Raises as ``receive_once``, where nothing went out before."""
    cdef Py_buffer view
    cdef ssize_t count
    cdef int failure
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    with nogil:
        count = send(fd, view.buf, view.len, MSG_NOSIGNAL)
        failure = errno
    PyBuffer_Release(&view)
    return _checked(count, failure)
