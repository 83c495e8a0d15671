"""The engine on grpc.aio: serves the table of methods over HTTP/2 as grpcio does it. Portable; the faster one comes beside it.

Messages go through as bytes, without gRPC's serializers. The only place of the server that touches a grpc object. grpc.aio
cancels the task of a call that the caller gave up: what a handler awaits is cancelled with it, and a stream's generator is
closed.
"""

import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NoReturn

import grpc
import grpc.aio

from featurestore.address import UnixAddress
from featurestore.errors import DeadlineExceededError, FailedPreconditionError
from featurestore.server.context import TOO_LATE, CallContext, joined
from featurestore.server.failure import failure_of
from featurestore.server.listener import Listener
from featurestore.server.methods import Method, StreamHandler, StreamMethod, UnaryHandler
from featurestore.server.status import Counts

DETAILS_KEY = "grpc-status-details-bin"
CALLS_IN_FLIGHT_MAX = 10_000
TOO_MANY = f"the server has {CALLS_IN_FLIGHT_MAX} calls in flight: this one was not begun; try again, or elsewhere"


class _GrpcCallContext(CallContext):
    """Reads from the grpc context only what a handler asks for: most calls need none of it."""

    __slots__ = ("_call", "_metadata")

    def __init__(self, call: Any) -> None:
        self._call = call
        self._metadata: Mapping[str, str | bytes] | None = None
        self.request_compressed = None  # grpc.aio does not tell
        self.initial_metadata = ()
        self.trailing_metadata = ()
        self.compress = False

    @property
    def deadline(self) -> float | None:  # type: ignore[override]
        left_s = self._call.time_remaining()
        return None if left_s is None else time.monotonic() + left_s

    def check_deadline(self) -> None:
        left_s = self._call.time_remaining()
        if left_s is not None and left_s <= 0:
            raise DeadlineExceededError(TOO_LATE)

    @property
    def peer(self) -> str:  # type: ignore[override]
        text: str = self._call.peer()
        return text

    @property
    def metadata(self) -> Mapping[str, str | bytes]:  # type: ignore[override]
        if self._metadata is None:
            self._metadata = joined(self._call.invocation_metadata() or ())
        return self._metadata


class _InFlight:
    """How many calls are, and how many were too many.

    grpcio would count and refuse them by itself, for 3 % of all that it does for a call.
    """

    def __init__(self) -> None:
        self.calls = self.refused = 0

    async def refuse(self, call: Any) -> NoReturn:
        """Ends one that is too many."""
        self.refused += 1
        await call.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, TOO_MANY)
        raise AssertionError("abort raises")


class _Router(grpc.GenericRpcHandler):
    def __init__(self, methods: Mapping[str, Method]) -> None:
        self.in_flight = _InFlight()
        self._handlers = {path: _rpc_handler(method, self.in_flight) for path, method in methods.items()}
        self.calls = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        self.calls += 1
        return self._handlers.get(handler_call_details.method)


class GrpcAioServer:
    """Listens on some addresses, each with TLS or without."""

    name = "grpcio"

    def __init__(
        self,
        methods: Mapping[str, Method],
        listeners: Sequence[Listener],
        *,
        message_bytes_max: int = 64 << 20,
        connection_age_max_s: float | None = None,
    ) -> None:
        self._listeners = listeners
        self._server = grpc.aio.server(
            options=[
                # Unless it is meant: else two servers share a port, and each has half of the requests.
                ("grpc.so_reuseport", int(any(listener.is_shared for listener in listeners))),
                ("grpc.max_receive_message_length", message_bytes_max),
                ("grpc.max_send_message_length", -1),  # bounded by read_bytes_max
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # clients may keep idle connections alive
                ("grpc.keepalive_permit_without_calls", 1),
                *([("grpc.max_connection_age_ms", int(connection_age_max_s * 1_000))] if connection_age_max_s else []),
            ],
        )
        self._router = _Router(methods)
        self._server.add_generic_rpc_handlers((self._router,))

    async def start(self) -> list[str]:
        """Listens; returns the URLs, with the ports that were got. FailedPreconditionError, in a sentence, when it cannot."""
        urls = [self._add(listener) for listener in self._listeners]
        await self._server.start()
        return urls

    def _add(self, listener: Listener) -> str:
        listener.check_available()
        is_unix = isinstance(listener.address, UnixAddress)
        target = f"unix:{listener.address}" if is_unix else str(listener.address)
        mask = os.umask(~listener.mode & 0o777)  # grpcio makes the file by itself
        try:
            if listener.tls is None:
                return listener.url(self._server.add_insecure_port(target))
            return listener.url(self._server.add_secure_port(target, listener.tls.grpc_credentials()))
        except RuntimeError as error:
            raise FailedPreconditionError(f"cannot listen on {listener.address}: {error}") from None
        finally:
            os.umask(mask)

    async def stop(self, drain_timeout_s: float) -> None:
        """Takes no more calls, lets those in flight end for so long, then cancels them."""
        await self._server.stop(drain_timeout_s)
        for listener in self._listeners:
            listener.remove()

    def counts(self) -> Counts:
        """What it has done; of connections grpcio does not tell."""
        return Counts(None, self._router.calls, self._router.in_flight.refused)


def _rpc_handler(method: Method, in_flight: _InFlight) -> "grpc.RpcMethodHandler[bytes, bytes]":
    if isinstance(method, StreamMethod):
        return grpc.stream_stream_rpc_method_handler(_stream_behavior(method.path, method.handler, in_flight))
    return grpc.unary_unary_rpc_method_handler(_unary_behavior(method.path, method.handler, in_flight))


def _unary_behavior(path: str, handler: UnaryHandler, in_flight: _InFlight) -> Any:
    async def call(request: bytes, call_context: Any) -> bytes:
        if in_flight.calls >= CALLS_IN_FLIGHT_MAX:
            await in_flight.refuse(call_context)
        in_flight.calls += 1
        context = _GrpcCallContext(call_context)
        try:
            answer = handler(request, context)
            if not isinstance(answer, bytes):
                answer = await answer
        except Exception as error:
            await _abort(call_context, context, error, path)
        finally:
            in_flight.calls -= 1
        if context.compress or context.initial_metadata:
            await _begin(call_context, context)
        if context.trailing_metadata:
            call_context.set_trailing_metadata(context.trailing_metadata)
        return answer

    return call


def _stream_behavior(path: str, handler: StreamHandler, in_flight: _InFlight) -> Any:
    async def call(requests: AsyncIterator[bytes], call_context: Any) -> AsyncIterator[bytes]:
        if in_flight.calls >= CALLS_IN_FLIGHT_MAX:
            await in_flight.refuse(call_context)
        in_flight.calls += 1
        context = _GrpcCallContext(call_context)
        begun = compressed = False
        try:
            async for answer in handler(aiter(requests), context):
                if not begun:
                    begun, compressed = True, context.compress
                    await _begin(call_context, context)
                elif compressed and not context.compress:
                    call_context.disable_next_message_compression()
                yield answer
        except Exception as error:
            await _abort(call_context, context, error, path)
        finally:
            in_flight.calls -= 1
        if not begun:
            await _begin(call_context, context)
        call_context.set_trailing_metadata(context.trailing_metadata)

    return call


async def _begin(call_context: Any, context: CallContext) -> None:
    if context.compress:
        call_context.set_compression(grpc.Compression.Gzip)
    if context.compress or context.initial_metadata:  # a unary answer is compressed only if these went out on their own
        await call_context.send_initial_metadata(context.initial_metadata)


async def _abort(call_context: Any, context: CallContext, error: Exception, path: str) -> NoReturn:
    failure = failure_of(error, path)
    trailing = context.trailing_metadata
    if failure.details:
        trailing = (*trailing, (DETAILS_KEY, failure.details))
    await call_context.abort(grpc.StatusCode[failure.code.value], failure.message, trailing)
    raise AssertionError("abort raises")
