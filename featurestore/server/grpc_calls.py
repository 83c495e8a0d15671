"""gRPC on a stream: what a request's head asks for, the calls that it begins, and how they end.

Between the HTTP/2 session, which knows no gRPC, and the handlers, which know no connection. Invariant: a call is ended once,
whichever comes first of its answer, its deadline, a mistake of the peer's and the stream's end; what comes later is dropped.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Protocol, TypeVar, cast

from featurestore_client.grpc_framing import (
    RETRY_PUSHBACK,
    STATUS_NAMES,
    FramingError,
    decode_timeout,
    encode_message,
    frame,
    header_pairs,
    metadata_of,
    pairs_of,
)
from featurestore_client.http2 import Headers, Session, StreamEvent
from featurestore_client.message_reader import MessageReader

from featurestore.durability import Unsynced
from featurestore.errors import FeatureStoreError
from featurestore.server.context import CallContext, InlineHead, Metadata, joined
from featurestore.server.failure import failure_of
from featurestore.server.inflating import Inflater
from featurestore.server.methods import Method, StreamMethod, UnaryHandler, UnaryMethod
from featurestore.server.write_turns import LONG_BYTES, LONG_BYTES_MAX, WriteTurns

_Result = TypeVar("_Result")

HEADS_MAX = 1_024
HEAD_BYTES_MAX = 2 << 10
"""Heads that are kept, and how long one may be: a caller sends the same one a million times."""

MESSAGE_OVERHEAD_BYTES = 150
"""What it takes to keep a message beside its bytes: the empty ones of a stream count too."""

STREAM_TAKEN_MAX = 2
"""Messages that a handler may be at: one is decoded while the one before it is written. They count as held."""

STREAM_UNSENT_BYTES_MAX = 256 << 10
"""Answers of a stream that wait for the peer before the handler is made to wait."""

_ENCODINGS = ("identity", "gzip")
_ACCEPT = (b"grpc-accept-encoding", b"identity,gzip")
_HEAD = ((b":status", b"200"), (b"content-type", b"application/grpc"), _ACCEPT)
_GZIP = (b"grpc-encoding", b"gzip")
_UNINDEXED = frozenset({b"grpc-message", b"grpc-status-details-bin"})
_NUMBERS = {name: str(number).encode() for number, name in enumerate(STATUS_NAMES)}

OK_HEAD = Headers(_HEAD)
OK_TRAILERS = Headers([(b"grpc-status", b"0")])
RETRY_AFTER_MS = 100
OVERLOADED = Headers(
    [
        *_HEAD,
        (b"grpc-status", _NUMBERS["RESOURCE_EXHAUSTED"]),
        (
            b"grpc-message",
            encode_message(
                "the server is overloaded: more calls come than it can answer, and this one was not begun; try again in "
                f"{RETRY_AFTER_MS / 1_000:g} s, or elsewhere"
            ),
        ),
        (RETRY_PUSHBACK.encode(), str(RETRY_AFTER_MS).encode()),
    ]
)
"""The answer to a call that ``admission`` does not take up: made once, and a few bytes once the peer has seen it."""


class RefusedError(Exception):
    """A call that is not begun: HTTP's status beside gRPC's."""

    def __init__(self, status: str, message: str, http_status: bytes = b"200") -> None:
        super().__init__(message)
        self.headers = refusal(status, message, http_status=http_status)


class RequestHead(InlineHead):
    """What a header block asks for."""

    __slots__ = ("accepts_gzip", "encoding", "method", "refusal")

    def __init__(self, block: bytes, methods: Mapping[str, Method], header_bytes_max: int) -> None:
        super().__init__()
        self.method: Method | None = None
        self.refusal: Headers | None = None
        self.encoding = "identity"
        self.accepts_gzip = False
        try:
            self._read(block, methods, header_bytes_max)
        except RefusedError as error:
            self.refusal = error.headers
        except FramingError as error:
            self.refusal = refusal(error.status, error.message)

    def _read(self, block: bytes, methods: Mapping[str, Method], header_bytes_max: int) -> None:
        if not block:
            raise RefusedError("RESOURCE_EXHAUSTED", f"the headers are too long: expected at most {header_bytes_max} bytes")
        pairs = pairs_of(block)
        fields = dict(pairs)
        if fields[":method"] != "POST":
            raise RefusedError("UNIMPLEMENTED", f":method is {fields[':method']!r}: expected POST", b"405")
        content_type = fields.get("content-type", "")
        if content_type.partition(";")[0].strip() not in ("application/grpc", "application/grpc+proto"):
            raise RefusedError("UNKNOWN", f"content-type is {content_type[:80]!r}: expected application/grpc", b"415")
        if fields.get("te") != "trailers":
            got = repr(fields["te"][:80]) if "te" in fields else "missing"
            raise RefusedError(
                "INTERNAL", f"te is {got}: expected trailers, which a proxy on the way may have taken out", b"400"
            )
        path = fields[":path"]
        method = methods.get(path)
        if method is None:
            raise RefusedError("UNIMPLEMENTED", f"method {path[:200]} does not exist")
        self.encoding = fields.get("grpc-encoding", "identity")
        if self.encoding not in _ENCODINGS:
            raise RefusedError("UNIMPLEMENTED", f"grpc-encoding is {self.encoding[:80]!r}: expected identity or gzip")
        self.accepts_gzip = "gzip" in [each.strip() for each in fields.get("grpc-accept-encoding", "").split(",")]
        self.metadata = joined(metadata_of(pairs))
        self.method = method
        if isinstance(method, UnaryMethod):
            self.sheds, self.takes_turns = method.sheds, method.takes_turns
            if method.inline:
                self.inline = method.handler


class RequestHeads:
    """The heads that were read, by their bytes."""

    def __init__(self, methods: Mapping[str, Method], header_bytes_max: int) -> None:
        self._methods = methods
        self._header_bytes_max = header_bytes_max
        self.known: dict[bytes, RequestHead] = {}
        self.timeouts_s: dict[bytes, float] = {}
        """Those of ``grpc-timeout``, as well."""

    def read(self, block: bytes) -> RequestHead:
        """A head that was not known."""
        head = RequestHead(block, self._methods, self._header_bytes_max)
        if len(block) <= HEAD_BYTES_MAX:
            if len(self.known) >= HEADS_MAX:
                self.known.clear()  # a flood of others costs the regular ones one reading
            self.known[block] = head
        return head

    def timeout_s(self, text: bytes) -> float:
        """What ``grpc-timeout`` says. Raises FramingError."""
        timeout_s = self.timeouts_s.get(text)
        if timeout_s is None:
            timeout_s = decode_timeout(text)
            if len(self.timeouts_s) >= HEADS_MAX:
                self.timeouts_s.clear()
            self.timeouts_s[text] = timeout_s
        return timeout_s


class Carrier(Protocol):
    """What a call needs of its connection."""

    session: Session
    peer: str
    message_bytes_max: int
    request_timeout_s: float
    turns: WriteTurns
    inflater: Inflater

    def flush_soon(self) -> None:
        """Sends what was queued, at the end of the loop's turn."""

    def hold(self, count: int) -> bool:
        """Counts so many bytes more of requests that are kept; False: that is too much."""

    def may_owe(self, count: int) -> bool:
        """Whether an answer of so many bytes may wait for the peer to take it."""

    def forget(self, stream_id: int) -> None:
        """The call has ended."""


class Call:
    """A call that is not answered at once."""

    def __init__(self, carrier: Carrier, event: StreamEvent, head: RequestHead, context: CallContext) -> None:
        assert head.method is not None
        self.context = context
        self._carrier = carrier
        self._stream_id = event.stream_id
        self._head = head
        self._path = head.method.path
        self._message_bytes_max = min(carrier.message_bytes_max, head.method.request_bytes_max or carrier.message_bytes_max)
        self._reader = MessageReader(self._message_bytes_max, head.encoding)
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        self._began = False
        self._gzip = False
        self._held_bytes = 0
        deadline = context.deadline
        self._timer = None if deadline is None else self._loop.call_later(deadline - time.monotonic(), self._too_late)

    def receive(self, event: StreamEvent) -> None:
        """What came on the stream after its head, or with it."""
        raise NotImplementedError

    def drained(self) -> None:
        """All that was queued on the stream has been sent."""

    def give_up(self) -> None:
        """Nobody waits any more: what the handler is at is cancelled."""
        self._leave()
        if self._task is not None:
            self._task.cancel()

    def _hold(self, count: int) -> None:
        """Keeps so many bytes from now on. Raises FramingError where all calls together keep too many."""
        more, self._held_bytes = count - self._held_bytes, count
        if not self._carrier.hold(more):
            raise FramingError("RESOURCE_EXHAUSTED", "the requests that are being received take too much memory: try later")

    def _start(self, work: Awaitable[_Result], then: Callable[[_Result], None]) -> None:
        async def run() -> None:
            try:
                then(await work)
            except Exception as error:
                self.fail(error)
            except asyncio.CancelledError:
                if not self._ended:
                    self.refuse("CANCELLED", "the server gave the call up")
                raise

        self._task = self._loop.create_task(run())
        if isinstance(work, Coroutine):
            self._task.add_done_callback(lambda _: work.close())  # it may have been cancelled before it began

    def _leave(self) -> None:
        self._ended = True
        self._carrier.hold(-self._held_bytes)
        self._held_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
        self._carrier.forget(self._stream_id)

    def _too_late(self) -> None:
        self.refuse("DEADLINE_EXCEEDED", "the deadline has passed")

    def fail(self, error: Exception) -> None:
        """Ends the call with what the error says."""
        if self._ended:
            if not isinstance(error, (FeatureStoreError, FramingError)):
                failure_of(error, self._path)  # nobody is told, but the log
            return
        if isinstance(error, FramingError):
            self.refuse(error.status, error.message)
            return
        if not isinstance(error, FeatureStoreError):
            self.context.trailing_metadata = ()  # which may be what the defect is in
        failure = failure_of(error, self._path)
        self._end(failure.code.value, failure.message, failure.details)

    def refuse(self, status: str, message: str) -> None:
        """Ends the call with a status; its handler is cancelled."""
        if not self._ended:
            self._end(status, message)
            if self._task is not None and self._task is not asyncio.current_task():
                self._task.cancel()

    def _begin(self) -> None:
        self._began = True
        context = self.context
        self._gzip = context.compress and self._head.accepts_gzip
        self._carrier.session.begin(self._stream_id, answer_head(context.initial_metadata, self._gzip))

    def _send(self, answer: bytes) -> None:
        if not self._began:
            self._begin()
        self._carrier.session.send(self._stream_id, frame(answer, compress=self._gzip and self.context.compress))
        self._carrier.flush_soon()

    def _end(self, status: str, message: str = "", details: bytes = b"") -> None:
        session = self._carrier.session
        trailing = self.context.trailing_metadata
        if not self._began and status != "OK":
            session.respond(self._stream_id, refusal(status, message, details, trailing), b"", None)
        else:
            if not self._began:
                self._begin()
            session.end(self._stream_id, answer_trailers(status, message, details, trailing))
        self._leave()
        self._carrier.flush_soon()


class UnaryCall(Call):
    """One request, one answer, of which one or the other takes its time."""

    def __init__(self, carrier: Carrier, event: StreamEvent, head: RequestHead, context: CallContext) -> None:
        super().__init__(carrier, event, head, context)
        self._messages: list[bytes] = []
        self._body_timer: asyncio.TimerHandle | None = None
        if not event.ended:
            self._body_timer = self._loop.call_later(carrier.request_timeout_s, self._body_is_late)

    def receive(self, event: StreamEvent) -> None:
        if self._task is not None or self._ended:
            return
        if event.data:
            if not event.ended:
                self._carrier.session.consume(self._stream_id, len(event.data))
            try:
                self._messages += self._reader.read_packed(event.data)
                self._hold(self._reader.held_bytes + sum(map(len, self._messages)))
            except FramingError as error:
                self.refuse(error.status, error.message)
                return
        if len(self._messages) > 1 or (event.ended and not (self._messages and self._reader.is_between)):
            self.refuse("INTERNAL", f"{len(self._messages)} whole messages in a call of one request: expected 1")
        elif event.ended:
            if self._body_timer is not None:
                self._body_timer.cancel()
            self.context.request_compressed = self._reader.compressed[-1]
            if self.context.request_compressed:
                self._inflate(self._messages[0])
            else:
                self._answer()

    def _inflate(self, body: bytes) -> None:
        method, inflater = cast(UnaryMethod, self._head.method), self._carrier.inflater
        try:
            if method.check is not None:
                method.check(self.context)
            message = inflater.at_once(body, self._message_bytes_max)
        except Exception as error:
            self.fail(error)
            return
        if message is None:
            self._start(inflater.beside(body, self._message_bytes_max), self._inflated)
        else:
            self._inflated(message)

    def _inflated(self, message: bytes) -> None:
        if self._ended:
            return
        self._messages[0] = message
        try:
            self._hold(len(message))
        except FramingError as error:
            self.refuse(error.status, error.message)
            return
        self._answer()

    def settle(self, outcome: bytes | Awaitable[bytes] | Exception) -> None:
        """What an inline handler came to: the answer, something to await, or what it raised."""
        if isinstance(outcome, Exception):
            self.fail(outcome)
        elif isinstance(outcome, bytes):
            try:
                self._finish(outcome)
            except Exception as error:  # its metadata is nothing that HTTP/2 could carry
                self.fail(error)
        elif isinstance(outcome, Unsynced):
            outcome.then(partial(self._synced, outcome.outcome))
        else:
            self._start(outcome, self._finish)

    def _synced(self, answer: bytes, failure: FeatureStoreError | None) -> None:
        self.settle(answer if failure is None else failure)

    def _answer(self) -> None:
        method = cast(UnaryMethod, self._head.method)
        if not method.inline:
            self._start(self._call(method.handler), self._finish)
            return
        turns = self._carrier.turns
        if method.takes_turns and LONG_BYTES <= len(self._messages[0]) <= LONG_BYTES_MAX and not turns.take():
            turns.wait(self._answer_inline)
            return
        self._answer_inline()

    def _answer_inline(self) -> None:
        if self._ended:
            return
        method = cast(UnaryMethod, self._head.method)
        outcome: bytes | Awaitable[bytes] | Exception
        try:
            outcome = method.handler(self._messages[0], self.context)
        except Exception as error:
            outcome = error
        self.settle(outcome)

    async def _call(self, handler: UnaryHandler) -> bytes:
        answer = handler(self._messages[0], self.context)
        return answer if isinstance(answer, bytes) else await answer

    def _finish(self, answer: bytes) -> None:
        if self._ended:
            return
        if not self._carrier.may_owe(len(answer)):
            self.refuse("RESOURCE_EXHAUSTED", "the answers that wait for their callers take too much memory: try later")
            return
        respond(self._carrier.session, self._stream_id, self.context, self._head, answer)
        self._leave()
        self._carrier.flush_soon()

    def _body_is_late(self) -> None:
        self.refuse("DEADLINE_EXCEEDED", f"the request did not end within {self._carrier.request_timeout_s:g} s")

    def _leave(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
        super()._leave()


class StreamCall(Call):
    """Requests and answers, each in its own time, and neither faster than the other side takes them."""

    def __init__(self, carrier: Carrier, event: StreamEvent, head: RequestHead, context: CallContext) -> None:
        super().__init__(carrier, event, head, context)
        self._messages: deque[tuple[bytes, bool]] = deque()
        self._uncredited_bytes = 0
        self._queued_bytes = 0
        self._taken_bytes: deque[int] = deque()
        self._all_received = False
        self._arrival: asyncio.Future[None] | None = None
        self._departure: asyncio.Future[None] | None = None
        self._start(self._run(cast(StreamMethod, head.method)), self._finish)

    def receive(self, event: StreamEvent) -> None:
        if self._ended:
            return
        if event.data:
            # While the handler has a message to take, the peer gets no further credit than its window: what has come of the
            # next message is the only thing that is held beyond that.
            self._uncredited_bytes += len(event.data)
            if not self._messages:
                self._give_credit()
            try:
                messages = self._reader.read_packed(event.data)
                self._messages.extend(zip(messages, self._reader.compressed, strict=True))
                self._queued_bytes += sum(map(len, messages)) + len(messages) * MESSAGE_OVERHEAD_BYTES
                self._hold(self._reader.held_bytes + self._queued_bytes)
            except FramingError as error:
                self.refuse(error.status, error.message)
                return
        if event.ended:
            if not self._reader.is_between:
                self.refuse("INTERNAL", "the stream ended within a message")
                return
            self._all_received = True
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def drained(self) -> None:
        if self._departure is not None and not self._departure.done():
            self._departure.set_result(None)

    def _give_credit(self) -> None:
        count, self._uncredited_bytes = self._uncredited_bytes, 0
        if count:
            self._carrier.session.consume(self._stream_id, count)
            self._carrier.flush_soon()

    async def _run(self, method: StreamMethod) -> None:
        answers = method.handler(self._requests(), self.context)
        async with aclosing(answers):  # type: ignore[type-var]  # a generator, as all handlers are
            async for answer in answers:
                self._send(answer)
                while self._carrier.session.unsent(self._stream_id) > STREAM_UNSENT_BYTES_MAX:
                    self._departure = self._loop.create_future()
                    await self._departure

    def _finish(self, _: None) -> None:
        if not self._ended:
            self._end("OK")

    async def _requests(self) -> AsyncIterator[bytes]:
        while True:
            while self._messages:
                message, is_compressed = self._messages.popleft()
                if is_compressed:
                    message = await self._inflated(message)
                self.context.request_compressed = is_compressed
                self._taken_bytes.append(len(message) + MESSAGE_OVERHEAD_BYTES)
                if len(self._taken_bytes) > STREAM_TAKEN_MAX:
                    self._queued_bytes -= self._taken_bytes.popleft()
                if not self._ended:
                    self._hold(self._reader.held_bytes + self._queued_bytes)
                if not self._messages:
                    self._give_credit()
                yield message
            if self._all_received:
                return
            self._arrival = self._loop.create_future()
            await self._arrival

    async def _inflated(self, body: bytes) -> bytes:
        inflater = self._carrier.inflater
        try:
            message = inflater.at_once(body, self._message_bytes_max)
            if message is None:
                message = await inflater.beside(body, self._message_bytes_max)
            self._queued_bytes += len(message) - len(body)
            if not self._ended:
                self._hold(self._reader.held_bytes + self._queued_bytes)
        except FramingError as error:
            self.refuse(error.status, error.message)  # here: a handler may take it for something of its own
            raise
        return message


def call_of(carrier: Carrier, event: StreamEvent, head: RequestHead, context: CallContext) -> Call:
    """A call of the method that the head names."""
    kind = StreamCall if isinstance(head.method, StreamMethod) else UnaryCall
    return kind(carrier, event, head, context)


# ----------------------------------------------------------------------------------------------------------------- headers


def respond(session: Session, stream_id: int, context: CallContext, head: RequestHead, answer: bytes) -> None:
    """The answer of a unary call, with what its handler put beside it."""
    gzip = context.compress and head.accepts_gzip
    session.respond(
        stream_id,
        answer_head(context.initial_metadata, gzip),
        frame(answer, compress=gzip),
        answer_trailers("OK", "", b"", context.trailing_metadata),
    )


def answer_head(metadata: Metadata, gzip: bool) -> Headers:
    """The head of an answer."""
    if not metadata and not gzip:
        return OK_HEAD
    return Headers([*_HEAD, *((_GZIP,) if gzip else ()), *header_pairs(metadata)])


def answer_trailers(status: str, message: str, details: bytes, metadata: Metadata) -> Headers:
    """What comes after the answers."""
    if status == "OK" and not metadata:
        return OK_TRAILERS
    return Headers(_status_pairs(status, message, details, metadata), _UNINDEXED)


def refusal(status: str, message: str, details: bytes = b"", metadata: Metadata = (), http_status: bytes = b"200") -> Headers:
    """An answer that is an error and nothing else, in one block of headers."""
    head = ((b":status", http_status), *_HEAD[1:])
    return Headers([*head, *_status_pairs(status, message, details, metadata)], _UNINDEXED)


def _status_pairs(status: str, message: str, details: bytes, metadata: Metadata) -> Iterable[tuple[bytes, bytes]]:
    yield b"grpc-status", _NUMBERS[status]
    if message:
        yield b"grpc-message", encode_message(message)
    beside: Metadata = (*metadata, ("grpc-status-details-bin", details)) if details else metadata
    yield from header_pairs(beside)
