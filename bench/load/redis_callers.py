"""Redis as a feature server's peer for a Python caller: a raw socket, the floor of any client, and redis-py as people use it.

All hold one connection over TCP, and block. Over the raw socket requests are the commands' bytes, made before; a method is the
size of the values to get (so that it knows when it has all of one), or how many commands that set values are sent at once. Of
redis-py a method is a command, and a request a key or keys.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import redis

from bench.dataset import FEATURES, Floats
from bench.load.callers import Bind, BlockingOnly, plain_socket

HOST = "127.0.0.1"
RECEIVED_BYTES_MAX = 1 << 16


def get_command(key: bytes) -> bytes:
    """GET as it goes over the wire."""
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key)


def set_command(rows: Sequence[tuple[bytes, bytes]]) -> bytes:
    """SET of one row, MSET of several, as it goes over the wire."""
    parts = [b"MSET" if len(rows) > 1 else b"SET", *chain.from_iterable(rows)]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


OK = b"+OK\r\n"
_FAILURES = (OSError, redis.RedisError)


@dataclass(frozen=True)
class RedisRaw(BlockingOnly):
    """``GET`` over a plain socket: one send, and as many receives as the answer takes."""

    port: int
    failures = _FAILURES

    @contextmanager
    def blocking(self, timeout_s: float) -> Iterator[Bind]:
        with plain_socket(f"{HOST}:{self.port}") as connection:
            yield partial(_getter, connection)

    def rows(self, answer: bytes) -> Floats:
        return np.frombuffer(answer, np.float32).reshape(-1, FEATURES)


def _getter(connection: socket.socket, value_bytes: str) -> Callable[[bytes], bytes]:
    send, receive = connection.sendall, connection.recv
    head = b"$" + value_bytes.encode() + b"\r\n"
    start, stop = len(head), len(head) + int(value_bytes)
    size = stop + len(b"\r\n")

    def get(command: bytes) -> bytes:
        send(command)
        answer = more = receive(RECEIVED_BYTES_MAX)
        while len(answer) < size:
            if not more or answer[:start] != head[: len(answer)]:
                raise ConnectionError(f"redis-server answers {answer[:80]!r}, expected a value of {value_bytes} bytes")
            more = receive(RECEIVED_BYTES_MAX)
            answer += more
        return answer[start:stop]

    return get


@dataclass(frozen=True)
class RedisSet(BlockingOnly):
    """``SET``, pipelined, or ``MSET``: a request is all commands in one send, a method how many they are."""

    port: int
    failures = (OSError,)

    @contextmanager
    def blocking(self, timeout_s: float) -> Iterator[Bind]:
        with plain_socket(f"{HOST}:{self.port}") as connection:
            yield partial(_setter, connection)

    def rows(self, answer: bytes) -> Floats:
        raise NotImplementedError("SET answers no values")


def _setter(connection: socket.socket, commands: str) -> Callable[[bytes], bytes]:
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


@dataclass(frozen=True)
class RedisPy(BlockingOnly):
    """redis-py with hiredis, its answer made a matrix: ``GET`` of one packed row, ``MGET`` of many."""

    port: int
    failures = _FAILURES

    @contextmanager
    def blocking(self, timeout_s: float) -> Iterator[Bind]:
        with redis.Redis(HOST, self.port, single_connection_client=True) as client:
            get, mget = client.get, client.mget
            frombuffer, float32 = np.frombuffer, np.dtype(np.float32)

            def get_row(key: bytes) -> Any:
                return frombuffer(get(key), float32)

            def get_rows(keys: list[bytes]) -> Any:
                return frombuffer(b"".join(mget(keys)), float32).reshape(-1, FEATURES)

            calls: dict[str, Callable[[Any], Any]] = {"GET": get_row, "MGET": get_rows}
            yield calls.__getitem__

    def rows(self, answer: Floats) -> Floats:
        return answer.reshape(-1, FEATURES)
