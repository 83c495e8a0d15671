# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What a connection of an event loop does around each request besides HTTP/2, for both ends: it looks for the next one before the loop
sleeps (``busy_polling.py`` says why), and it writes past its transport's queue.

Compiled, because it runs once a request, and between system calls a line of Python costs several times what it does in a loop.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from posix.unistd cimport write

from featurestore_client import busy_polling

from featurestore_client.clock cimport monotonic_s
from featurestore_client.http2.rests cimport note_yield


cdef class BusyPolling:
    """Of one event loop. Invariant: it uses no processor time once a wait has taken longer than the bound, or is over."""

    def __init__(self, loop, bound_us):
        self._call_soon = loop.call_soon
        self._bound_s = bound_us / 1e6

    cpdef wait(self):
        """There is nothing to do until the other end is heard."""
        self._is_waiting = self._is_fresh = True
        if not self._is_polling and self._bound_s:
            self._since_s = monotonic_s()
            if self._is_prompt:
                self._is_polling = True
                self._call_soon(self._poll)

    cpdef heard(self):
        """The other end was heard."""
        cdef double at_s
        self._is_waiting = False
        if not self._is_polling and self._bound_s:
            at_s = monotonic_s()
            self._is_prompt = at_s - self._since_s <= self._bound_s and at_s >= self._rests.until_s

    cpdef after_turn(self, call):
        """Has it called when the loop has read all that was there to read."""
        if self._is_polling and self._ends_turn is None:
            self._ends_turn = call  # which runs then anyway, so that the loop need not be told of one thing more
        else:
            self._call_soon(call)

    def _poll(self):
        # A loop that has something to run looks at its sockets without waiting: this is what it has to run.
        cdef double at_s = monotonic_s()
        if self._ends_turn is not None:
            call, self._ends_turn = self._ends_turn, None
            call()
        if self._is_fresh:
            self._is_fresh = False
            self._since_s = at_s
            if self._is_prompt and self._is_waiting:
                self._call_soon(self._poll)  # what came meanwhile is taken in before the core is offered
                return
        elif at_s - self._since_s > self._bound_s:
            self._is_prompt = False
        if self._is_prompt and self._is_waiting:
            os.sched_yield()  # to the other end, where it waits for this very core
            self._call_soon(self._poll)
            if note_yield(&self._rests, at_s, monotonic_s(), self._bound_s, busy_polling.REST_S, busy_polling.CROWDED_S):
                self._is_prompt = False
        else:
            self._is_polling = False


cdef class DirectWriter:
    """Writes to a transport's socket now what it takes; the rest is queued.

    A loop looks at a transport's queue only after all that it has read, and the peer could meanwhile be at work on what is in it.
    Where TLS stands before the socket, all goes to the queue. Invariant: bytes go out in the order in which they were given, and
    none twice; none once the transport is closing, when its file may already be another's.
    """

    def __init__(self, transport):
        opened = transport.get_extra_info("socket")
        self._transport = transport
        self._file = -1 if opened is None or transport.get_extra_info("ssl_object") is not None else opened.fileno()

    cpdef write(self, bytes data):
        """Takes all of it."""
        cdef ssize_t sent = 0
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        if self._transport.is_closing():
            return
        if self._file >= 0 and not (self._has_queued and self._transport.get_write_buffer_size()):
            sent = write(self._file, PyBytes_AS_STRING(data), size)
            if sent == size:
                self._has_queued = False
                return
            sent = max(sent, 0)  # full, or broken, which the transport will find too
        self._has_queued = True
        self._transport.write(data[sent:] if sent else data)
