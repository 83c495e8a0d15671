"""A blocking stream: many requests and many responses at the same time, on a connection of its own.

Two threads: the consumer's, in ``__next__``, does all that touches the connection, waiting with ``poll`` for what comes first;
a feeder draws the requests, which may block, and hands them over in a short queue. So requests go out while the consumer waits
for a response, and a server that does not read holds the feeder back. Invariant: the session and socket belong to the
consumer's thread; ``cancel`` and the feeder only leave word and wake it.
"""

import queue
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from featurestore_client.blocking_connection import RECEIVE_BYTES, dial
from featurestore_client.errors import CancelledError
from featurestore_client.grpc_framing import FramingError, prefix_of
from featurestore_client.http2 import NEVER, ProtocolError, Session, StreamEvent
from featurestore_client.http2_calls import MESSAGE_BYTES_MAX, Calls, new_session, too_late
from featurestore_client.message_reader import MessageReader

CONNECT_TIMEOUT_S: Final = 10.0
"""Of a stream that has no deadline itself."""
_UNSENT_BYTES_MAX = 1 << 20
"""Requests are drawn while less than this is waiting for the server's window."""
_QUEUED_MAX = 2
_END = None
_WANT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class BlockingStream:
    """The responses. ``cancel`` may be called from another thread."""

    def __init__(
        self,
        calls: Calls,
        tls: ssl.SSLContext | None,
        server_name: str | None,
        method_path: str,
        requests: Iterator[bytes],
        timeout_s: float | None,
    ) -> None:
        self._calls = calls
        self._method_path = method_path
        self._timeout_s = timeout_s
        self._ends_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._head: bytes | None = None
        self._reader: MessageReader | None = None
        self._messages: deque[bytes] = deque()
        self._owed = 0  # bytes received and not given back to the server's window
        self._out = memoryview(b"")
        self._failure: BaseException | None = None
        self._is_over = False
        self._is_cancelled = False
        self._was_forked = False
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUED_MAX)
        self._all_drawn = False
        dial_ends_s = time.monotonic() + CONNECT_TIMEOUT_S if self._ends_s is None else self._ends_s
        self._socket = dial(calls, tls, server_name, dial_ends_s)
        self._socket.settimeout(0)
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._session: Session = new_session()
        self._stream_id = self._session.request(calls.head(method_path, timeout_s), end=False)
        threading.Thread(target=self._feed, args=(requests,), name="featurestore-stream", daemon=True).start()

    def __iter__(self) -> "BlockingStream":
        return self

    def __next__(self) -> bytes:
        if self._was_forked:
            raise CancelledError("this stream is of the parent process: open another one")
        while not self._messages:
            if self._is_over:
                failure, self._failure = self._failure, None
                raise StopIteration if failure is None else failure
            if self._owed:
                self._session.consume(self._stream_id, self._owed)
                self._owed = 0
            try:
                self._turn()
            except Exception as error:  # raised once the responses that came before it are handed out
                self._failure = error
                self._finish()
            except BaseException:
                self._finish()
                raise
        return self._messages.popleft()

    def cancel(self) -> None:
        """Gives the stream up: the consumer gets CancelledError."""
        self._is_cancelled = True
        self._wake()

    def after_fork(self) -> None:
        """In a child process, to which the stream does not belong."""
        self._was_forked = True
        for each in (self._socket, self._woken, self._waker):
            each.close()

    def __del__(self) -> None:
        if hasattr(self, "_stream_id") and not self._was_forked:
            self._finish()

    # ------------------------------------------------------------------------------------------------------------ the feeder

    def _feed(self, requests: Iterator[bytes]) -> None:
        last: BaseException | None = _END
        try:
            for request in requests:
                if not self._put(request):
                    return
        except BaseException as error:
            last = error
        self._put(last)

    def _put(self, item: bytes | BaseException | None) -> bool:
        if self._is_over:
            return False
        self._queue.put(item)
        self._wake()
        return True

    def _wake(self) -> None:
        with suppress(OSError):  # there is a wake-up waiting already, or the stream is over
            self._waker.send(b"\0")

    # ---------------------------------------------------------------------------------------------------------- the consumer

    def _turn(self) -> None:
        """Sends what can be sent, waits until something happens, takes in what came."""
        if self._is_cancelled:
            raise CancelledError(f"{self._method_path.rpartition('/')[2]} was given up")
        self._draw()
        self._send()
        for event in self._session.events():  # the stream broke a rule
            self._take_in(event)
        if self._is_over:
            return
        waiting = select.poll()
        waiting.register(self._woken, select.POLLIN)
        waiting.register(self._socket, select.POLLIN | (select.POLLOUT if self._out else 0))
        left_s = None if self._ends_s is None else self._ends_s - time.monotonic()
        if left_s is not None and left_s <= 0:
            raise too_late(self._method_path, self._timeout_s)
        ready = {descriptor for descriptor, _ in waiting.poll(None if left_s is None else left_s * 1e3 + 1)}
        if self._woken.fileno() in ready:
            with suppress(BlockingIOError):
                self._woken.recv(4_096)
        if self._socket.fileno() in ready:
            self._receive()

    def _draw(self) -> None:
        """Queues requests on the session, as many as there are and may wait there."""
        while not self._all_drawn and self._session.unsent(self._stream_id) < _UNSENT_BYTES_MAX:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if isinstance(item, bytes):
                self._session.send(self._stream_id, prefix_of(item))
                self._session.send(self._stream_id, item)
            elif item is _END:
                self._all_drawn = True
                self._session.end(self._stream_id)
            else:
                raise item

    def _send(self) -> None:
        while True:
            if not self._out:
                self._out = memoryview(self._session.take())
                if not self._out:
                    return
            try:
                self._out = self._out[self._socket.send(self._out) :]
            except _WANT:
                return
            except OSError as error:
                self._receive()  # the server may have said why before it closed the connection
                raise self._calls.lost(error) from None

    def _receive(self) -> None:
        while not self._is_over:
            try:
                data = self._socket.recv(RECEIVE_BYTES)
                events = self._session.receive(data)
            except _WANT:
                return
            except (OSError, ProtocolError) as error:
                raise self._calls.lost(error) from None
            for event in events:
                self._take_in(event)
            if not data and not self._is_over:
                raise self._calls.lost("the server closed it")

    def _take_in(self, event: StreamEvent) -> None:
        if event.head is not None:
            self._head = event.head
            self._reader = MessageReader(
                MESSAGE_BYTES_MAX, self._calls.check_head(event.head, self._method_path, self._timeout_s)
            )
        if event.data and self._reader is not None:
            self._owed += len(event.data)
            try:
                self._messages.extend(self._reader.read(event.data))
            except FramingError as failure:
                raise self._calls.error(failure.status, failure.message) from None
        if event.ended and self._head is not None:
            self._calls.check_end(self._head, event.trailers, self._method_path, self._timeout_s)
            self._finish()
        elif event.error_code != NEVER:
            raise self._calls.reset(event.error_code, self._method_path)

    def _finish(self) -> None:
        """Closes the connection, which tells the server, if it is not done, that nobody waits any more."""
        if self._is_over:
            return
        self._is_over = True
        for each in (self._socket, self._woken, self._waker):
            each.close()
        with suppress(queue.Empty):  # so that the feeder ends, if it waits for room
            while True:
                self._queue.get_nowait()
