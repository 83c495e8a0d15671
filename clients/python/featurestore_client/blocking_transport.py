"""Blocking calls over the native HTTP/2 session: a pool of connections to one address.

A call takes the connection that was used last out of a deque, or makes one, and puts it back: no lock, no other thread. So many
connections are open as there were calls at a time. Invariants: a call is sent again only where no server can have seen it; a
connection is in the pool or with one call, never both; a child process never touches a connection of its parent.
"""

import os
import time
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Final

from featurestore_client.addresses import Address
from featurestore_client.blocking_connection import BlockingConnection, dial
from featurestore_client.blocking_stream import BlockingStream
from featurestore_client.busy_polling import bound_us
from featurestore_client.errors import FeatureStoreError, NotSentError
from featurestore_client.grpc_framing import frame
from featurestore_client.http2_calls import Calls
from featurestore_client.tls import Tls

IDLE_MAX: Final = 256
"""Connections that are kept while nobody uses them."""
REFUSALS_MAX: Final = 3
"""Fresh connections on which one call may be refused, before the caller is told."""


class NativeTransport:
    """Calls to one address. Thread-safe and fork-safe."""

    def __init__(
        self, address: Address, tls: Tls, metadata: tuple[tuple[str, str], ...], busy_poll_us: int | None = None
    ) -> None:
        self._calls = Calls(address, metadata)
        self._busy_poll_us = bound_us(busy_poll_us)
        self._tls = tls.context() if address.secure else None
        self._server_name = tls.server_name
        self._closed = False
        self._forget()
        _TRANSPORTS.add(self)

    def _forget(self) -> None:
        self._idle: deque[BlockingConnection] = deque()
        self._connections: set[BlockingConnection] = set()
        self._streams: weakref.WeakSet[BlockingStream] = weakref.WeakSet()

    def unary(self, method_path: str, request: bytes, *, timeout_s: float) -> bytes:
        """One request, one response."""
        ends_s = time.monotonic() + timeout_s
        calls, idle = self._calls, self._idle
        head = calls.head(method_path, timeout_s)
        framed = frame(request)
        opened = 0
        has_waited = False
        while True:
            if idle:
                try:
                    connection = idle.pop()
                except IndexError:  # another thread was quicker
                    continue
                if not connection.is_alive():
                    self._drop(connection)
                    continue
            else:
                connection = self._open(ends_s)
                opened += 1
                has_waited = True
            try:
                reply = connection.unary(method_path, head, framed, timeout_s, ends_s, has_waited=has_waited)
            except NotSentError:
                self._drop(connection)
                has_waited = True
                if opened == REFUSALS_MAX:
                    raise
                continue
            except BaseException as error:
                self._drop(connection)
                if self._closed and isinstance(error, FeatureStoreError):
                    raise calls.closed() from None
                raise
            if opened:
                connection.settle()
            if connection.reusable and len(idle) < IDLE_MAX:
                idle.append(connection)
            else:
                self._drop(connection)
            if self._closed:
                self.close()
            return calls.message(reply, method_path, timeout_s)

    def _open(self, ends_s: float) -> BlockingConnection:
        if self._closed:
            raise self._calls.closed()
        connected = dial(self._calls, self._tls, self._server_name, ends_s)
        connection = BlockingConnection(self._calls, connected, self._busy_poll_us)
        self._connections.add(connection)
        return connection

    def _drop(self, connection: BlockingConnection) -> None:
        self._connections.discard(connection)
        connection.close()

    def stream(self, method_path: str, requests: Iterator[bytes], *, timeout_s: float | None) -> BlockingStream:
        """Many requests, many responses, on a connection of their own."""
        if self._closed:
            raise self._calls.closed()
        stream = BlockingStream(self._calls, self._tls, self._server_name, method_path, requests, timeout_s)
        self._streams.add(stream)
        return stream

    def close(self) -> None:
        """Ends the calls under way."""
        self._closed = True
        for stream in list(self._streams):
            stream.cancel()
        for connection in list(self._connections):
            connection.wake()
        while self._idle:
            self._drop(self._idle.pop())

    def after_fork(self) -> None:
        """In a child process: the connections are the parent's. Closing our copies of them says nothing to the servers."""
        connections, streams = self._connections, self._streams
        self._forget()
        for connection in connections:
            connection.close()
        for stream in streams:
            stream.after_fork()


_TRANSPORTS: weakref.WeakSet[NativeTransport] = weakref.WeakSet()


def _after_fork() -> None:
    for transport in list(_TRANSPORTS):
        transport.after_fork()


os.register_at_fork(after_in_child=_after_fork)
