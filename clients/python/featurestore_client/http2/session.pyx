# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""HTTP/2 without I/O, over libnghttp2: bytes in, what became of the streams out; and the other way round.

Knows streams, header blocks, data, flow control and the limits of a connection, and nothing of gRPC. Both roles are one class.
What a peer sends in one read comes out as one event a stream, so that a request that arrives whole costs one object; what is
answered in between goes out in one buffer.

Invariants: a stream's state lives in ``_streams`` from its first frame until nghttp2 says that it is closed, and the pointer
that nghttp2 keeps of it is borrowed from there. Bodies are not copied before they are written to the buffer that goes out.
No Python code of a caller runs within a callback of nghttp2.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from collections import deque

from featurestore_client.clock cimport monotonic_s
from featurestore_client.http2.growing_bytes cimport _PyBytes_Resize, new_bytes
from featurestore_client.http2.headers cimport HeaderBlock, Headers
from featurestore_client.http2.nghttp2 cimport *

cdef extern from *:
    """
    #include <nghttp2/nghttp2.h>
    /* Not in every release: where it is, its limit of resets gives way to ours. */
    extern void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *, uint64_t, uint64_t) __attribute__((weak));
    static void lift_reset_rate_limit(nghttp2_option *option) {
        if (nghttp2_option_set_stream_reset_rate_limit)
            nghttp2_option_set_stream_reset_rate_limit(option, 1u << 30, 1u << 30);
    }
    """
    void lift_reset_rate_limit(nghttp2_option *)

NO_ERROR = 0
PROTOCOL_ERROR = 1
INTERNAL_ERROR = 2
REFUSED_STREAM = 7
CANCEL = 8
ENHANCE_YOUR_CALM = 11

NEVER = -1  # the error code of a stream that nothing befell

cdef enum:
    FAILED = -902  # NGHTTP2_ERR_CALLBACK_FAILURE
    NO_MEMORY = -901  # NGHTTP2_ERR_NOMEM
    FLOODED = -904  # NGHTTP2_ERR_FLOODED
    TOO_MANY_CONTINUATIONS = -905  # of nghttp2's own, in releases that count them
    DEFERRED = -508  # NGHTTP2_ERR_DEFERRED
    FRAME_SIZE_ERROR = -522  # NGHTTP2_ERR_FRAME_SIZE_ERROR
    PAUSE = -526  # NGHTTP2_ERR_PAUSE
    DATA_GROWTH = 4  # of what is there, for DATA in several frames of one receive
    TAKE_BYTES = 512  # room for the frames around what is queued


class ProtocolError(Exception):
    """The peer broke a rule or a limit: send what ``take`` gives, and close the connection."""


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class StreamEvent:
    """What became of one stream in one ``receive``. Its fields: session.pxd."""


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class _Stream:
    cdef int stream_id
    cdef bint has_head
    cdef bint remote_ended
    cdef bint finished  # nothing will be queued any more
    cdef bint waiting  # nghttp2 was told that there is nothing for now
    cdef bint given_up  # reset from here: what becomes of it is no news
    cdef StreamEvent event  # of the receive under way
    cdef bytes first  # what is being sent, from ``position`` on
    cdef Py_ssize_t position
    cdef object queue  # what comes after it: a deque
    cdef Py_ssize_t unsent
    cdef Headers head, trailers  # kept while nghttp2 may look at them


cdef class Answering:
    """What the server's compiled part asks of a session without a call of Python's: see Session, which is all there is of it."""

    cpdef list receive(self, data):
        raise NotImplementedError

    cdef bytes take_up_to(self, Py_ssize_t bytes_max):
        raise NotImplementedError

    cpdef respond(self, int stream_id, head, bytes data, trailers):
        raise NotImplementedError

    cdef bint is_idle(self) noexcept:
        return False


@cython.final
@cython.no_gc
cdef class Session(Answering):
    """One connection's state. See ``http2/__init__.py`` for the way it is used.

    ``apart`` is a header whose value differs from request to request and is given apart from the others. ``window_bytes`` is
    what a peer may send on one stream before it is consumed. ``control_frames_max`` bounds what a peer may send in
    ``control_period_s`` that asks for nothing (resets, pings, settings, priorities, empty frames), and what a client may have
    wait for it to be taken. ``unsent_bytes`` are those of all bodies that are queued and not taken, ``sent_bytes`` those of all
    that were; ``frames`` counts what was received whole; ``is_greeted`` tells that the peer has acknowledged our settings.
    """

    cdef nghttp2_session *_session
    cdef dict _streams
    cdef list _events
    cdef dict _drained  # by stream; a set in order
    cdef bint _is_client
    cdef readonly uint64_t sent_bytes
    cdef readonly uint64_t frames
    cdef readonly bint is_greeted

    cdef HeaderBlock _block  # of the head, or the trailers, under way
    cdef size_t _header_bytes_max
    cdef Py_ssize_t _input_bytes  # of the receive under way

    cdef int _control_frames, _control_frames_max
    cdef double _control_period_s, _counted_from_s
    cdef readonly int pongs
    cdef readonly bint going_away
    cdef str _broken
    cdef uint32_t _broken_code
    cdef bint _is_mute  # what was to be sent is lost: nothing that came after it could be understood

    cdef PyObject *_out  # a bytes object that grows; NULL where there was no memory for it
    cdef Py_ssize_t _out_length, _out_max

    def __cinit__(
        self,
        *,
        bint client,
        bytes apart=b"",
        int window_bytes=1 << 20,
        int connection_window_bytes=16 << 20,
        int streams_max=256,
        size_t header_bytes_max=16 << 10,
        int control_frames_max=2_000,
        double control_period_s=1.0,
    ):
        self._streams = {}
        self._events = []
        self._drained = {}
        self._is_client = client
        self._block = HeaderBlock(apart, header_bytes_max)
        self._header_bytes_max = header_bytes_max
        self._control_frames_max = control_frames_max
        self._control_period_s = control_period_s
        self._counted_from_s = monotonic_s()
        self._open()
        cdef nghttp2_settings_entry[4] settings
        settings[0].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        settings[0].value = 0 if client else streams_max
        settings[1].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        settings[1].value = window_bytes
        settings[2].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        settings[2].value = <uint32_t>header_bytes_max
        settings[3].settings_id = NGHTTP2_SETTINGS_ENABLE_PUSH
        settings[3].value = 0
        _check(nghttp2_submit_settings(self._session, NGHTTP2_FLAG_NONE, settings, 4 if client else 3))
        _check(nghttp2_session_set_local_window_size(self._session, NGHTTP2_FLAG_NONE, 0, connection_window_bytes))

    cdef int _open(self) except -1:
        cdef nghttp2_session_callbacks *callbacks = NULL
        cdef nghttp2_option *option = NULL
        cdef int code
        _check(nghttp2_session_callbacks_new(&callbacks))
        try:
            nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, _on_begin_frame)
            nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, _on_begin_headers)
            nghttp2_session_callbacks_set_on_header_callback(callbacks, _on_header)
            nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, _on_frame)
            nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, _on_invalid_frame)
            nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, _on_frame_sent)
            nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, _on_frame_not_sent)
            nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, _on_data)
            nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, _on_stream_close)
            nghttp2_session_callbacks_set_send_data_callback(callbacks, _write_data)
            _check(nghttp2_option_new(&option))
            nghttp2_option_set_no_auto_window_update(option, 1)
            nghttp2_option_set_no_closed_streams(option, 1)
            lift_reset_rate_limit(option)
            if self._is_client:
                nghttp2_option_set_peer_max_concurrent_streams(option, 100)  # until the server's settings are known
                code = nghttp2_session_client_new2(&self._session, callbacks, <void *>self, option)
            else:
                code = nghttp2_session_server_new2(&self._session, callbacks, <void *>self, option)
            _check(code)
        finally:
            nghttp2_option_del(option)
            nghttp2_session_callbacks_del(callbacks)
        return 0

    def __dealloc__(self):
        nghttp2_session_del(self._session)
        Py_XDECREF(self._out)

    # ---------------------------------------------------------------------------------------------------------- receiving

    cpdef list receive(self, data):
        """What ``data``, the next bytes of the peer, made of the streams: a list of StreamEvent, in the order of their frames.

        Raises ProtocolError where the connection cannot go on.
        """
        cdef Py_buffer view
        cdef ssize_t taken
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        self._input_bytes = view.len
        try:
            taken = nghttp2_session_mem_recv(self._session, <const uint8_t *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        if taken < 0:
            self._fail(<int>taken)
        if self._broken is not None:
            raise ProtocolError(self._broken)
        return self.events() if self._events else []

    cpdef list events(self):
        """What became of streams since it was last asked; ``take`` closes those that broke a rule."""
        cdef list events = self._events
        cdef StreamEvent event
        cdef _Stream stream
        self._events = []
        for event in events:
            if event._length < PyBytes_GET_SIZE(event.data):
                _cut(event)
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.event = None
        return events

    def consume(self, int stream_id, size_t count):
        """Lets the peer send so many bytes more on a stream. The connection's own window follows what is received."""
        nghttp2_session_consume_stream(self._session, stream_id, count)

    # ------------------------------------------------------------------------------------------------------------ sending

    def take(self, Py_ssize_t bytes_max=TAKEN_BYTES_MAX):
        """What is to be sent now, about ``bytes_max`` at a time; b"" where nothing is, or the peer's windows are full."""
        return self.take_up_to(bytes_max)

    cdef bytes take_up_to(self, Py_ssize_t bytes_max):
        cdef const uint8_t *frame
        cdef ssize_t length
        if not self._wants_write():
            return b""
        self._out = new_bytes(NULL, min(self.unsent_bytes, bytes_max) + TAKE_BYTES)
        self._out_length = 0
        self._out_max = bytes_max
        while self._out_length < bytes_max:
            length = nghttp2_session_mem_send(self._session, &frame)
            if length == 0:
                break
            if length < 0 or not self._has_room(length):
                self._is_mute = True
                self._fail(<int>length if length < 0 else NO_MEMORY)
                break
            memcpy(PyBytes_AS_STRING(<bytes>self._out) + self._out_length, frame, length)
            self._out_length += length
        if self._out is NULL:
            return b""
        _PyBytes_Resize(&self._out, self._out_length)
        taken = <object>self._out
        Py_XDECREF(self._out)
        self._out = NULL
        return taken

    cdef bint _has_room(self, Py_ssize_t length) noexcept:
        """Makes room for so much more to send; where there is no memory for it, what was to be sent is gone."""
        cdef Py_ssize_t capacity = PyBytes_GET_SIZE(<bytes>self._out)
        if self._out_length + length > capacity:
            try:
                _PyBytes_Resize(&self._out, max(self._out_length + length, 2 * capacity))
            except MemoryError:
                return False
        return True

    def request(self, Headers head not None, bytes data=b"", bint end=True):
        """Begins a stream, as a client; the whole request where ``end``. Returns its id.

        Raises ProtocolError where this connection takes no more: open another one.
        """
        cdef _Stream stream = _Stream.__new__(_Stream)
        cdef nghttp2_data_provider provider
        if self.going_away or not nghttp2_session_check_request_allowed(self._session):
            raise ProtocolError("the connection is going away")
        stream.head = head
        stream.finished = end
        self._queue(stream, data)
        provider.source.ptr = <void *>stream
        provider.read_callback = _read_data
        stream.stream_id = nghttp2_submit_request(
            self._session, NULL, head.pairs, head.count, &provider if data or not end else NULL, <void *>stream
        )
        if stream.stream_id < 0:
            self.unsent_bytes -= stream.unsent
            raise ProtocolError(nghttp2_strerror(stream.stream_id).decode())
        self._streams[stream.stream_id] = stream
        return stream.stream_id

    cpdef respond(self, int stream_id, head, bytes data, trailers):
        """The whole answer to a request: Headers, bytes, and Headers or None. Without ``data`` and ``trailers`` it is the head alone."""
        cdef _Stream stream = self._stream(stream_id)
        if head is None or data is None:
            raise TypeError("head and data: got None, expected Headers and bytes")
        if stream is not None and stream.head is None:
            stream.finished = True
            stream.trailers = trailers
            self._queue(stream, data)
            self._answer(stream, head)

    def begin(self, int stream_id, Headers head not None):
        """The head of an answer; ``send`` and ``end`` follow."""
        cdef _Stream stream = self._stream(stream_id)
        if stream is not None and stream.head is None:
            self._answer(stream, head)

    cdef int _answer(self, _Stream stream, Headers head) except -1:
        cdef nghttp2_data_provider provider
        cdef bint is_head_alone = stream.finished and stream.unsent == 0 and stream.trailers is None
        stream.head = head
        provider.source.ptr = <void *>stream
        provider.read_callback = _read_data
        _check(
            nghttp2_submit_response(
                self._session, stream.stream_id, head.pairs, head.count, NULL if is_head_alone else &provider
            )
        )
        return 0

    def send(self, int stream_id, bytes data not None):
        """Queues data on a stream that is open."""
        cdef _Stream stream = self._stream(stream_id)
        if stream is not None and not stream.finished:
            self._queue(stream, data)
            self._resume(stream)

    def end(self, int stream_id, Headers trailers=None):
        """Ends this side of a stream once all that is queued is sent."""
        cdef _Stream stream = self._stream(stream_id)
        if stream is not None and not stream.finished:
            stream.finished = True
            stream.trailers = trailers
            self._resume(stream)

    def unsent(self, int stream_id):
        """The bytes of a stream that are queued and not taken."""
        cdef _Stream stream = self._stream(stream_id)
        return 0 if stream is None else stream.unsent

    def drained(self):
        """The open streams of which ``take`` has written the last byte since it was last asked."""
        if not self._drained:
            return []
        cdef list drained = list(self._drained)
        self._drained.clear()
        return drained

    def reset(self, int stream_id, int error_code):
        """Gives a stream up, with all that is queued on it."""
        cdef _Stream stream = self._stream(stream_id)
        if stream is not None and not stream.given_up:
            stream.given_up = True
            nghttp2_submit_rst_stream(self._session, NGHTTP2_FLAG_NONE, stream_id, error_code)

    cdef _Stream _stream(self, int stream_id):
        return self._streams.get(stream_id)

    cdef int _queue(self, _Stream stream, bytes data) except -1:
        cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
        if length == 0:
            return 0
        if stream.first is None:
            stream.first = data
            stream.position = 0
        else:
            if stream.queue is None:
                stream.queue = deque()
            stream.queue.append(data)
        stream.unsent += length
        self.unsent_bytes += length
        return 0

    cdef int _resume(self, _Stream stream) except -1:
        if stream.waiting:
            stream.waiting = False
            nghttp2_session_resume_data(self._session, stream.stream_id)
        return 0

    # --------------------------------------------------------------------------------------------------------- connection

    def ping(self, bytes payload=b"\0" * 8):
        """Asks the peer for a sign of life; ``pongs`` counts the answers."""
        if PyBytes_GET_SIZE(payload) != 8:
            raise ValueError("payload: expected 8 bytes")
        nghttp2_submit_ping(self._session, NGHTTP2_FLAG_NONE, <const uint8_t *>PyBytes_AS_STRING(payload))

    def announce_shutdown(self):
        """Asks the peer to begin no more streams; those on their way are still served. ``goaway`` follows a round trip later."""
        nghttp2_submit_shutdown_notice(self._session)

    def goaway(self, int error_code=0):
        """Refuses streams from now on; those in flight go on."""
        self.going_away = True
        nghttp2_submit_goaway(
            self._session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self._session), error_code, NULL, 0
        )

    def terminate(self, int error_code=0):
        """Ends the connection: after what ``take`` gives there is nothing more to read or send."""
        nghttp2_session_terminate_session(self._session, error_code)

    @property
    def open_streams(self):
        """Streams that are not closed."""
        return len(self._streams)

    @property
    def streams_max(self):
        """How many streams the peer takes at a time."""
        return nghttp2_session_get_remote_settings(self._session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)

    @property
    def is_over(self):
        """Whether there is nothing more to read or send."""
        return not self._wants_read() and not self._wants_write()

    @property
    def wants_read(self):
        """Whether anything may still be received."""
        return self._wants_read()

    @property
    def wants_write(self):
        """Whether ``take`` would give something, now or when the peer opens its windows."""
        return self._wants_write()

    cdef bint is_idle(self) noexcept:
        return self.unsent_bytes == 0 and (self._wants_read() or self._wants_write())

    cdef bint _wants_read(self) noexcept:
        return self._broken is None and nghttp2_session_want_read(self._session)

    cdef bint _wants_write(self) noexcept:
        return not self._is_mute and nghttp2_session_want_write(self._session)

    cdef StreamEvent _event(self, _Stream stream):
        cdef StreamEvent event = stream.event
        if event is None:
            event = StreamEvent.__new__(StreamEvent)
            event.stream_id = stream.stream_id
            event.data = b""
            event.error_code = -1
            stream.event = event
            self._events.append(event)
        return event

    cdef int _fail(self, int code) except -1:
        """Ends the connection for what nghttp2 returned; for the reason that a callback of ours gave, if that was it."""
        if self._broken is None:
            self._broken = nghttp2_strerror(code).decode()
            calm = code == FLOODED or code == TOO_MANY_CONTINUATIONS
            self._broken_code = NGHTTP2_ENHANCE_YOUR_CALM if calm else NGHTTP2_PROTOCOL_ERROR
        nghttp2_session_terminate_session(self._session, self._broken_code)
        return 0

    cdef int _break(self, str reason) except -1:
        """What a callback returns where the peer goes too far: nothing more of what it sent is looked at."""
        if self._broken is None:
            self._broken = reason
            self._broken_code = NGHTTP2_ENHANCE_YOUR_CALM
        return FAILED

    cdef int _count_control_frame(self) except -1:
        cdef double now_s
        # A peer that takes nothing would have them wait for as long as its connection lasts, however slowly it makes them. (Of a
        # client's own requests any number may wait.)
        if not self._is_client and nghttp2_session_get_outbound_queue_size(self._session) > <size_t>self._control_frames_max:
            return self._break(f"more than {self._control_frames_max} frames wait for the peer to take them")
        self._control_frames += 1
        if self._control_frames > self._control_frames_max:
            now_s = monotonic_s()
            if now_s - self._counted_from_s < self._control_period_s:
                return self._break(f"more than {self._control_frames_max} control frames in {self._control_period_s:g} s")
            self._counted_from_s = now_s
            self._control_frames = 1
        return 0

    cdef int _add_data(self, _Stream stream, const uint8_t *data, size_t length) except -1:
        cdef StreamEvent event = self._event(stream)
        cdef Py_ssize_t needed = event._length + length
        cdef bytes grown
        if event._length == 0:  # the only DATA of this receive, most often
            event.data = PyBytes_FromStringAndSize(<const char *>data, length)
        else:
            if needed > PyBytes_GET_SIZE(event.data):
                grown = PyBytes_FromStringAndSize(NULL, max(needed, min(DATA_GROWTH * needed, self._input_bytes)))
                memcpy(PyBytes_AS_STRING(grown), PyBytes_AS_STRING(event.data), event._length)
                event.data = grown
            memcpy(PyBytes_AS_STRING(event.data) + event._length, data, length)
        event._length = needed
        return 0

    cdef int _frame(self, const nghttp2_frame *frame) except -1:
        cdef _Stream stream
        cdef StreamEvent event
        cdef void *known
        cdef int kind = frame.hd.type
        self.frames += 1
        if kind == NGHTTP2_HEADERS or kind == NGHTTP2_DATA:
            known = nghttp2_session_get_stream_user_data(self._session, frame.hd.stream_id)
            if known is NULL:
                return 0
            stream = <_Stream>known
            if stream.given_up:
                return 0
            if kind == NGHTTP2_HEADERS:
                if self._is_client and not stream.has_head and self._block.is_interim():
                    return 0
                event = self._event(stream)
                if stream.has_head:
                    event.trailers = self._block.end()
                else:
                    stream.has_head = True
                    event.head = self._block.end()
                    event.apart = self._block.apart
            if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
                stream.remote_ended = True
                self._event(stream).ended = True
            elif kind == NGHTTP2_DATA and frame.hd.length - frame.data.padlen == 0:
                return self._count_control_frame()
        elif kind == NGHTTP2_PING and frame.hd.flags & NGHTTP2_FLAG_ACK:
            self.pongs += 1
        elif kind == NGHTTP2_SETTINGS and frame.hd.flags & NGHTTP2_FLAG_ACK:
            self.is_greeted = True
        elif kind == NGHTTP2_GOAWAY:
            self.going_away = True
        return 0

    cdef int _closed(self, int stream_id, uint32_t error_code) except -1:
        cdef _Stream stream = self._streams.pop(stream_id, None)
        cdef StreamEvent event
        if stream is None:
            return 0
        self.unsent_bytes -= stream.unsent
        if self._drained:
            self._drained.pop(stream_id, None)
        if not stream.given_up and (error_code != NGHTTP2_NO_ERROR or not stream.remote_ended):
            event = self._event(stream)
            event.error_code = error_code
        return 0

    cdef int _sent(self, const nghttp2_frame *frame) except -1:
        cdef void *known
        cdef _Stream stream
        if frame.hd.type == NGHTTP2_RST_STREAM:
            known = nghttp2_session_get_stream_user_data(self._session, frame.hd.stream_id)
            # A reset that the peer made necessary is worth as much as one that it sent. Those of open streams are counted here:
            # no more wait than may be open. The others were when they became necessary (_on_invalid_frame).
            if known is not NULL and not (<_Stream>known).given_up and self._count_control_frame() != 0:
                nghttp2_session_terminate_session(self._session, NGHTTP2_ENHANCE_YOUR_CALM)
            return 0
        if (
            self._is_client
            or not frame.hd.flags & NGHTTP2_FLAG_END_STREAM
            or (frame.hd.type != NGHTTP2_DATA and frame.hd.type != NGHTTP2_HEADERS)
        ):
            return 0
        known = nghttp2_session_get_stream_user_data(self._session, frame.hd.stream_id)
        if known is not NULL and not (<_Stream>known).remote_ended:
            # The answer is whole and the rest of the request of no use: RFC 9113, section 8.1.
            stream = <_Stream>known
            stream.given_up = True
            nghttp2_submit_rst_stream(self._session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_NO_ERROR)
        return 0

    cdef int _write(self, _Stream stream, const uint8_t *frame_head, size_t length) except -1:
        """Appends a DATA frame to what goes out."""
        cdef char *out
        cdef Py_ssize_t chunk
        cdef Py_ssize_t left = length
        if not self._has_room(9 + left):
            raise MemoryError
        out = PyBytes_AS_STRING(<bytes>self._out) + self._out_length
        memcpy(out, frame_head, 9)
        out += 9
        self._out_length += 9 + left
        stream.unsent -= left
        self.unsent_bytes -= left
        self.sent_bytes += left
        while left:
            chunk = min(left, PyBytes_GET_SIZE(stream.first) - stream.position)
            memcpy(out, PyBytes_AS_STRING(stream.first) + stream.position, chunk)
            out += chunk
            left -= chunk
            stream.position += chunk
            if stream.position == PyBytes_GET_SIZE(stream.first):
                stream.first = stream.queue.popleft() if stream.queue else None
                stream.position = 0
        if stream.unsent == 0 and not stream.finished:
            self._drained[stream.stream_id] = None
        return PAUSE if self._out_length >= self._out_max else 0


cdef int _cut(StreamEvent event) except -1:
    """Gives back the room behind an event's data, which nobody has seen yet."""
    cdef PyObject *data = <PyObject *>event.data
    Py_INCREF(<object>data)
    event.data = b""  # and so the reference is the only one
    _PyBytes_Resize(&data, event._length)
    event.data = <bytes>data
    Py_XDECREF(data)
    return 0


cdef int _check(int code) except -1:
    if code < 0:
        raise MemoryError if code == NO_MEMORY else ProtocolError(nghttp2_strerror(code).decode())
    return 0


# nghttp2's callbacks. An exception cannot pass through C: it ends the session, and goes to the log of unraisable ones.


cdef int _on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *head, void *user_data) noexcept:
    cdef int kind = head.type
    if (
        kind != NGHTTP2_DATA
        and kind != NGHTTP2_HEADERS
        and kind != NGHTTP2_WINDOW_UPDATE
        and not head.flags & NGHTTP2_FLAG_ACK
    ):
        try:
            return (<Session>user_data)._count_control_frame()
        except BaseException as error:
            return _failed(<Session>user_data, error)
    return 0


cdef int _on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) noexcept:
    cdef Session self = <Session>user_data
    cdef _Stream stream
    self._block.begin()
    if self._is_client or nghttp2_session_get_stream_user_data(session, frame.hd.stream_id) is not NULL:
        return 0
    try:
        stream = _Stream.__new__(_Stream)
        stream.stream_id = frame.hd.stream_id
        self._streams[stream.stream_id] = stream
        nghttp2_session_set_stream_user_data(session, stream.stream_id, <void *>stream)
    except BaseException as error:
        return _failed(self, error)
    return 0


cdef int _on_header(
    nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length, const uint8_t *value,
    size_t value_length, uint8_t flags, void *user_data
) noexcept:
    cdef Session self = <Session>user_data
    try:
        if self._block.add(name, name_length, value, value_length):
            return self._break(f"a header block far above {self._header_bytes_max} bytes")
        return 0
    except BaseException as error:
        return _failed(self, error)


cdef int _on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) noexcept:
    try:
        return (<Session>user_data)._frame(frame)
    except BaseException as error:
        return _failed(<Session>user_data, error)


cdef int _on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user_data) noexcept:
    # nghttp2 has queued a reset. Of a stream that it never opened (beyond those that may be open) nothing else bounds how many wait
    # for a peer that takes nothing.
    if nghttp2_session_get_stream_user_data(session, frame.hd.stream_id) is not NULL:
        return 0
    try:
        return (<Session>user_data)._count_control_frame()
    except BaseException as error:
        return _failed(<Session>user_data, error)


cdef int _on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) noexcept:
    try:
        return (<Session>user_data)._sent(frame)
    except BaseException as error:
        return _failed(<Session>user_data, error)


cdef int _on_frame_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user_data) noexcept:
    # Headers that are too large for any peer: without an end its stream would stay open for ever.
    if code == FRAME_SIZE_ERROR and frame.hd.type == NGHTTP2_HEADERS:
        return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_INTERNAL_ERROR)
    return 0


cdef int _on_data(
    nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t length, void *user_data
) noexcept:
    cdef void *known = nghttp2_session_get_stream_user_data(session, stream_id)
    # At once: a stream that nobody reads is held back by its own window, and must not hold back the others.
    if nghttp2_session_consume_connection(session, length) != 0:
        return FAILED
    if known is NULL or (<_Stream>known).given_up:
        return 0
    try:
        return (<Session>user_data)._add_data(<_Stream>known, data, length)
    except BaseException as error:
        return _failed(<Session>user_data, error)


cdef int _on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *user_data) noexcept:
    try:
        return (<Session>user_data)._closed(stream_id, error_code)
    except BaseException as error:
        return _failed(<Session>user_data, error)


cdef ssize_t _read_data(
    nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t length, uint32_t *flags,
    nghttp2_data_source *source, void *user_data
) noexcept:
    """How much of a stream is sent next; ``_write_data`` is told to write it."""
    cdef _Stream stream = <_Stream>source.ptr
    cdef Py_ssize_t ready = min(<Py_ssize_t>length, stream.unsent)
    if ready == 0 and not stream.finished:
        stream.waiting = True
        return DEFERRED
    flags[0] |= NGHTTP2_DATA_FLAG_NO_COPY
    if stream.finished and ready == stream.unsent:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF
        if stream.trailers is not None:
            flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
            if nghttp2_submit_trailer(session, stream_id, stream.trailers.pairs, stream.trailers.count) != 0:
                return FAILED
    return ready


cdef int _write_data(
    nghttp2_session *session, nghttp2_frame *frame, const uint8_t *frame_head, size_t length, nghttp2_data_source *source,
    void *user_data
) noexcept:
    try:
        return (<Session>user_data)._write(<_Stream>source.ptr, frame_head, length)
    except BaseException as error:
        return _failed(<Session>user_data, error)


cdef int _failed(Session session, object error) noexcept:
    session._broken_code = NGHTTP2_INTERNAL_ERROR
    session._broken = "out of memory" if type(error) is MemoryError else f"the session failed: {type(error).__name__}: {error}"
    return FAILED
