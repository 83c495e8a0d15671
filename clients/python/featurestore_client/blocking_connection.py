"""One blocking connection: a socket and the HTTP/2 session on it, used by one thread at a time.

A call is one send and, where its answer is small, one receive. The kernel keeps the time (SO_RCVTIMEO), so that no call of
``poll`` stands before each receive; OpenSSL would not notice that, so TLS sockets have Python's timeouts. Where some of the
call's time has passed (a dial, a retry, a part of an answer, a signal), the timeout is set for what is left. Invariants: a
connection on which anything went wrong is closed and never used again; no wait goes beyond the call's deadline by more than a
tenth of its timeout.
"""

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from featurestore_client.addresses import Address, Place
from featurestore_client.busy_polling import REST_S
from featurestore_client.http2 import CANCEL, NEVER, Headers, ProtocolError, StreamEvent
from featurestore_client.http2.busy_receive import busy_receive
from featurestore_client.http2.interruptible import receive_once, send_once
from featurestore_client.http2_calls import MESSAGE_BYTES_MAX, STREAM_ID_LAST, Calls, Reply, new_session, too_late

RECEIVE_BYTES: Final = 128 << 10
_TAKEN_WHOLE_BYTES = 64 << 10
"""Less than this from ``take`` is all that can be sent now: it stops by frames of at most 16 KB, far above."""
_SLACK = 0.9
"""A wait may be that much shorter than the timeout that is set, before it is set anew."""
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
_TIME_IS_UP = (BlockingIOError, TimeoutError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def tune(connected: socket.socket) -> None:
    """For a TCP socket: small messages go out at once, and a peer that vanished without a word is noticed."""
    if connected.family != socket.AF_UNIX:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def dial(calls: Calls, tls: ssl.SSLContext | None, server_name: str | None, ends_s: float) -> socket.socket:
    """A connected socket. Raises NotSentError where no server is to be reached before ``ends_s``."""
    address = calls.address
    try:
        resolved = [] if address.path else socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise calls.not_sent(f"the host's name has no address: {error}") from None
    places = address.places(resolved)
    failure: Exception | None = None
    for left, place in zip(range(len(places), 0, -1), places, strict=True):
        left_s = (ends_s - time.monotonic()) / left
        if left_s <= 0:
            break
        try:
            return _connected(place, address, tls, server_name, left_s)
        except (OSError, ssl.CertificateError) as error:
            failure = error
    raise calls.not_sent(f"failed to connect: {failure or 'no time left'}") from None


def _connected(
    place: Place, address: Address, tls: ssl.SSLContext | None, server_name: str | None, timeout_s: float
) -> socket.socket:
    connected = socket.socket(place[0], socket.SOCK_STREAM)
    try:
        connected.settimeout(timeout_s)
        ends_s = time.monotonic() + timeout_s
        connected.connect(place[1])
        tune(connected)
        if tls is None or not address.secure:
            return connected
        connected.settimeout(max(1e-3, ends_s - time.monotonic()))
        secured = tls.wrap_socket(connected, server_hostname=server_name or address.host)
    except BaseException:
        connected.close()
        raise
    if secured.selected_alpn_protocol() != "h2":
        secured.close()
        raise ConnectionError("the server does not speak HTTP/2 over TLS (ALPN h2)")
    return secured


class BlockingConnection:
    """See the module. ``reusable`` tells, after a call, whether there may be another."""

    __slots__ = (
        "_bound_s",
        "_buffer",
        "_calls",
        "_file",
        "_is_prompt",
        "_poll",
        "_secure",
        "_set_timeout",
        "_timeout_s",
        "_view",
        "reusable",
        "session",
        "socket",
    )

    def __init__(self, calls: Calls, connected: socket.socket, busy_poll_us: int) -> None:
        self._calls = calls
        self.socket = connected
        self.session = new_session()
        self.reusable = True
        self._buffer = bytearray(RECEIVE_BYTES)
        self._view = memoryview(self._buffer)
        self._timeout_s = 0.0
        self._secure = isinstance(connected, ssl.SSLSocket)
        self._set_timeout: Callable[[float], None] = connected.settimeout if self._secure else self._set_kernel_timeout
        connected.settimeout(None)
        self._file = connected.fileno()
        self._bound_s = 0.0 if self._secure else busy_poll_us / 1e6
        self._is_prompt = False  # whether the last answer came within that
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)

    def _set_kernel_timeout(self, timeout_s: float) -> None:
        seconds = int(timeout_s)
        value = struct.pack("ll", seconds, max(1, int((timeout_s - seconds) * 1e6)))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)

    def close(self) -> None:
        """Closes the socket. The server sees the end of a call under way as the caller's giving up."""
        self.reusable = False
        self.socket.close()

    def wake(self) -> None:
        """From another thread: the call under way ends at once, with a lost connection."""
        self.reusable = False
        with suppress(OSError):  # it may be lost already
            self.socket.shutdown(socket.SHUT_RDWR)

    def is_alive(self) -> bool:
        """Whether the server had closed the connection, or said that it will, while nobody used it."""
        if not self._poll.poll(0):
            return True
        try:
            self.socket.settimeout(0)
            while True:
                count = self.socket.recv_into(self._buffer)
                if not count:
                    return False
                self.session.receive(self._view[:count])
        except _TIME_IS_UP:  # all is read
            self.socket.settimeout(None)
            self._timeout_s = 0.0
            return not self.session.going_away
        except (OSError, ProtocolError):
            return False

    def unary(
        self, method_path: str, head: Headers, framed: bytes, timeout_s: float, ends_s: float, *, has_waited: bool
    ) -> Reply | StreamEvent:
        """One request, one reply. Raises NotSentError where the server cannot have seen it: then another connection may.

        ``has_waited``: some of the call's time has passed since it began.
        """
        session = self.session
        if timeout_s != self._timeout_s:
            self._set_timeout(timeout_s)
            self._timeout_s = timeout_s
        if has_waited:
            try:
                self._fit_timeout(ends_s)
            except TimeoutError:
                raise too_late(method_path, timeout_s) from None
        try:
            stream_id = session.request(head, framed)
            data = session.take()
        except ProtocolError as error:
            raise self._calls.not_sent(str(error)) from None
        try:
            sent = self._send(data, ends_s)
        except OSError as error:
            if isinstance(error, _TIME_IS_UP):
                raise too_late(method_path, timeout_s) from None
            raise self._calls.not_sent(f"the connection was lost: {error}") from None
        try:
            if sent < len(data) or sent >= _TAKEN_WHOLE_BYTES:
                self._send_rest(memoryview(data)[sent:], ends_s)
            count = self._receive_first(ends_s)
            events = session.receive(self._view[:count]) if count else ()
            if len(events) == 1:
                event = events[0]
                if event.ended and event.head is not None and event.stream_id == stream_id:
                    self.reusable = not session.going_away and stream_id < STREAM_ID_LAST
                    return event
            return self._long_reply(method_path, stream_id, count, list(events), ends_s)
        except (OSError, ProtocolError) as error:
            if isinstance(error, _TIME_IS_UP):
                self._give_up(stream_id)
                raise too_late(method_path, timeout_s) from None
            raise self._calls.lost(error) from None

    def _receive_first(self, ends_s: float) -> int:
        bound_s = self._bound_s
        if not bound_s:
            return self._receive(ends_s)
        began = time.monotonic()
        count = -1
        if self._is_prompt:
            count = busy_receive(self._file, self._buffer, min(bound_s, ends_s - began), REST_S)
            if count < 0:
                self._fit_timeout(ends_s)
        if count < 0:
            count = self._receive(ends_s)
        self._is_prompt = time.monotonic() - began <= bound_s
        return count

    def _receive(self, ends_s: float) -> int:
        while True:
            try:
                return self.socket.recv_into(self._buffer) if self._secure else receive_once(self._file, self._buffer)
            except InterruptedError:
                self._fit_timeout(ends_s)

    def _send(self, data: bytes | memoryview, ends_s: float) -> int:
        while True:
            try:
                return self.socket.send(data) if self._secure else send_once(self._file, data)
            except InterruptedError:
                self._fit_timeout(ends_s)

    def settle(self) -> None:
        """After the first call: acknowledges the server's settings, for which some servers wait."""
        with suppress(OSError):  # it is found dead by the next call
            self.socket.send(self.session.take())

    def _long_reply(self, method_path: str, stream_id: int, count: int, events: list[StreamEvent], ends_s: float) -> Reply:
        """The reply that came in several pieces, the first of which are ``events``."""
        session = self.session
        head: bytes | None = None
        parts: list[bytes] = []
        length = 0
        while True:
            if not count:
                raise ConnectionError("the server closed it")
            for event in events:
                if event.stream_id != stream_id:
                    continue
                if head is None:
                    head = event.head
                if event.data:
                    parts.append(event.data)
                    length += len(event.data)
                    session.consume(stream_id, len(event.data))
                if event.ended and head is not None:
                    self.reusable = not session.going_away and stream_id < STREAM_ID_LAST
                    return Reply(head, b"".join(parts), event.trailers)
                if event.error_code != NEVER:
                    raise self._calls.reset(event.error_code, method_path)
                if length > MESSAGE_BYTES_MAX + _TAKEN_WHOLE_BYTES:
                    self._give_up(stream_id)
                    raise self._calls.error("RESOURCE_EXHAUSTED", f"an answer above {MESSAGE_BYTES_MAX} bytes")
            self._send_rest(memoryview(b""), ends_s)
            events = session.events()  # of a stream that broke a rule
            if not events:
                self._fit_timeout(ends_s)
                count = self._receive(ends_s)
                events = session.receive(self._view[:count])

    def _send_rest(self, data: memoryview, ends_s: float) -> None:
        """Sends ``data`` and all that the session has, as far as the server's windows allow."""
        while data or (data := memoryview(self.session.take())):
            self._fit_timeout(ends_s)
            data = data[self._send(data, ends_s) :]

    def _fit_timeout(self, ends_s: float) -> None:
        left_s = ends_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        if left_s < _SLACK * self._timeout_s:
            self._set_timeout(left_s)
            self._timeout_s = left_s

    def _give_up(self, stream_id: int) -> None:
        """Tells the server, if that needs no waiting, that nobody waits any more."""
        self.session.reset(stream_id, CANCEL)
        with suppress(OSError):  # the end of the connection tells it too
            self.socket.settimeout(0)
            self.socket.send(self.session.take())
