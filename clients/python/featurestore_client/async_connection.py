"""One connection of an event loop: the HTTP/2 session as an asyncio protocol, shared by any number of calls as streams.

What the calls of one turn of the loop have to say goes out in one write. Backpressure both ways: requests of streams are drawn
while little is unsent, and a server may send a stream no more than its window until messages are taken. Invariant: each call
that began here is told how it ended, by the server or by the end of the connection; a call that is given up is reset.
"""

import asyncio
import select
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

from featurestore_client.blocking_connection import tune
from featurestore_client.errors import FeatureStoreError, UnavailableError
from featurestore_client.grpc_framing import FramingError, prefix_of
from featurestore_client.http2 import CANCEL, NEVER, Headers, ProtocolError, StreamEvent
from featurestore_client.http2.event_loop import BusyPolling, DirectWriter
from featurestore_client.http2_calls import MESSAGE_BYTES_MAX, STREAM_ID_LAST, Calls, Reply, new_session, too_late
from featurestore_client.message_reader import MessageReader

UNSENT_BYTES_MAX: Final = 1 << 20
"""The next request of a stream is drawn while less than this is waiting for the server's window."""
TICK_S: Final = 0.001
"""uvloop tells and keeps time in whole milliseconds, cut off: a deadline as it tells it comes up to so much too early."""


class AsyncConnection(asyncio.Protocol):
    """See the module. Made by ``create_connection``; used once ``connection_made`` has run."""

    def __init__(self, calls: Calls, busy_poll_us: int) -> None:
        self.calls = calls
        self.loop = asyncio.get_running_loop()
        self._polling = BusyPolling(self.loop, busy_poll_us)
        self._session = new_session()
        self._open: dict[int, _UnaryCall | _StreamCall] = {}
        self._transport: Any = None
        self._flush_is_due = False
        self._is_paused = False
        self._is_retired = False
        self.closed = self.loop.create_future()
        """Done once the socket is closed."""
        self._fresh: set[int] = set()
        """The streams of which nothing is written yet."""
        self._is_doubtful = False
        self._in_doubt: list[_StreamCall] = []
        """Streams that wait for what the server said while the connection was idle: it may be farewell."""
        self._heard = 0
        """How often the server had something to say to a call."""
        self._poll = select.poll()

    # ---------------------------------------------------------------------------------------------- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        connected = transport.get_extra_info("socket")
        tune(connected)
        self._poll.register(connected.fileno(), select.POLLIN)
        self._writer = DirectWriter(transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._polling.heard()
        try:
            events = self._session.receive(data)
        except ProtocolError as error:
            self._flush()  # says why
            self._transport.close()
            self._end_all(self.calls.lost(error))
            return
        self._heard += len(events)
        self._tell(events)
        if self._session.wants_write:
            self._plan_flush()
        if self._open:
            self._polling.wait()
        self._close_if_done()

    def _tell(self, events: list[StreamEvent]) -> None:
        for event in events:
            call = self._open.get(event.stream_id)
            if call is not None:
                call.happened(event)

    def eof_received(self) -> None:
        self._end_all(self.calls.lost("the server closed it"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)
        self._end_all(self.calls.lost(exc or "the server closed it"))

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._flush()

    # ------------------------------------------------------------------------------------------------- the calls' side

    @property
    def is_open(self) -> bool:
        """Whether new calls may begin here."""
        return self._transport is not None and not self._is_retired and not self._session.going_away

    async def unary(self, method_path: str, head: Headers, framed: bytes, timeout_s: float, ends_s: float) -> Reply:
        """One request, one reply. Raises NotSentError where the server cannot have seen it."""
        call = _UnaryCall(self, method_path, head, framed)
        timer = self.loop.call_at(ends_s + TICK_S, call.expire, timeout_s, self._heard)
        try:
            return await call.future
        finally:
            timer.cancel()
            self._forget(call.stream_id)

    async def stream(
        self, method_path: str, head: Headers, requests: AsyncIterator[bytes], timeout_s: float | None, ends_s: float | None
    ) -> AsyncGenerator[bytes, None]:
        """Many requests, many responses."""
        call = _StreamCall(self, method_path, head, timeout_s)
        if self._is_doubtful:
            self._in_doubt.append(call)
        else:
            call.begun.set()
        timer = None if ends_s is None else self.loop.call_at(ends_s + TICK_S, call.fail, too_late(method_path, timeout_s))
        feeder = asyncio.create_task(call.feed(requests), name="featurestore-stream")
        try:
            while (message := await call.next()) is not None:
                yield message
        finally:
            if timer is not None:
                timer.cancel()
            self._forget(call.stream_id)
            feeder.cancel()
            await asyncio.wait([feeder])

    def retire(self) -> None:
        """No more calls; closed once those under way have ended."""
        self._is_retired = True
        self._close_if_done()

    def abort(self, error: FeatureStoreError) -> None:
        """Ends it with all its calls, at once."""
        self._end_all(error)
        if self._transport is not None:
            self._transport.abort()

    def begin(self, call: "_UnaryCall | _StreamCall", head: Headers, framed: bytes, *, end: bool) -> int:
        """A new stream, whose events ``call`` is told of."""
        if not self.is_open:
            raise self.calls.not_sent("the connection is going away")
        try:
            stream_id = self._session.request(head, framed, end)
        except ProtocolError as error:
            raise self.calls.not_sent(str(error)) from None
        if not self._open and not self._flush_is_due and self._poll.poll(0):
            # The server said something while the connection was idle, perhaps farewell: that is read before anything is sent.
            self._flush_is_due = self._is_doubtful = True
            self.loop.call_soon(self.loop.call_soon, self._flush)
        self._open[stream_id] = call
        self._fresh.add(stream_id)
        if stream_id >= STREAM_ID_LAST:
            self._is_retired = True
        self._plan_flush()
        return stream_id

    def ended(self, stream_id: int) -> None:
        """By the server. What is unsent of the request, or comes after it, is of no use any more."""
        self._open.pop(stream_id, None)
        self._session.reset(stream_id, CANCEL)

    def send(self, stream_id: int, framed: bytes) -> None:
        """Queues a request on a stream."""
        self._session.send(stream_id, framed)
        self._plan_flush()

    def end(self, stream_id: int) -> None:
        """After the last request of a stream."""
        self._session.end(stream_id)
        self._plan_flush()

    def unsent(self, stream_id: int) -> int:
        """The bytes of requests that wait for the server's window."""
        return self._session.unsent(stream_id)

    def consume(self, stream_id: int, count: int) -> None:
        """Gives the server room for so many bytes more."""
        self._session.consume(stream_id, count)
        self._plan_flush()

    def suspect(self, heard: int) -> None:
        """After a call that waited in vain since the server was ``heard`` so often."""
        if self._heard == heard:
            self.retire()

    def _forget(self, stream_id: int) -> None:
        """Of a call that has ended, or is given up."""
        if self._open.pop(stream_id, None) is not None:
            self._session.reset(stream_id, CANCEL)
            self._plan_flush()
        self._close_if_done()

    def _close_if_done(self) -> None:
        if not self.is_open and not self._open and self._transport is not None:
            self._flush()
            self._transport.close()

    def _end_all(self, error: FeatureStoreError) -> None:
        self._is_retired = True
        calls, self._open = self._open, {}
        for stream_id, call in calls.items():
            is_unsent = stream_id in self._fresh and isinstance(error, UnavailableError)
            call.fail(self.calls.not_sent("the connection was lost before") if is_unsent else error)

    # ---------------------------------------------------------------------------------------------------------- writing

    def _plan_flush(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        if self._transport is None or self._is_paused:
            return
        self._fresh.clear()
        while not self._is_paused and (data := self._session.take()):
            self._writer.write(data)
        if self._is_doubtful:
            self._is_doubtful = False
            while self._in_doubt:
                self._in_doubt.pop().begun.set()
        self._tell(self._session.events())  # of streams that broke a rule, or came too late to begin
        for stream_id in self._session.drained():
            call = self._open.get(stream_id)
            if isinstance(call, _StreamCall):
                call.drained.set()
        if self._open:
            self._polling.wait()


class _UnaryCall:
    """One request and its reply, as the pieces of it come in."""

    __slots__ = ("_connection", "_data", "_head", "_method_path", "future", "stream_id")

    def __init__(self, connection: AsyncConnection, method_path: str, head: Headers, framed: bytes) -> None:
        self._connection = connection
        self._method_path = method_path
        self._head: bytes | None = None
        self._data: bytearray | None = None
        self.future: asyncio.Future[Reply] = connection.loop.create_future()
        self.stream_id = connection.begin(self, head, framed, end=True)

    def happened(self, event: StreamEvent) -> None:
        """Takes in what the server sent."""
        if event.head is not None:
            self._head = event.head
        if event.ended and self._head is not None:
            self._connection.ended(self.stream_id)
            data = event.data if self._data is None else bytes(self._data + event.data)
            if not self.future.done():
                self.future.set_result(Reply(self._head, data, event.trailers))
            return
        if event.error_code != NEVER:
            self._connection.ended(self.stream_id)
            self.fail(self._connection.calls.reset(event.error_code, self._method_path))
            return
        if event.data:
            if self._data is None:
                self._data = bytearray()
            self._data += event.data
            if len(self._data) > MESSAGE_BYTES_MAX + UNSENT_BYTES_MAX:
                self.fail(self._connection.calls.error("RESOURCE_EXHAUSTED", f"an answer above {MESSAGE_BYTES_MAX} bytes"))
            self._connection.consume(self.stream_id, len(event.data))

    def fail(self, error: FeatureStoreError) -> None:
        """Ends it with an error."""
        if not self.future.done():
            self.future.set_exception(error)

    def expire(self, timeout_s: float, heard: int) -> None:
        """Ends it for want of time. If nothing was heard of the server all the while, the connection gets no more calls."""
        self.fail(too_late(self._method_path, timeout_s))
        self._connection.suspect(heard)


class _StreamCall:
    """Requests that go out and responses that come in."""

    def __init__(self, connection: AsyncConnection, method_path: str, head: Headers, timeout_s: float | None) -> None:
        self._connection = connection
        self._method_path = method_path
        self._timeout_s = timeout_s
        self._head: bytes | None = None
        self._reader: MessageReader | None = None
        self._messages: deque[bytes] = deque()
        self._owed = 0  # bytes received and not given back to the server's window
        self._failure: BaseException | None = None
        self._is_over = False
        self._changed = asyncio.Event()
        self.drained = asyncio.Event()
        self.begun = asyncio.Event()
        self.stream_id = connection.begin(self, head, b"", end=False)

    async def feed(self, requests: AsyncIterator[bytes]) -> None:
        """Draws the requests, no faster than the server takes them; none while it may turn out that it has left."""
        await self.begun.wait()
        try:
            async for request in requests:
                self._connection.send(self.stream_id, prefix_of(request))
                self._connection.send(self.stream_id, request)
                while self._connection.unsent(self.stream_id) >= UNSENT_BYTES_MAX:
                    self.drained.clear()
                    await self.drained.wait()
            self._connection.end(self.stream_id)
        except Exception as error:  # the caller's own: it is raised where the responses are awaited
            self.fail(error)

    async def next(self) -> bytes | None:
        """The next response; None after the last. Raises what the stream ended with."""
        while not self._messages:
            if self._is_over:
                if self._failure is not None:
                    raise self._failure
                return None
            if self._owed:
                self._connection.consume(self.stream_id, self._owed)
                self._owed = 0
            self._changed.clear()
            await self._changed.wait()
        return self._messages.popleft()

    def happened(self, event: StreamEvent) -> None:
        """Takes in what the server sent."""
        try:
            self._take_in(event)
        except FramingError as failure:
            self.fail(self._connection.calls.error(failure.status, failure.message))
        except FeatureStoreError as error:
            self.fail(error)
        self._changed.set()

    def _take_in(self, event: StreamEvent) -> None:
        calls = self._connection.calls
        if event.ended or event.error_code != NEVER:
            self._connection.ended(self.stream_id)
        if event.head is not None:
            self._head = event.head
            self._reader = MessageReader(MESSAGE_BYTES_MAX, calls.check_head(event.head, self._method_path, self._timeout_s))
        if event.data and self._reader is not None:
            self._owed += len(event.data)
            self._messages.extend(self._reader.read(event.data))
        if event.ended and self._head is not None:
            calls.check_end(self._head, event.trailers, self._method_path, self._timeout_s)
            self._is_over = True
        elif event.error_code != NEVER:
            raise calls.reset(event.error_code, self._method_path)

    def fail(self, error: BaseException) -> None:
        """Ends it with an error, which comes after the responses that are there."""
        if not self._is_over:
            self._is_over = True
            self._failure = error
            self._changed.set()
