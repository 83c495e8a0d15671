"""What two sockets alone cost: as many bytes there and back as a call has, and nothing done with them.

Both ends look for what comes next without sleeping, as our engine and our client do. So this is what the kernel takes of a
call of theirs, over TCP and over a unix socket, and how far one can be ahead of the other at most.
"""

import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from bench.cores import ANY
from bench.dataset import Floats
from bench.load.callers import CONNECT_TIMEOUT_S, Bind, BlockingOnly
from bench.spawned import SpawnedServer

SIZES = Struct(">II")
"""Sent first on a connection: the bytes of each request that follows, and of each answer."""
RECEIVED_BYTES_MAX = 1 << 16


@dataclass(frozen=True)
class BareSocket(BlockingOnly):
    """A connection to a ``SocketServer``, at its port or the path of its unix socket. Nobody looks at what goes over it."""

    address: tuple[str, int] | str
    request_bytes: int
    answer_bytes: int
    failures = (OSError,)

    @contextmanager
    def blocking(self, timeout_s: float) -> Iterator[Bind]:
        with socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET) as connection:
            connection.settimeout(CONNECT_TIMEOUT_S)
            connection.connect(self.address)
            _send_at_once(connection)
            connection.sendall(SIZES.pack(self.request_bytes, self.answer_bytes))
            connection.setblocking(False)
            call = self._caller(connection)
            yield lambda method: call

    def _caller(self, connection: socket.socket) -> Callable[[object], None]:
        request, size = bytes(self.request_bytes), self.answer_bytes

        def call(asked: object) -> None:
            connection.send(request)
            _take(connection, size)

        return call

    def rows(self, answer: object) -> Floats:
        raise NotImplementedError("bare sockets answer no values")


class SocketServer(SpawnedServer):
    """Answers one connection at a time, on a TCP port and on a unix socket in ``directory``."""

    def __init__(self, directory: Path, *, cores: frozenset[int] = ANY) -> None:
        self.path = str(directory / "bare.sock")
        super().__init__("the server of bare sockets", _serve, self.path, cores=cores)
        self.address: tuple[str, int] = self.place


def _serve(path: str, ready: Callable[[tuple[str, int]], None]) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix, selectors.DefaultSelector() as selector:
        tcp.bind(("127.0.0.1", 0))
        unix.bind(path)
        for listener in (tcp, unix):
            listener.listen()
            selector.register(listener, selectors.EVENT_READ, listener)
        ready(tcp.getsockname())
        while True:
            for key, _ in selector.select():
                with key.data.accept()[0] as connection, suppress(ConnectionError):
                    _answer(connection)


def _answer(connection: socket.socket) -> None:
    """Until the other end is gone: ConnectionError."""
    _send_at_once(connection)
    sizes = connection.recv(SIZES.size, socket.MSG_WAITALL)
    if len(sizes) < SIZES.size:
        return
    request_bytes, answer_bytes = SIZES.unpack(sizes)
    answer = bytes(answer_bytes)
    connection.setblocking(False)
    while True:
        _take(connection, request_bytes)
        connection.send(answer)


def _take(connection: socket.socket, size: int) -> None:
    receive, taken = connection.recv, 0
    while taken < size:
        try:
            received = receive(RECEIVED_BYTES_MAX)
        except BlockingIOError:
            continue
        if not received:
            raise ConnectionError("the other end is gone")
        taken += len(received)


def _send_at_once(connection: socket.socket) -> None:
    if connection.family == socket.AF_INET:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
