"""One HTTP/2 connection of the native engine: bytes of a socket to calls, and answers back to it.

What can be answered at once is answered within the read that brought it, and all answers of one read go out in one write; the
rest become calls (``grpc_calls.py``). Invariant: what a peer can make this process hold is bounded by ``ConnectionLimits``.
"""

import asyncio
import logging
import random
import ssl
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from featurestore_client.grpc_framing import FramingError
from featurestore_client.http2 import ENHANCE_YOUR_CALM, NEVER, NO_ERROR, REFUSED_STREAM, ProtocolError, Session, StreamEvent
from featurestore_client.http2.event_loop import BusyPolling, DirectWriter

from featurestore.server.admission import Admission
from featurestore.server.context import CallContext
from featurestore.server.grpc_calls import (
    OVERLOADED,
    Call,
    RequestHead,
    RequestHeads,
    UnaryCall,
    call_of,
    refusal,
)
from featurestore.server.inflating import Inflater
from featurestore.server.inline_calls import InlineCalls
from featurestore.server.write_turns import WriteTurns

_log = logging.getLogger(__name__)

TAKE_BYTES = 256 << 10
LONG_READ_BYTES = 128 << 10
"""Of one message, a connection that so much was read of at once is read in pieces while it goes on."""
PIECE_BYTES = 8 << 10
"""Taken in within some 5 us; the loop's own buffer holds thirty times as much, for which a short request would wait."""
NOTICE_S = 0.5
"""Between telling a peer that the connection will close and refusing its calls, unless it answers sooner."""

TICK_CONNECTIONS = 100
"""Looked after at once: thousands would be a pause that every caller felt."""
CROWDED_UNSENT_BYTES_MAX = 1 << 20
"""Of one connection, while all together owe more than they may."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What one peer may do, and all of them together. Times in seconds."""

    connections_max: int = 10_000
    """At a time, or as many as the files that the process may open leave room for: further ones are closed as they come."""

    message_bytes_max: int = 64 << 20
    """Of one request message, and of what it decompresses to."""
    streams_max: int = 256
    """Calls of one connection at a time; further ones are refused, which a client may repeat."""
    header_bytes_max: int = 16 << 10
    """Of one request's headers, counted as HTTP/2 does: answered RESOURCE_EXHAUSTED; 16 times as many end the connection."""
    window_bytes: int = 1 << 20
    """Sent on one stream before its handler takes it."""
    control_frames_max: int = 2_000
    """In a second, of resets, pings, settings, priorities, continuations and empty frames; and of frames that wait
    for the peer to take them: more end the connection."""
    held_bytes_max: int = 256 << 20
    """Of one connection's requests that are being received or wait for their handler: what goes beyond ends its call."""
    held_bytes_max_in_all: int = 1 << 30
    """Of all connections'."""
    unsent_bytes_max: int = 64 << 20
    """Answers that wait for a peer to read them; while there are more, its new calls are refused."""
    unsent_bytes_max_in_all: int = 1 << 30
    """Of all connections; while there are more, each has CROWDED_UNSENT_BYTES_MAX instead."""
    greeting_timeout_s: float = 10.0
    """For TLS and the first frames, before a connection that says nothing is closed."""
    request_timeout_s: float = 60.0
    """For the whole of a request that is one message, whatever the caller's deadline."""
    stall_timeout_s: float = 60.0
    """For a peer that is owed answers to take all of them or ``stall_bytes`` of them, else its connection is closed."""
    stall_bytes: int = 16 << 10
    keepalive_s: float = 60.0
    """Without a whole frame, after which a ping asks whether the peer is still there."""
    keepalive_timeout_s: float = 20.0
    """For the answer to that."""
    age_max_s: float | None = None
    """After which a connection is asked to make room for a new one (so that load balancers can move it); never when None."""


INTERNAL_LIMITS = ConnectionLimits(
    streams_max=100_000,
    control_frames_max=1 << 30,
    held_bytes_max=1 << 30,
    unsent_bytes_max=1 << 30,
    stall_timeout_s=float("inf"),
)
"""Between processes of one server: a connection is no stranger's, and carries the calls of many."""


class Connections:
    """All that a server has, and what they hold together."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.opened: set[GrpcConnection] = set()
        self.held_bytes = 0
        self.unsent_bytes_max = limits.unsent_bytes_max
        self._limits = limits
        self._unsent_bytes = 0
        self._ticked: deque[weakref.ref[GrpcConnection]] = deque()  # that was longest ago, first

    def begun(self, connection: "GrpcConnection") -> None:
        """There is one more."""
        self.opened.add(connection)
        self._ticked.append(weakref.ref(connection))

    def ended(self, connection: "GrpcConnection") -> None:
        """A connection is no more."""
        self.opened.discard(connection)

    def tick_some(self) -> float:
        """Ticks the next few. Returns which part of all they are."""
        now = time.monotonic()
        share = min(1.0, TICK_CONNECTIONS / max(1, len(self._ticked)))
        for _ in range(min(TICK_CONNECTIONS, len(self._ticked))):
            each = self._ticked.popleft()
            connection = each()
            if connection is not None and connection in self.opened:
                self._ticked.append(each)
                connection.tick(now)
        return share

    def owe(self, count: int) -> None:
        """Counts so many bytes more of answers that wait for their peers."""
        self._unsent_bytes += count
        is_crowded = self._unsent_bytes > self._limits.unsent_bytes_max_in_all
        self.unsent_bytes_max = min(self._limits.unsent_bytes_max, CROWDED_UNSENT_BYTES_MAX if is_crowded else 1 << 62)

    def may_owe(self, count: int) -> bool:
        """Whether there is room for so many more; answers that are not large have it always."""
        return count <= CROWDED_UNSENT_BYTES_MAX or self._unsent_bytes + count <= self._limits.unsent_bytes_max_in_all


class GrpcConnection(asyncio.Protocol):
    """A connection, from ``connection_made`` to ``connection_lost``."""

    def __init__(
        self,
        heads: RequestHeads,
        limits: ConnectionLimits,
        connections: Connections,
        admission: Admission,
        turns: WriteTurns,
        inflater: Inflater,
        polling: BusyPolling,
        closed: Callable[[], None],
    ) -> None:
        self.session = Session(
            client=False,
            apart=b"grpc-timeout",
            window_bytes=limits.window_bytes,
            streams_max=limits.streams_max,
            header_bytes_max=limits.header_bytes_max,
            control_frames_max=limits.control_frames_max,
        )
        self.peer = ""
        self.message_bytes_max = limits.message_bytes_max
        self.request_timeout_s = limits.request_timeout_s
        self._heads = heads
        self._limits = limits
        self._connections = connections
        self._admission = admission
        self.turns = turns
        self.inflater = inflater
        self._polling = polling
        self._closed = closed
        self._held_bytes = 0  # of requests
        self._owed_bytes = 0  # of answers, when it was last counted
        self._calls: dict[int, Call] = {}
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._is_paused = False
        self.is_sent_long = False
        """Whether most of what was read last was of one message, and it goes on."""
        self._flush_is_due = False
        self._drain_pongs: int | None = None
        self._frames = 0
        now = time.monotonic()
        self._opened = self._heard = self._moved = now
        self._moved_bytes = 0
        self._retires = now + limits.age_max_s * random.uniform(0.9, 1.1) if limits.age_max_s else float("inf")  # noqa: S311  no secret

    # ----------------------------------------------------------------------------------------------- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greets the peer."""
        self._connections.begun(self)
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=TAKE_BYTES)
        self.peer = _peer_of(transport)
        self._writer = DirectWriter(transport)
        self._inline = InlineCalls(
            self.session,
            self._heads,
            self._calls,
            self._connections,
            self._admission,
            self.turns,
            self._polling,
            self._writer,
            self.peer,
            self.message_bytes_max,
            self._settle,
            self._wait,
            self.flush_soon,
        )
        secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        self._is_plain = secured is None
        if secured is not None and secured.selected_alpn_protocol() != "h2":
            _log.info("refused", extra={"fields": {"peer": self.peer, "reason": "TLS without ALPN h2"}})
            self._transport.abort()
            return
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Takes in what the peer sent, and sends what can be answered."""
        try:
            events = self._inline.receive(data)
        except ProtocolError as error:
            self._break(error)
            return
        if events is None:
            return
        self.is_sent_long = 2 * max((len(event.data) for event in events), default=0) >= len(data)
        if len(data) >= LONG_READ_BYTES:
            if self.is_sent_long and self._is_plain:
                self._transport.set_protocol(_InPieces(self))
            self.look_at_others()
        for event in events:
            block = event.head
            if block is None:
                self._go_on(event)
            elif event.error_code == NEVER:
                self._take_in(event, self._heads.known.get(block) or self._heads.read(block))
        self._flush()
        self._polling.wait()

    def look_at_others(self) -> None:
        """Lets the loop look at the other sockets before it goes on with this one, which it would read many times over."""
        if not self._transport.is_closing():  # by what it was just sent
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def read_whole(self) -> None:
        """Has as much read at a time again as there is."""
        self._transport.set_protocol(self)
        self.look_at_others()  # it reads by the protocol that it had when it began to read

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The peer reads slower than it asks."""
        self._is_paused = True
        self._inline.sends = False

    def resume_writing(self) -> None:
        """It has caught up."""
        self._is_paused = False
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody waits for the calls any more."""
        for call in list(self._calls.values()):
            call.give_up()
        self._connections.owe(-self._owed_bytes)
        self._owed_bytes = 0
        self._inline.is_over = True
        del self._inline  # which has us: a connection that is gone must not count until the next collection
        self._connections.ended(self)
        self._closed()

    # ---------------------------------------------------------------------------------------------------------------- calls

    def _take_in(self, event: StreamEvent, head: RequestHead) -> None:
        if head.refusal is not None:
            self.session.respond(event.stream_id, head.refusal, b"", None)
            return
        if self._inline.refuses or self.session.unsent_bytes > self._connections.unsent_bytes_max:
            self.session.reset(event.stream_id, REFUSED_STREAM)
            return
        if head.sheds and not self._admission.takes_up():
            self.session.respond(event.stream_id, OVERLOADED, b"", None)
            return
        try:
            deadline = None if event.apart is None else time.monotonic() + self._heads.timeout_s(event.apart)
        except FramingError as error:
            self.session.respond(event.stream_id, refusal(error.status, error.message), b"", None)
            return
        self._begin(event, head, CallContext(self.peer, head.metadata, deadline, False)).receive(event)

    def _wait(self, event: StreamEvent, deadline: float | None) -> None:
        """Has a long write done in one of the next turns of the loop."""
        self.turns.wait(partial(self._go_on_in_turn, event, deadline))

    def _go_on_in_turn(self, event: StreamEvent, deadline: float | None) -> None:
        if self._transport.is_closing():
            return
        if not self._inline.answer(event, deadline):
            assert event.head is not None, "it was looked up before it waited"
            self._take_in(event, self._heads.known.get(event.head) or self._heads.read(event.head))
        self._flush()

    def _settle(
        self, event: StreamEvent, head: RequestHead, context: CallContext, outcome: bytes | Awaitable[bytes] | Exception
    ) -> None:
        """What an inline handler came to, where that is not an answer alone."""
        call = self._begin(event, head, context)
        assert isinstance(call, UnaryCall)
        call.settle(outcome)

    def _begin(self, event: StreamEvent, head: RequestHead, context: CallContext) -> Call:
        call = self._calls[event.stream_id] = call_of(self, event, head, context)
        return call

    def _go_on(self, event: StreamEvent) -> None:
        call = self._calls.get(event.stream_id)
        if call is None:
            return
        if event.error_code != NEVER:
            call.give_up()
        else:
            call.receive(event)

    def hold(self, count: int) -> bool:
        """Counts so many bytes more of requests that are kept; False: that is too much."""
        self._held_bytes += count
        self._connections.held_bytes += count
        return (
            self._held_bytes <= self._limits.held_bytes_max
            and self._connections.held_bytes <= self._limits.held_bytes_max_in_all
        )

    def may_owe(self, count: int) -> bool:
        """Whether an answer of so many bytes may be queued."""
        return self.session.unsent_bytes <= self._connections.unsent_bytes_max and self._connections.may_owe(count)

    def forget(self, stream_id: int) -> None:
        """A call has ended."""
        self._calls.pop(stream_id, None)

    # -------------------------------------------------------------------------------------------------------------- sending

    def flush_soon(self) -> None:
        """Sends what was queued, at the end of the loop's turn."""
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        session, transport = self.session, self._transport
        self._flush_is_due = False
        if transport.is_closing():
            return
        while not self._is_paused:
            data = session.take(TAKE_BYTES)
            if data:
                self._writer.write(data)
            if self._calls:
                for stream_id in session.drained():
                    call = self._calls.get(stream_id)
                    if call is not None:
                        call.drained()
                for event in session.events():
                    self._go_on(event)
            if len(data) < TAKE_BYTES:
                break
        owed_bytes = session.unsent_bytes
        if owed_bytes or self._owed_bytes:
            self._connections.owe(owed_bytes - self._owed_bytes)
            self._owed_bytes = owed_bytes
        self._inline.sends = not (self._is_paused or owed_bytes or self._drain_pongs is not None)
        if self._drain_pongs is not None:
            self._drain_further()
        if session.is_over:
            transport.close()

    def _break(self, error: ProtocolError) -> None:
        _log.info("connection ended", extra={"fields": {"peer": self.peer, "reason": str(error)}})
        self._flush()
        if self._is_paused:
            self._transport.abort()  # it reads nothing: what waits would be kept until it is found to stall
        else:
            self._transport.close()

    # ---------------------------------------------------------------------------------------------------------- life and end

    def tick(self, now: float) -> None:
        """Once a second: what depends on time."""
        limits = self._limits
        if self.session.frames != self._frames:
            self._frames = self.session.frames
            self._heard = now
        silence_s = now - self._heard
        if not self.session.is_greeted and now - self._opened > limits.greeting_timeout_s:
            self._abort("it did not greet")
        elif silence_s > limits.keepalive_s + limits.keepalive_timeout_s:
            self._abort("it does not answer pings")
        elif self._is_stalled(now):
            self._abort("it does not take its answers")
        else:
            if silence_s > limits.keepalive_s:
                self.session.ping()
                self._flush()
            if now > self._retires:
                self._retires = float("inf")
                self.drain()

    def _is_stalled(self, now: float) -> bool:
        # Of bodies alone: a peer that keeps its windows shut could else be kept company by its pings.
        buffered = self._transport.get_write_buffer_size()
        moved_bytes = self.session.sent_bytes - buffered
        if moved_bytes - self._moved_bytes >= self._limits.stall_bytes or not (buffered or self.session.unsent_bytes):
            self._moved_bytes, self._moved = moved_bytes, now
        return now - self._moved > self._limits.stall_timeout_s

    def _abort(self, reason: str) -> None:
        _log.info("connection ended", extra={"fields": {"peer": self.peer, "reason": reason}})
        self._transport.abort()

    def drain(self) -> None:
        """Asks for no more calls, and closes once those in flight have ended."""
        if self._drain_pongs is None:
            # Calls that the peer sends before it hears of this are still taken: its answer to the ping comes after them.
            self._drain_pongs = self.session.pongs
            self.session.announce_shutdown()
            self.session.ping()
            self._loop.call_later(NOTICE_S, self._refuse)  # for a peer that reads nothing while it has no call
            self._flush()

    def _refuse(self) -> None:
        if not self._transport.is_closing() and not self._inline.refuses:
            self._inline.refuses = True
            self.session.goaway(NO_ERROR)
            self.flush_soon()

    def _drain_further(self) -> None:
        if self._drain_pongs is not None and self.session.pongs > self._drain_pongs:
            self._refuse()
        if self._inline.refuses and self.session.open_streams == 0 and not self._calls:
            self.session.terminate(NO_ERROR)
            self.flush_soon()

    def abort(self) -> None:
        """Ends it now, with the calls in flight."""
        self.session.terminate(ENHANCE_YOUR_CALM)
        self._flush()
        self._transport.abort()


class _InPieces(asyncio.BufferedProtocol):
    """In a connection's place while it is sent long messages: has no more read of it at a time than ``PIECE_BYTES``.

    Of many calls, which come as much at a time, all are to be read in one turn: by how long that takes they are refused.
    """

    def __init__(self, connection: GrpcConnection) -> None:
        self._connection = connection
        self._buffer = bytearray(PIECE_BYTES)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where the next piece goes."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """It came."""
        connection = self._connection
        connection.is_sent_long = False
        connection.data_received(bytes(memoryview(self._buffer)[:nbytes]))
        if not connection.is_sent_long:
            connection.read_whole()
        elif nbytes == PIECE_BYTES:  # there is more
            connection.look_at_others()

    def pause_writing(self) -> None:
        """As of the connection."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """As of the connection."""
        self._connection.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """As of the connection, which the transport would keep through this."""
        self._connection.connection_lost(error)
        del self._connection


def _peer_of(transport: asyncio.BaseTransport) -> str:
    """As gRPC writes it."""
    name: Any = transport.get_extra_info("peername")
    if not isinstance(name, tuple):
        return "unix:"
    return f"ipv6:[{name[0]}]:{name[1]}" if ":" in name[0] else f"ipv4:{name[0]}:{name[1]}"
