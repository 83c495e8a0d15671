"""gRPC over a plain socket: requests are frames made before, and an answer is compared with what is expected to surround it.

What ``RedisRaw`` and ``RedisSet`` are to Redis: the least that a client in Python can do, so that two servers can be
compared by it. One call at a time over one connection; a method is a path, a request ``framed``. An answer is taken apart only
where it is another one than the last, but for the number of its stream.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from featurestore_client.grpc_framing import frame

from bench import wire
from bench.dataset import Floats
from bench.load.callers import Bind, BlockingOnly, plain_socket
from bench.load.redis_callers import RECEIVED_BYTES_MAX

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
FRAME = Struct(">IBI")
"""The head of a frame as RFC 9113, 4.1 has it: its length and, in the last byte of four, its type; flags; stream."""
FRAME_BYTES_MAX = 16_384
PREFIX_BYTES = 5
WINDOW_BYTES = 65_535
WINDOW_BYTES_MAX = (1 << 31) - 1
_STREAM = Struct(">I")
_STREAM_AT = 5


class Framed(NamedTuple):
    """A request as it goes over the wire, but for the number of its stream."""

    frames: bytearray
    places: tuple[int, ...]
    """Where that stands."""
    credit_bytes: int
    """How much it takes of the connection's window."""


def framed(path: str, message: bytes) -> Framed:
    """The frames of one call: its head, and its message in as many as that takes."""
    data = frame(message)
    frames, places = bytearray(_frame(HEADERS, END_HEADERS, _head(path))), [_STREAM_AT]
    for start in range(0, len(data), FRAME_BYTES_MAX):
        places.append(len(frames) + _STREAM_AT)
        part = data[start : start + FRAME_BYTES_MAX]
        frames += _frame(DATA, END_STREAM if start + len(part) == len(data) else 0, part)
    return Framed(frames, tuple(places), len(data))


@dataclass(frozen=True)
class BareGrpc(BlockingOnly):
    """A server's ``host:port``."""

    address: str
    failures = (OSError,)

    @contextmanager
    def blocking(self, timeout_s: float) -> Iterator[Bind]:
        with plain_socket(self.address) as connection:
            # Its answers may take all there is, so that no window is ever given back.
            window = _frame(WINDOW_UPDATE, 0, (WINDOW_BYTES_MAX - WINDOW_BYTES).to_bytes(4, "big"))
            connection.sendall(PREFACE + _frame(SETTINGS, 0, b"") + window)
            call = _caller(connection)
            yield lambda path: call

    def rows(self, answer: bytes) -> Floats:
        return wire.matrix(answer)


def _caller(connection: socket.socket) -> Callable[[Framed], bytes]:
    send, receive = connection.sendall, connection.recv
    put, number = _STREAM.pack_into, _STREAM.pack
    stream, credit = -1, WINDOW_BYTES
    last = _Answer((PREFACE,), b"")  # which no server answers

    def call(request: Framed) -> bytes:
        nonlocal stream, credit, last
        stream += 2
        frames, places, needed = request
        for place in places:
            put(frames, place, stream)
        received, at = b"", 0
        while credit < needed:
            received += receive(RECEIVED_BYTES_MAX)
            credit, at = _window(received, at, credit, connection)
        send(frames)
        credit -= needed
        if not received:
            received = receive(RECEIVED_BYTES_MAX)
            if received == number(stream).join(last.around):
                return last.message
            if (whole := _Answer.of(received, stream)) is not None:
                last = whole
                return whole.message
        answer = b""
        while True:
            for kind, flags, of_stream, start, end in _frames(received, at):
                if kind == HEADERS:
                    if flags & END_STREAM:
                        if not answer:
                            raise ConnectionError("the server answers with an error, expected a message")
                        return answer[PREFIX_BYTES:]
                elif kind == DATA:
                    answer += received[start:end]
                elif kind == WINDOW_UPDATE:
                    if of_stream == 0:
                        credit += int.from_bytes(received[end - 4 : end], "big")
                else:
                    _other(kind, flags, connection)
                at = end
            more = receive(RECEIVED_BYTES_MAX)
            if not more:
                raise ConnectionError("the server ended the connection")
            received, at = received[at:] + more, 0

    return call


class _Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    start: int
    """Where what it carries begins."""
    end: int


def _frames(received: bytes, at: int) -> Iterator[_Frame]:
    """Those that are whole, from there on."""
    while len(received) - at >= FRAME.size:
        length_and_type, flags, stream = FRAME.unpack_from(received, at)
        start, at = at + FRAME.size, at + FRAME.size + (length_and_type >> 8)
        if len(received) < at:
            return
        yield _Frame(length_and_type & 0xFF, flags, stream, start, at)


class _Answer(NamedTuple):
    """One that came whole, in three frames: what stands around the numbers of its stream, and its message."""

    around: tuple[bytes, ...]
    message: bytes

    @classmethod
    def of(cls, received: bytes, stream: int) -> "_Answer | None":
        """None where it is anything else."""
        frames = [*_frames(received, 0)]
        if [(each.kind, each.stream) for each in frames] != [(HEADERS, stream), (DATA, stream), (HEADERS, stream)]:
            return None
        if frames[-1].end != len(received) or not frames[-1].flags & END_STREAM:
            return None
        if frames[1].end - frames[1].start < PREFIX_BYTES:
            return None
        numbers = [each.start - _STREAM.size for each in frames]
        begins = [0, *(each.start for each in frames)]
        around = tuple(received[begin:end] for begin, end in zip(begins, (*numbers, len(received)), strict=True))
        return cls(around, received[frames[1].start + PREFIX_BYTES : frames[1].end])


def _window(received: bytes, at: int, credit: int, connection: socket.socket) -> tuple[int, int]:
    """Reads frames that come between calls; returns the connection's window by them, and where they end."""
    for kind, flags, of_stream, _, end in _frames(received, at):
        if kind != WINDOW_UPDATE:
            _other(kind, flags, connection)
        elif of_stream == 0:
            credit += int.from_bytes(received[end - 4 : end], "big")
        at = end
    return credit, at


def _other(kind: int, flags: int, connection: socket.socket) -> None:
    if kind in (RST_STREAM, GOAWAY):
        raise ConnectionError(f"the server ends a call or the connection: frame of type {kind}")
    if kind == SETTINGS and not flags & ACK:
        connection.sendall(_frame(SETTINGS, ACK, b""))


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    return FRAME.pack(len(payload) << 8 | kind, flags, 0) + payload


def _head(path: str) -> bytes:
    """By RFC 7541, with nothing kept for the next: the static table's POST and http, and names of it (4, 1, 31) or none."""
    fields = ((b"\x04", path), (b"\x01", "bench"), (b"\x0f\x10", "application/grpc"), (b"\x00\x02te", "trailers"))
    return b"\x83\x86" + b"".join(name + bytes([len(value)]) + value.encode() for name, value in fields)
