"""The ordinary call of the native engine: a whole request of a method that answers at once, answered as it is read.

Compiled, because it is all there is between the socket and the handler, a hundred thousand times a second. Whatever is in any way out
of the ordinary (a head or timeout not seen before, a request in pieces, compressed or too large, a connection that refuses calls)
is given back, for ``grpc_connection.py`` and ``grpc_calls.py``, where the rules are. Invariant: an event is either answered here
or given back, and of what is given back nothing was changed.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

from featurestore.durability.unsynced cimport Unsynced
from featurestore.server.admission cimport Admission
from featurestore.server.context cimport CallContext, InlineHead
from featurestore_client.http2.event_loop cimport BusyPolling, DirectWriter
from featurestore_client.http2.session cimport TAKEN_BYTES_MAX, Answering, StreamEvent

from featurestore_client.http2 import NEVER

from featurestore.server.grpc_calls import OK_HEAD, OK_TRAILERS, OVERLOADED
from featurestore.server.write_turns import LONG_BYTES, LONG_BYTES_MAX

cdef enum:
    PREFIX_BYTES = 5  # of gRPC, before each message: compressed or not, and its length, big-endian

cdef Py_ssize_t _LONG_BYTES = LONG_BYTES, _LONG_BYTES_MAX = LONG_BYTES_MAX
cdef object _NEVER = NEVER, _HEAD = OK_HEAD, _TRAILERS = OK_TRAILERS, _OVERLOADED = OVERLOADED


cdef class InlineCalls:
    """Of one connection. ``settle`` is told what a handler came to where that is not bytes alone: event, head, context, outcome.

    ``turns`` says whether a long write is done now; else ``wait`` is called, with what is to come to ``answer``: the event, and its deadline.
    ``calls`` are those that are not answered at once. While ``refuses`` nothing is answered here, and unless ``sends`` nothing is sent:
    ``flush_soon`` sees to it. What a write came to waits here where it waits for the disk, until the connection ``is_over``.
    """

    cdef Answering _session
    cdef object _connections, _settle, _turns, _wait, _flush_soon
    cdef BusyPolling _polling
    cdef DirectWriter _writer
    cdef public bint refuses, sends, is_over
    cdef Py_ssize_t _unsynced
    cdef Admission _admission
    cdef dict _calls, _known, _timeouts_s
    cdef str _peer
    cdef Py_ssize_t _message_bytes_max

    def __init__(
        self, Answering session not None, heads, dict calls, connections, Admission admission, turns, BusyPolling polling,
        DirectWriter writer, str peer, Py_ssize_t message_bytes_max, settle, wait, flush_soon
    ):
        self._session = session
        self._admission = admission
        self._calls = calls
        self._connections = connections
        self._polling = polling
        self._writer = writer
        self.sends = True
        self._known = heads.known
        self._timeouts_s = heads.timeouts_s
        self._peer = peer
        self._message_bytes_max = message_bytes_max
        self._settle = settle
        self._turns = turns
        self._wait = wait
        self._flush_soon = flush_soon

    def receive(self, data):
        """Takes in what the peer sent, and answers it. Returns the events that are not answered; None where all is done and sent.

        Raises ProtocolError where the connection cannot go on.
        """
        cdef StreamEvent event
        cdef list events, others = []
        self._polling.heard()
        self._admission.begin_read()
        events = self._session.receive(data)
        self._admission.expect(_calls_in(events))
        if self.refuses:
            return events
        for event in events:
            if not self._answer(event, False, None):
                others.append(event)
        if others or not self._send():
            return others
        self._polling.wait()
        return None

    cdef bint _send(self) except -1:
        """Sends what is queued. Whether that is all there was to do."""
        cdef bytes taken
        if self._calls or not self.sends:
            return False
        taken = self._session.take_up_to(TAKEN_BYTES_MAX)
        if taken:
            self._writer.write(taken)
        return self._session.is_idle()

    def answer(self, StreamEvent event, deadline):
        """Answers an event whose turn has come. Whether that could be done here."""
        return self._answer(event, True, deadline)

    cdef bint _answer(self, StreamEvent event, bint in_turn, object deadline) except -1:
        cdef bytes message, data
        cdef CallContext context
        cdef InlineHead head
        cdef object timeout_s
        block = event.head
        if block is None or not event.ended or event.error_code != _NEVER:
            return False
        head = self._known.get(block)
        if head is None or head.inline is None:
            return False
        timeout = event.apart
        if timeout is not None and not in_turn:
            timeout_s = self._timeouts_s.get(timeout)
            if timeout_s is None:
                return False
            deadline = self._admission.began + <double>timeout_s  # it may have waited since then
        if self._session.unsent_bytes > self._connections.unsent_bytes_max:
            return False
        data = event.data
        if not _is_one_message(data, self._message_bytes_max):
            return False
        if head.takes_turns and not in_turn and _LONG_BYTES <= PyBytes_GET_SIZE(data) <= _LONG_BYTES_MAX:
            if not self._turns.take():
                self._wait(event, deadline)
                return True
        # One whose turn has come is of no read's share any more.
        if head.sheds and (self._admission.credit < 1 if in_turn else self._admission.is_full()):
            self._admission.refuse()
            self._session.respond(event.stream_id, _OVERLOADED, b"", None)
            return True
        self._admission.credit -= 1
        self._admission.answered += 1
        message = PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + PREFIX_BYTES, PyBytes_GET_SIZE(data) - PREFIX_BYTES)
        context = CallContext.__new__(CallContext)
        context.peer = self._peer
        context.metadata = head.metadata
        context.deadline = deadline
        context.request_compressed = False
        context.initial_metadata = context.trailing_metadata = ()
        try:
            outcome = head.inline(message, context)
        except Exception as error:
            outcome = error
        if type(outcome) is Unsynced:
            self._unsynced += 1
            (<Unsynced>outcome).then(_UnsyncedAnswer(self, event, head, context, (<Unsynced>outcome).outcome))
        else:
            self._tell(event, head, context, outcome)
        return True

    cdef int _tell(self, StreamEvent event, InlineHead head, CallContext context, outcome) except -1:
        if type(outcome) is bytes and not (context.compress or context.initial_metadata or context.trailing_metadata):
            self._session.respond(event.stream_id, _HEAD, _framed(<bytes>outcome), _TRAILERS)
        else:
            self._settle(event, head, context, outcome)
        return 0

    cdef int _synced(self, _UnsyncedAnswer waited, failure) except -1:
        outcome = waited.answer if failure is None else failure
        self._unsynced -= 1
        if self.is_over:
            return 0
        self._tell(waited.event, waited.head, waited.context, outcome)
        if self._unsynced or not self._send():  # most of those that wait are told together
            self._flush_soon()
        return 0


@cython.no_gc
@cython.freelist(64)
cdef class _UnsyncedAnswer:
    """The answer of a write that waits for the disk. No task and no timer: a caller whose deadline passes meanwhile has one, and that
    the write is kept is true however late it is told."""

    cdef InlineCalls calls
    cdef StreamEvent event
    cdef CallContext context
    cdef InlineHead head
    cdef object answer

    def __init__(self, calls, event, head, context, answer):
        self.calls, self.event, self.head, self.context, self.answer = calls, event, head, context, answer
        self.event.data = b""  # what was asked need not be kept

    def __call__(self, failure):
        self.calls._synced(self, failure)


cdef Py_ssize_t _calls_in(list events):
    """How many of them begin one."""
    cdef StreamEvent event
    cdef Py_ssize_t count = 0
    for event in events:
        count += event.head is not None
    return count


cdef bint _is_one_message(bytes data, Py_ssize_t message_bytes_max):
    """Whether it is exactly one message, not compressed."""
    cdef const unsigned char *prefix = <const unsigned char *>PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data) - PREFIX_BYTES
    if not 0 <= size <= message_bytes_max or prefix[0]:
        return False
    return size == (<Py_ssize_t>prefix[1] << 24 | prefix[2] << 16 | prefix[3] << 8 | prefix[4])


cdef bytes _framed(bytes message):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(message)
    cdef bytes framed = PyBytes_FromStringAndSize(NULL, PREFIX_BYTES + size)
    cdef unsigned char *out = <unsigned char *>PyBytes_AS_STRING(framed)
    out[0] = 0
    out[1], out[2], out[3], out[4] = size >> 24 & 0xFF, size >> 16 & 0xFF, size >> 8 & 0xFF, size & 0xFF
    memcpy(out + PREFIX_BYTES, PyBytes_AS_STRING(message), size)
    return framed
