# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""A message of which the length is known before it has come, as gRPC's messages are."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.string cimport memcpy

from featurestore_client.http2.growing_bytes cimport _PyBytes_Resize, new_bytes

cdef enum:
    GROWTH = 4  # of what has come


@cython.final
@cython.no_gc
cdef class MessageBody:
    """``size`` bytes that come in pieces. No more room is made than four times what has come, and no piece waits for the last one
    to be copied: of a long message that would be a while in which nothing else is read.
    """

    cdef PyObject *_bytes  # NULL where there was no memory for it, or it was taken
    cdef Py_ssize_t _size, _filled

    def __cinit__(self, Py_ssize_t size):
        self._size = size
        self._bytes = new_bytes(NULL, 0)

    def __dealloc__(self):
        Py_XDECREF(self._bytes)

    @property
    def missing(self):
        """How many bytes have not come."""
        return self._size - self._filled

    def add(self, const unsigned char[::1] piece not None):
        """The next bytes, not more of them than are missing."""
        cdef Py_ssize_t needed = self._filled + piece.shape[0]
        if self._bytes is NULL or needed > self._size:
            raise ValueError(f"{piece.shape[0]} bytes: expected at most {self._size - self._filled}")
        if needed > PyBytes_GET_SIZE(<bytes>self._bytes):
            _PyBytes_Resize(&self._bytes, min(GROWTH * needed, self._size))
        if piece.shape[0]:
            memcpy(PyBytes_AS_STRING(<bytes>self._bytes) + self._filled, &piece[0], piece.shape[0])
        self._filled = needed

    def take(self):
        """All of them, once none is missing."""
        if self._bytes is NULL or self._filled < self._size:
            raise ValueError(f"{self._size - self._filled} bytes are missing")
        taken = <object>self._bytes
        Py_XDECREF(self._bytes)
        self._bytes = NULL
        return taken
