"""Calls over gRPC by grpcio: the transport that works where the native one is not built.

Messages pass through as bytes. Invariant: each failure of grpcio becomes one of ``errors.py`` here, with the violations of its
status details, and nothing of grpc leaves this module.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import grpc.aio

from featurestore_client import local_socket
from featurestore_client.addresses import Address
from featurestore_client.errors import (
    CancelledError,
    FeatureStoreError,
    NotSentError,
    ResourceExhaustedError,
    Violation,
    error_of,
    violations_in,
)
from featurestore_client.grpc_framing import RETRY_PUSHBACK
from featurestore_client.tls import Tls

MESSAGE_BYTES_MAX = 256 << 20
RESPONSES_HELD_MAX = 16
"""Of a stream, before its consumer takes them; then the server is made to wait."""
_STATUS_DETAILS = "grpc-status-details-bin"
_NO_CONNECTION = "failed to connect to all addresses"  # grpc's words where it had none to send a call on
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # A restarted server is found again soon: grpc's own delays rise from one second to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A peer that vanished without a word is noticed while calls wait for it.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.primary_user_agent", "featurestore-client"),
]


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    roots = tls.roots()
    if roots is None:  # the system's, rather than grpc's bundled ones, where the system keeps them in one file
        found = ssl.get_default_verify_paths().cafile
        roots = Path(found).read_bytes() if found else None
    certificate, key = tls.identity() or (None, None)
    return grpc.ssl_channel_credentials(roots, key, certificate)


@dataclass(frozen=True)
class Target:
    """One address, and how grpc connects to it."""

    address: Address
    tls: Tls
    metadata: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """The address as grpc wants it."""
        if self.address.path is not None:
            return f"unix:{self.address.path}"
        if self.address.prefers_unix and local_socket.is_any(self.address.port):
            try:
                resolved = socket.getaddrinfo(self.address.host, self.address.port, type=socket.SOCK_STREAM)
            except OSError:
                resolved = []  # the first call says so
            family, place = next(iter(self.address.places(resolved)), (None, None))
            if family == socket.AF_UNIX:
                return f"unix:{place}"
        return self.address.authority

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """For TLS; None without."""
        return _credentials(self.tls) if self.address.secure else None

    @property
    def options(self) -> list[tuple[str, Any]]:
        """The channel's options."""
        if not self.address.secure or self.tls.server_name is None:
            return _OPTIONS
        return [*_OPTIONS, ("grpc.ssl_target_name_override", self.tls.server_name)]

    def error(self, failure: Any, method_path: str, timeout_s: float | None) -> FeatureStoreError:
        """The error for grpc's failure of a call."""
        code = failure.code().name
        message = failure.details() or f"{method_path} failed without a word"
        if code == "DEADLINE_EXCEEDED" and timeout_s is not None and message == "Deadline Exceeded":
            message = f"{method_path.rpartition('/')[2]} did not end within {timeout_s:.3g} s"
        elif code == "UNAVAILABLE":
            message = f"{message} (server {self.address.text})"
            if message.startswith(_NO_CONNECTION):
                return NotSentError(message)
        violations: tuple[Violation, ...] = ()
        retry_after_s: float | None = None
        for key, value in failure.trailing_metadata() or ():
            if key == _STATUS_DETAILS and isinstance(value, bytes):
                violations = violations_in(value)
            elif key == RETRY_PUSHBACK and isinstance(value, str) and value.isdecimal():
                retry_after_s = int(value) / 1_000
        error = error_of(code, message, violations)
        if isinstance(error, ResourceExhaustedError):
            error.retry_after_s = retry_after_s
        return error


def _closed(target: Target) -> CancelledError:
    return CancelledError(f"the client of {target.address.text} is closed: connect again")


class GrpcTransport:
    """Blocking calls over one grpcio channel, which reconnects by itself. Thread-safe."""

    def __init__(self, address: Address, tls: Tls, metadata: tuple[tuple[str, str], ...]) -> None:
        target = self._target = Target(address, tls, metadata)
        credentials = target.credentials
        self._channel = (
            grpc.insecure_channel(target.name, target.options)
            if credentials is None
            else grpc.secure_channel(target.name, credentials, target.options)
        )
        self._unary: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._closed = False

    def unary(self, method_path: str, request: bytes, *, timeout_s: float) -> bytes:
        """One request, one response."""
        method = self._unary.get(method_path)
        if method is None:
            method = self._unary[method_path] = self._channel.unary_unary(method_path)
        try:
            return method(request, timeout=timeout_s, metadata=self._target.metadata)
        except grpc.RpcError as failure:
            raise self._target.error(failure, method_path, timeout_s) from None
        except ValueError:
            if self._closed:
                raise _closed(self._target) from None
            raise

    def stream(self, method_path: str, requests: Iterator[bytes], *, timeout_s: float | None) -> "_Responses":
        """Many requests, many responses."""
        if self._closed:
            raise _closed(self._target)
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(method_path)
        call = method(requests, timeout=timeout_s, metadata=self._target.metadata)
        return _Responses(call, self._target, method_path, timeout_s)

    def close(self) -> None:
        """Ends the calls under way."""
        self._closed = True
        self._channel.close()


class _Responses:
    """The responses of a stream; ``cancel`` may be called from another thread."""

    def __init__(self, call: Any, target: Target, method_path: str, timeout_s: float | None) -> None:
        self._call = call
        self._target = target
        self._method_path = method_path
        self._timeout_s = timeout_s

    def __iter__(self) -> "_Responses":
        return self

    def __next__(self) -> bytes:
        try:
            response: bytes = next(self._call)
        except grpc.RpcError as failure:
            raise self._target.error(failure, self._method_path, self._timeout_s) from None
        return response

    def cancel(self) -> None:
        self._call.cancel()


class AsyncGrpcTransport:
    """The same for asyncio. The channel is made by the first call, in whose loop all others must be."""

    def __init__(self, address: Address, tls: Tls, metadata: tuple[tuple[str, str], ...]) -> None:
        self._target = Target(address, tls, metadata)
        self._credentials = self._target.credentials
        self._opened: grpc.aio.Channel | None = None
        self._streams: GrpcTransport | None = None
        self._unary: dict[str, Any] = {}
        self._closed = False

    @property
    def _channel(self) -> grpc.aio.Channel:
        if self._closed:
            raise _closed(self._target)
        if self._opened is None:
            name, options = self._target.name, self._target.options
            self._opened = (
                grpc.aio.insecure_channel(name, options)
                if self._credentials is None
                else grpc.aio.secure_channel(name, self._credentials, options)
            )
        return self._opened

    async def unary(self, method_path: str, request: bytes, *, timeout_s: float, repeatable: bool = False) -> bytes:
        """One request, one response."""
        method = self._unary.get(method_path)
        if method is None:
            method = self._unary[method_path] = self._channel.unary_unary(method_path)
        try:
            response: bytes = await method(request, timeout=timeout_s, metadata=self._target.metadata)
        except grpc.aio.AioRpcError as failure:
            raise self._target.error(failure, method_path, timeout_s) from None
        except grpc.aio.UsageError:
            if self._closed:
                raise _closed(self._target) from None
            raise
        return response

    async def stream(
        self, method_path: str, requests: AsyncIterator[bytes], *, timeout_s: float | None
    ) -> AsyncIterator[bytes]:
        """Many requests, many responses.

        Over a blocking channel and a thread: where the server ends a stream while a request is being written, grpc.aio answers
        INTERNAL "Internal error from Core" and loses the server's status, without which it is not known whether to go on.
        """
        if self._closed:
            raise _closed(self._target)
        if self._streams is None:
            self._streams = GrpcTransport(self._target.address, self._target.tls, self._target.metadata)
        loop = asyncio.get_running_loop()
        outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        incoming: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
        room = threading.Semaphore(RESPONSES_HELD_MAX)

        async def feed() -> None:
            try:
                async for request in requests:
                    outgoing.put(request)
            finally:
                outgoing.put(None)

        def receive() -> None:
            end: BaseException | None = None
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                try:
                    for response in responses:
                        room.acquire()
                        loop.call_soon_threadsafe(incoming.put_nowait, response)
                except FeatureStoreError as error:
                    end = error
                loop.call_soon_threadsafe(incoming.put_nowait, end)

        feeder = asyncio.create_task(feed())
        responses = self._streams.stream(method_path, iter(outgoing.get, None), timeout_s=timeout_s)
        threading.Thread(target=receive, name="featurestore-stream", daemon=True).start()
        try:
            while isinstance(item := await incoming.get(), bytes):
                room.release()
                yield item
            if item is not None:
                raise item
        finally:
            feeder.cancel()
            outgoing.put(None)
            responses.cancel()
            room.release()  # for what the thread may have in its hand

    async def close(self) -> None:
        """Ends the calls under way."""
        self._closed = True
        if self._streams is not None:
            await asyncio.to_thread(self._streams.close)
        if self._opened is not None:
            await self._opened.close()
