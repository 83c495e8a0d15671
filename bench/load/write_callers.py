"""Writers whose requests were made before, bytes for bytes: what is timed is the server, and as little of a client as can be.

Both hold one connection over TCP, and block.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import featurestore_client
from featurestore_client.tls import Tls
from featurestore_client.transports import open_transport

from bench import wire
from bench.dataset import Floats
from bench.load.callers import Bind, BlockingOnly
from bench.load.redis_callers import HOST

OK = b"+OK\r\n"


@dataclass(frozen=True)
class NativeBytes(BlockingOnly):
    """Our client's transport: a method is its path, a request an encoded message."""

    url: str
    failures = (featurestore_client.FeatureStoreError,)

    @contextmanager
    def blocking(self, timeout_s: float) -> Iterator[Bind]:
        transport = open_transport(self.url, Tls(), None, kind="auto", balancing="round_robin", busy_poll_us=None)
        try:
            yield lambda path: partial(transport.unary, path, timeout_s=timeout_s)
        finally:
            transport.close()

    def rows(self, answer: bytes) -> Floats:
        return wire.matrix(answer)


@dataclass(frozen=True)
class RedisPipeline(BlockingOnly):
    """``SET`` pipelined: a request is all commands in one send, a method how many they are."""

    port: int
    failures = (OSError,)

    @contextmanager
    def blocking(self, timeout_s: float) -> Iterator[Bind]:
        with socket.create_connection((HOST, self.port), timeout_s) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(None)
            yield partial(_pipeline, connection)

    def rows(self, answer: bytes) -> Floats:
        raise NotImplementedError("SET answers no values")


def _pipeline(connection: socket.socket, commands: str) -> Callable[[bytes], bytes]:
    expected = OK * int(commands)

    def send(request: bytes) -> bytes:
        connection.sendall(request)
        answer = b""
        while len(answer) < len(expected):
            more = connection.recv(1 << 16)
            if not more:
                raise ConnectionError("redis-server ended the connection")
            answer += more
        if answer != expected:
            raise ConnectionError(f"redis-server answers {answer[:80]!r}, expected OK {commands} times")
        return answer

    return send


def set_command(key: bytes, value: bytes) -> bytes:
    """SET as it goes over the wire."""
    return b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(value), value)
