"""The native engine: serves the table of methods on libnghttp2, in the event loop, with nothing of grpcio.

Opens the sockets and looks after the connections (``grpc_connection.py``). Importing it raises ImportError where the client's
package was built without the HTTP/2 session.
"""

import asyncio
import logging
import resource
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress

from featurestore_client.busy_polling import bound_us
from featurestore_client.http2.event_loop import BusyPolling

from featurestore.address import UnixAddress
from featurestore.server.admission import Admission
from featurestore.server.grpc_calls import RequestHeads
from featurestore.server.grpc_connection import ConnectionLimits, Connections, GrpcConnection
from featurestore.server.inflating import Inflater
from featurestore.server.listener import BACKLOG, Listener
from featurestore.server.methods import Method
from featurestore.server.status import Counts
from featurestore.server.write_turns import WriteTurns

_log = logging.getLogger(__name__)

FILES_KEPT = 256
"""Of the files that this process may open, those that are not for connections: segments, logs, what starts and ends."""

_TICK_S = 1.0


class GrpcNativeServer:
    """Listens on some addresses, each with TLS or without."""

    name = "native"

    def __init__(
        self,
        methods: Mapping[str, Method],
        listeners: Sequence[Listener],
        limits: ConnectionLimits | None = None,
        *,
        busy_poll_us: int | None = None,
    ) -> None:
        self._limits = limits or ConnectionLimits()
        self._heads = RequestHeads(methods, self._limits.header_bytes_max)
        self._listeners = listeners
        self._opened: list[Listener] = []
        self._servers: list[asyncio.Server] = []
        self._connections = Connections(self._limits)
        self._polling = BusyPolling(asyncio.get_running_loop(), bound_us(busy_poll_us))
        self._admission = Admission(self._polling.after_turn)
        self._turns = WriteTurns(asyncio.get_running_loop())
        self._inflater = Inflater()
        self._made: weakref.WeakSet[GrpcConnection] = weakref.WeakSet()
        self._connections_max = self._limits.connections_max
        self._all_closed = asyncio.Event()
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> list[str]:
        """Listens; returns the URLs, with the ports that were got. FailedPreconditionError, in a sentence, when it cannot."""
        loop = asyncio.get_running_loop()
        self._connections_max = min(self._limits.connections_max, _files_max() - FILES_KEPT)
        if self._connections_max < self._limits.connections_max:
            fields = {"connections_max": self._connections_max, "reason": "the process may not open more files (ulimit -n)"}
            _log.warning("fewer connections", extra={"fields": fields})
        urls = []
        try:
            for listener in self._listeners:
                opened = listener.open()
                self._opened.append(listener)
                context = None if listener.tls is None else listener.tls.ssl_context()
                timeout = None if context is None else self._limits.greeting_timeout_s
                if isinstance(listener.address, UnixAddress):
                    urls.append(listener.url())
                    server = await loop.create_unix_server(
                        self._connection, sock=opened, ssl=context, ssl_handshake_timeout=timeout, backlog=BACKLOG
                    )
                else:
                    urls.append(listener.url(opened.getsockname()[1]))
                    server = await loop.create_server(
                        self._connection, sock=opened, ssl=context, ssl_handshake_timeout=timeout, backlog=BACKLOG
                    )
                self._servers.append(server)
        except BaseException:
            self._close_sockets()
            raise
        self._ticking = asyncio.create_task(self._tick())
        return urls

    async def stop(self, drain_timeout_s: float) -> None:
        """Takes no more calls, lets those in flight end for so long, then cancels them."""
        self._close_sockets()
        if self._connections.opened:
            self._all_closed.clear()
            for connection in list(self._connections.opened):
                connection.drain()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), drain_timeout_s)
            for connection in list(self._connections.opened):
                connection.abort()
        self._inflater.close()
        if self._ticking is not None:
            self._ticking.cancel()

    def counts(self) -> Counts:
        """What it has to do, and has done."""
        return Counts(len(self._connections.opened), self._admission.calls, self._admission.refused)

    def _close_sockets(self) -> None:
        for server in self._servers:
            server.close()
        self._servers = []
        for listener in self._opened:  # not of one that another server has
            listener.remove()
        self._opened = []

    def _connection(self) -> asyncio.Protocol:
        if len(self._made) >= self._connections_max:
            return _Refused()
        connection = GrpcConnection(
            self._heads,
            self._limits,
            self._connections,
            self._admission,
            self._turns,
            self._inflater,
            self._polling,
            self._lost,
        )
        self._made.add(connection)  # those that are at TLS's handshake count too
        return connection

    def _lost(self) -> None:
        if not self._connections.opened:
            self._all_closed.set()

    async def _tick(self) -> None:
        while True:
            part = self._connections.tick_some()
            await asyncio.sleep(_TICK_S * part)


def _files_max() -> int:
    """How many files this process may open, once it has asked for as many as it is allowed to ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # where the system's own bound is lower
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class _Refused(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.abort()  # type: ignore[attr-defined]
