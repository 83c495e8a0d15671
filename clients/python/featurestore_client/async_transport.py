"""Asyncio calls over the native HTTP/2 session: one connection to one address, shared by all calls.

A connection that is lost, or that the server is leaving (GOAWAY), is replaced by the next call; the calls on the old one end in
their own time. Attempts to connect that fail are spaced by growing random delays, in which calls fail at once. Invariants: a
call is sent again only where no server can have seen it; a client is used in one loop at a time.
"""

import asyncio
import os
import socket
import ssl
import weakref
from collections.abc import AsyncIterator
from typing import Final

from featurestore_client.addresses import Address, Place
from featurestore_client.async_connection import AsyncConnection
from featurestore_client.busy_polling import bound_us
from featurestore_client.errors import FailedPreconditionError, NotSentError
from featurestore_client.grpc_framing import frame
from featurestore_client.http2_calls import Calls
from featurestore_client.retry import Requests, RetryPolicy
from featurestore_client.tls import Tls

CONNECT_TIMEOUT_S: Final = 10.0
REFUSALS_MAX: Final = 3
"""Fresh connections on which one call may be refused, before the caller is told."""
_RECONNECT = RetryPolicy(backoff_s=0.02, backoff_max_s=0.5)


class AsyncNativeTransport:
    """Calls to one address, in the loop of the first."""

    def __init__(
        self, address: Address, tls: Tls, metadata: tuple[tuple[str, str], ...], busy_poll_us: int | None = None
    ) -> None:
        self._calls = Calls(address, metadata)
        self._busy_poll_us = bound_us(busy_poll_us)
        self._tls = tls.context() if address.secure else None
        self._server_name = (tls.server_name or address.host) if address.secure else None
        self._closed = False
        self.forget()
        _TRANSPORTS.add(self)

    def forget(self) -> None:
        """Drops the connections without a word: they are of another process, or of a loop that is closed."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: AsyncConnection | None = None
        self._connecting: asyncio.Task[AsyncConnection] | None = None
        self._connections: weakref.WeakSet[AsyncConnection] = weakref.WeakSet()
        self._failures = 0
        self._failure = ""
        self._next_attempt_s = 0.0

    async def unary(self, method_path: str, request: bytes, *, timeout_s: float, repeatable: bool = False) -> bytes:
        """One request, one response."""
        loop = self._running_loop()
        ends_s = loop.time() + timeout_s
        head = self._calls.head(method_path, timeout_s)
        framed = frame(request)
        refusals = 0
        while True:
            connection = self._connection
            if connection is None or not connection.is_open:
                connection = await self._connect(loop, ends_s)
                refusals += 1
            try:
                reply = await connection.unary(method_path, head, framed, timeout_s, ends_s)
            except NotSentError:
                if refusals == REFUSALS_MAX:
                    raise
                if connection is self._connection:
                    connection.retire()
                continue
            return self._calls.message(reply, method_path, timeout_s)

    async def stream(
        self, method_path: str, requests: AsyncIterator[bytes], *, timeout_s: float | None
    ) -> AsyncIterator[bytes]:
        """Many requests, many responses."""
        loop = self._running_loop()
        ends_s = None if timeout_s is None else loop.time() + timeout_s
        head = self._calls.head(method_path, timeout_s)
        source = Requests(requests)
        refusals = 0
        while True:
            connection = self._connection
            if connection is None or not connection.is_open:
                connection = await self._connect(loop, loop.time() + CONNECT_TIMEOUT_S if ends_s is None else ends_s)
                refusals += 1
            responses = connection.stream(method_path, head, source, timeout_s, ends_s)
            try:
                async for response in responses:
                    yield response
                return
            except NotSentError:
                if source.are_drawn or refusals == REFUSALS_MAX:
                    raise
                if connection is self._connection:
                    connection.retire()
            finally:
                await responses.aclose()

    async def close(self) -> None:
        """Ends the calls under way."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        for connection in list(self._connections):
            connection.abort(self._calls.closed())
            await connection.closed
        self._connection = None

    # ------------------------------------------------------------------------------------------------------- connecting

    def _new_connection(self) -> AsyncConnection:
        return AsyncConnection(self._calls, self._busy_poll_us)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None and not self._loop.is_closed():
                raise FailedPreconditionError("the client is in use in another event loop: connect once for each loop")
            self.forget()
            self._loop = loop
        return loop

    async def _connect(self, loop: asyncio.AbstractEventLoop, ends_s: float) -> AsyncConnection:
        """A connection, by an attempt that all who wait for it share."""
        if self._closed:
            raise self._calls.closed()
        if self._connecting is None:
            if loop.time() < self._next_attempt_s:
                raise self._calls.not_sent(self._failure)
            self._connecting = loop.create_task(self._attempt(loop), name="featurestore-connect")
            self._connecting.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may be that nobody waits
        try:
            async with asyncio.timeout_at(ends_s):
                return await asyncio.shield(self._connecting)
        except TimeoutError:
            raise self._calls.not_sent("failed to connect: no time left") from None
        except asyncio.CancelledError:
            if self._closed:
                raise self._calls.closed() from None
            raise

    async def _attempt(self, loop: asyncio.AbstractEventLoop) -> AsyncConnection:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await self._dial(loop)
        except (OSError, ssl.CertificateError) as error:
            self._failures += 1
            self._next_attempt_s = loop.time() + _RECONNECT.delay_s(self._failures)
            self._failure = f"failed to connect: {error or 'timed out'}"
            raise self._calls.not_sent(self._failure) from None
        finally:
            self._connecting = None
        self._failures = 0
        self._connection = connection
        self._connections.add(connection)
        return connection

    async def _dial(self, loop: asyncio.AbstractEventLoop) -> AsyncConnection:
        address = self._calls.address
        resolved = [] if address.path else await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        places = address.places(resolved)
        failure: OSError | None = None
        for left, place in zip(range(len(places), 0, -1), places, strict=True):
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S / (1 + left)):
                    return await self._connected(loop, place)
            except (OSError, ssl.CertificateError) as error:
                failure = error
        raise failure or OSError("the host's name has no address")

    async def _connected(self, loop: asyncio.AbstractEventLoop, place: Place) -> AsyncConnection:
        family, sockaddr = place
        connecting = socket.socket(family, socket.SOCK_STREAM)
        try:
            connecting.setblocking(False)
            if family == socket.AF_UNIX:
                # At once or not at all: event loops take EAGAIN (as many wait as the server lets) for a connection under way.
                connecting.connect(sockaddr)
                _, connection = await loop.create_unix_connection(self._new_connection, sock=connecting)
                return connection
            await loop.sock_connect(connecting, sockaddr)
            transport, connection = await loop.create_connection(
                self._new_connection,
                sock=connecting,
                ssl=self._tls,
                server_hostname=self._server_name,
            )
        except BaseException:
            connecting.close()
            raise
        if self._tls is not None and transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            transport.close()
            raise ConnectionError("the server does not speak HTTP/2 over TLS (ALPN h2)")
        return connection


_TRANSPORTS: weakref.WeakSet[AsyncNativeTransport] = weakref.WeakSet()


def _after_fork() -> None:
    for transport in list(_TRANSPORTS):
        transport.forget()


os.register_at_fork(after_in_child=_after_fork)
