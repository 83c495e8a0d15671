"""Conversations, changed: whatever a peer sends, a session ends it with ProtocolError at most, a connection with nothing.

A corpus is recorded from our own two roles talking (calls of all kinds, header tables in use, windows, resets, GOAWAY), cut
into frames, changed in one to six places (bits, lengths, order; frames doubled, dropped, spliced in from elsewhere, made up),
and fed in random pieces: to a bare session of either role, or to a connection of the native engine with a transport that is
none and a table of methods of all kinds. ``python -m tests.hostile.frame_fuzz --sequences 1000000`` says how many of which,
how fast, and what the process holds at the end.
"""

import argparse
import asyncio
import ctypes
import gc
import logging
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

from featurestore_client.grpc_framing import frame as message
from featurestore_client.http2 import CANCEL, INTERNAL_ERROR, Headers, ProtocolError, Session
from featurestore_client.http2.event_loop import BusyPolling

from featurestore.errors import InvalidArgumentError
from featurestore.server.admission import Admission
from featurestore.server.context import CallContext
from featurestore.server.grpc_calls import RequestHeads
from featurestore.server.grpc_connection import ConnectionLimits, Connections, GrpcConnection
from featurestore.server.inflating import Inflater
from featurestore.server.methods import Method, StreamMethod, UnaryMethod
from featurestore.server.write_turns import WriteTurns
from tests.hostile import frames

CONNECTION_SHARE = 0.1
STEP_BYTES_MAX = 4 << 20
"""What one read, of at most some KB, may make us send: no amplifier."""

_OK = Headers([(b":status", b"200"), (b"content-type", b"application/grpc")])
_TRAILERS = Headers([(b"grpc-status", b"0")])
INFLATER = Inflater()
"""Of all connections, as in a server; no message here is long enough for its thread."""
_LIMITS = ConnectionLimits(
    message_bytes_max=2_000, streams_max=8, header_bytes_max=2_000, window_bytes=4_000, control_frames_max=60
)


class DefectError(Exception):
    """What must not happen did."""


# ------------------------------------------------------------------------------------------------------------------ methods


def _echo(data: bytes, context: CallContext) -> bytes:
    context.compress = data[:1] == b"z"
    if data[:1] == b"m":
        context.initial_metadata = (("x-initial", "1"),)
        context.trailing_metadata = (("x-trailing-bin", data[:100]),)
    return data


def _refuse(data: bytes, context: CallContext) -> bytes:
    raise InvalidArgumentError(f"no: {data[:2_000]!r} {dict(context.metadata)!r}")


async def _later(data: bytes) -> bytes:
    await asyncio.sleep(0)
    return data


async def _wait_forever(data: bytes) -> bytes:
    await asyncio.get_running_loop().create_future()
    return data


async def _stream_echo(requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request * 3


async def _stream_flood(requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
    async for _ in requests:
        for _ in range(40):
            yield bytes(20_000)


METHODS: dict[str, Method] = {
    method.path: method
    for method in (
        UnaryMethod("/f/Echo", _echo, inline=True),
        UnaryMethod("/f/Refuse", _refuse, inline=True),
        UnaryMethod("/f/Later", lambda data, _: _later(data), inline=True),
        UnaryMethod("/f/Task", lambda data, _: _later(data), inline=False),
        UnaryMethod("/f/Never", lambda data, _: _wait_forever(data), inline=True),
        StreamMethod("/f/StreamEcho", _stream_echo),
        StreamMethod("/f/StreamFlood", _stream_flood),
    )
}


# ------------------------------------------------------------------------------------------------------------------- corpus


def _head(path: str, *more: tuple[str, str]) -> Headers:
    pairs = [*frames.request_pairs(path), *more]
    return Headers([(name.encode(), value.encode() if isinstance(value, str) else value) for name, value in pairs])


def corpus(chance: random.Random) -> tuple[list[list[bytes]], list[list[bytes]]]:
    """Conversations as frames: what clients send, and what servers send."""
    by_clients, by_servers = [], []
    for _ in range(60):
        client = Session(client=True, window_bytes=chance.choice([100, 70_000]))
        server = Session(client=False, window_bytes=chance.choice([100, 70_000]))
        by_client, by_server = bytearray(), bytearray()

        def move(client: Session = client, server: Session = server, up: Any = by_client, down: Any = by_server) -> None:
            while True:
                sent, answered = client.take(), server.take()
                up += sent
                down += answered
                if not sent and not answered:
                    return
                for receiver, data in ((server, sent), (client, answered)):
                    for event in receiver.receive(data):
                        receiver.consume(event.stream_id, len(event.data))

        move()
        streams = []
        for _ in range(chance.randrange(1, 7)):
            body = message(chance.choice([b"", b"z", b"mark", b"x" * 50, b"y" * 900]), compress=chance.random() < 0.1)
            more = [("grpc-timeout", chance.choice(["1S", "50m", "0n"]))] if chance.random() < 0.3 else []
            more += [("x-some-bin", "YWJj")] if chance.random() < 0.3 else []
            more += [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")] if chance.random() < 0.3 else []
            stream = client.request(_head(chance.choice([*METHODS]), *more), body, end=chance.random() < 0.6)
            streams.append(stream)
            if chance.random() < 0.5:
                move()
        move()
        for stream in streams:
            kind = chance.randrange(6)
            if kind == 0:
                client.reset(stream, CANCEL)
            elif kind == 1:
                server.reset(stream, INTERNAL_ERROR)
            elif kind == 2:
                server.respond(stream, Headers([(b":status", b"200"), (b"grpc-status", b"5")]), b"", None)
            elif kind == 3:
                server.begin(stream, _OK)
                server.send(stream, message(b"first"))
                move()
                client.send(stream, message(b"more"))
                server.send(stream, message(b"second" * 50))
                client.end(stream, _TRAILERS if chance.random() < 0.2 else None)
                server.end(stream, _TRAILERS)
            else:
                server.respond(stream, _OK, message(b"answer" * chance.randrange(50)), _TRAILERS)
            if chance.random() < 0.3:
                client.ping()
            if chance.random() < 0.6:
                move()
        if chance.random() < 0.2:
            server.announce_shutdown()
            server.ping()
            move()
            server.goaway()
        move()
        by_clients.append(frames.frames_of(bytes(by_client)))
        by_servers.append(frames.frames_of(bytes(by_server)))
    by_clients += _hand_made()
    return by_clients, by_servers


def _hand_made() -> list[list[bytes]]:
    """What our own client never sends: padding, priorities, CONTINUATION, a table that is filled and used."""
    path = "/f/Echo"
    remembered = frames.block(frames.request_pairs(path), remembered=True)
    again = b"".join(frames.indexed(62 + index) for index in range(6))[::-1]
    pairs = frames.block(frames.request_pairs(path, x_long="y" * 300))
    body = message(b"hand-made")
    return [
        [frames.PREFACE, frames.settings((4, 100)), frames.headers(1, remembered), frames.data(1, body, end=True)]
        + [frames.headers(stream, again) + frames.data(stream, body, end=True) for stream in (3, 5, 7)],
        [
            frames.PREFACE,
            frames.settings((1, 0), (1, 4_096), (5, 1 << 20)),
            frames.headers(1, pairs[:100], end_headers=False),
            frames.frame(frames.CONTINUATION, 0, 1, pairs[100:200]),
            frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, pairs[200:]),
            frames.frame(frames.DATA, frames.PADDED, 1, b"\x05" + body[:7] + bytes(5)),
            frames.frame(frames.DATA, frames.PADDED | frames.END_STREAM, 1, b"\0" + body[7:]),
        ],
        [
            frames.PREFACE,
            frames.settings(),
            frames.frame(frames.PRIORITY, 0, 9, b"\0\0\0\3\x10"),
            frames.frame(
                frames.HEADERS,
                frames.PRIORITISED | frames.END_HEADERS | frames.PADDED,
                1,
                b"\x03" + b"\x80\0\0\0\xff" + remembered + bytes(3),
            ),
            frames.window_update(1, 1_000),
            frames.data(1, body),
            frames.headers(1, frames.block([("x-trailer", "1")]), end_stream=True),
            frames.frame(0x0C, 0, 0, b"unknown"),
            frames.reset(1),
        ],
    ]


# ---------------------------------------------------------------------------------------------------------------- mutations


REPEATED_BYTES_MAX = 1 << 20
"""What is repeated may be repeated again: a conversation of gigabytes would only take their time."""


def mutated(chance: random.Random, picked: list[bytes], others: list[list[bytes]]) -> list[bytes]:
    """A conversation with one to six things wrong with it."""
    sequence = list(picked)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        if not sequence:
            break
        place = chance.randrange(len(sequence))
        kind = chance.randrange(11)
        if kind <= 2:  # bits; a third of them in the frame's head
            changed = bytearray(sequence[place])
            reach = frames.HEAD_BYTES if kind == 0 else len(changed)
            changed[chance.randrange(min(reach, len(changed)))] ^= 1 << chance.randrange(8)
            sequence[place] = bytes(changed)
        elif kind == 3:
            other = chance.randrange(len(sequence))
            sequence[place], sequence[other] = sequence[other], sequence[place]
        elif kind == 4:
            sequence.insert(place, sequence[chance.randrange(len(sequence))])
        elif kind == 5:
            del sequence[place]
        elif kind == 6:  # a payload of another length, with the head right for it or not
            cut = sequence[place][frames.HEAD_BYTES :]
            cut = cut[: chance.randrange(len(cut) + 1)] + chance.randbytes(chance.choice((0, 0, 1, 20)))
            head = sequence[place][: frames.HEAD_BYTES]
            sequence[place] = (len(cut).to_bytes(3, "big") + head[3:] if chance.random() < 0.8 else head) + cut
        elif kind == 7:
            stream = chance.choice((0, 1, 1, 2, 3, 5, 99, 0x7FFFFFFF))
            noise = chance.randbytes(chance.choice((0, 1, 4, 5, 6, 8, 8, 30)))
            sequence.insert(place, frames.frame(chance.randrange(11), chance.randrange(64), stream, noise))
        elif kind == 8:  # of another conversation: its table of headers is not ours
            other_one = chance.choice(others)
            start = chance.randrange(len(other_one))
            sequence[place:place] = other_one[start : start + chance.randrange(1, 4)]
        elif kind == 9:
            special = (
                frames.reset(chance.choice((1, 3, 5))),
                frames.window_update(chance.choice((0, 1, 3)), chance.choice((0, 1, 65_535, 0x7FFFFFFF))),
                frames.settings((4, chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF)))),
                frames.settings((1, chance.choice((0, 64, 1 << 31)))),
                frames.frame(frames.GOAWAY, 0, 0, bytes(8)),
                frames.frame(frames.CONTINUATION, chance.choice((0, 4)), 1, chance.randbytes(10)),
                frames.data(chance.choice((1, 3)), chance.randbytes(5), end=chance.random() < 0.3),
                frames.ping(),
                frames.headers(chance.choice((1, 3, 9, 11)), chance.randbytes(chance.randrange(30)), end_stream=True),
                frames.headers(chance.choice((7, 9, 11)), frames.block(frames.request_pairs(chance.choice([*METHODS])))),
            )
            sequence.insert(place, chance.choice(special))
        else:
            times = chance.randrange(2, 80)
            sequence[place] *= min(times, max(1, REPEATED_BYTES_MAX // max(1, len(sequence[place]))))
    return sequence


def pieces(chance: random.Random, sequence: list[bytes]) -> Iterator[bytes]:
    """As a socket might give them."""
    joined = b"".join(sequence)
    way = chance.randrange(4)
    if way == 0:
        yield joined
    elif way == 1:
        yield from sequence
    else:
        position = 0
        while position < len(joined):
            size = chance.choice((1, 5, 9, 40, 300, 5_000))
            yield joined[position : position + size]
            position += size


# ------------------------------------------------------------------------------------------------------------------ feeding


def feed_server_session(chance: random.Random, sequence: list[bytes]) -> str:
    """Answers in every way, at random, and looks whether any of it raises."""
    session = Session(
        client=False, apart=b"grpc-timeout", window_bytes=4_000, streams_max=8, header_bytes_max=2_000, control_frames_max=60
    )
    begun: list[int] = []
    for piece in pieces(chance, sequence):
        try:
            events = session.receive(piece)
        except ProtocolError:
            _drain(session)
            _after(session, chance, begun)
            return "refused"
        for event in events:
            stream = event.stream_id
            if event.head is not None:
                event.head.decode("latin-1").split("\0")
            kind = chance.randrange(12)
            if kind <= 2:
                session.respond(stream, _OK, event.data, _TRAILERS)
            elif kind == 3:
                # Headers that only the session keeps.
                session.respond(stream, Headers([(b":status", b"200"), (b"x", b"%d" % stream)]), b"", None)
            elif kind <= 5:
                session.begin(stream, Headers([(b":status", b"200"), (b"y", b"%d" % chance.randrange(9))]))
                session.send(stream, bytes(chance.choice((0, 5, 20_000))))
                begun.append(stream)
            elif kind == 6:
                session.reset(stream, chance.choice((0, 7, 8)))
            elif kind == 7:
                session.end(stream, Headers([(b"z", b"1" * chance.choice((1, 5, 70_000)))]))
            if chance.random() < 0.7:
                session.consume(stream, len(event.data))
        if begun and chance.random() < 0.3:
            stream = chance.choice(begun)
            session.send(stream, b"more")
            if chance.random() < 0.5:
                session.end(stream, Headers([(b"grpc-status", b"0"), (b"x", piece[:20].hex().encode())]))
        if chance.random() < 0.7:
            _drain(session, chance.choice((1, 500, 1 << 18)))
    _after(session, chance, begun)
    return "whole" if session.wants_read else "ended"


def feed_client_session(chance: random.Random, sequence: list[bytes]) -> str:
    """Asks, and reads what a server would answer."""
    session = Session(client=True, window_bytes=4_000, header_bytes_max=2_000, control_frames_max=60)
    asked: list[int] = []
    for _ in range(6):
        asked.append(session.request(Headers([(b":method", b"POST"), (b":path", b"/a"), (b":scheme", b"http")]), b"x", False))
    _drain(session)
    for piece in pieces(chance, sequence):
        try:
            events = session.receive(piece)
        except ProtocolError:
            _drain(session)
            _after(session, chance, asked)
            return "refused"
        for event in events:
            if chance.random() < 0.7:
                session.consume(event.stream_id, len(event.data))
        action = chance.randrange(8)
        stream = chance.choice(asked)
        if action == 0:
            session.send(stream, bytes(chance.choice((1, 30_000))))
        elif action == 1:
            session.end(stream)
        elif action == 2:
            session.reset(stream, CANCEL)
        elif action == 3:
            try:
                head = Headers([(b":method", b"POST"), (b":path", b"/b"), (b":scheme", b"http"), (b"x", b"%d" % stream)])
                asked.append(session.request(head, b"y", chance.random() < 0.5))
            except ProtocolError:
                pass  # the server said that it goes away
        if chance.random() < 0.7:
            _drain(session, chance.choice((1, 500, 1 << 18)))
    _after(session, chance, asked)
    return "whole" if session.wants_read else "ended"


def _drain(session: Session, bytes_max: int = 1 << 18) -> None:
    sent = 0
    while data := session.take(bytes_max):
        if len(data) > bytes_max + 70_000:
            raise DefectError(f"take({bytes_max}) gave {len(data)} bytes")
        sent += len(data)
        if sent > STEP_BYTES_MAX:
            raise DefectError(f"{sent} bytes to send")
    session.drained()
    session.events()


def _after(session: Session, chance: random.Random, streams: list[int]) -> None:
    """What a server or client still calls when the end has come."""
    for stream in streams[:3]:
        session.send(stream, b"late")
        session.end(stream, _TRAILERS)
        session.consume(stream, 10)
        session.reset(stream, CANCEL)
    if chance.random() < 0.3:
        session.goaway()
    if chance.random() < 0.3:
        session.terminate(CANCEL)
    _drain(session)
    if session.unsent_bytes < 0 or session.open_streams > max(200, len(streams)):  # what it asked itself may be more
        raise DefectError(f"{session.unsent_bytes} bytes unsent, {session.open_streams} streams")


class NoTransport:
    """Takes what is written; now and then it has enough for a while."""

    def __init__(self, chance: random.Random) -> None:
        self.written = bytearray()
        self._is_closing = False
        self.protocol: GrpcConnection | None = None
        self._chance = chance

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 1) if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None:
        """All is taken."""

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """What comes is fed all the same, as what a loop has read already would be."""

    def resume_reading(self) -> None:
        """Likewise."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Likewise: all is fed to the connection itself, however much it is."""

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True

    abort = close

    def write(self, data: bytes) -> None:
        self.written += data
        if self.protocol is not None and self._chance.random() < 0.05:
            self.protocol.pause_writing()


async def feed_connection(chance: random.Random, sequence: list[bytes]) -> str:
    """A connection of the native engine, from its first byte to the last call's end."""
    connections = Connections(_LIMITS)
    loop = asyncio.get_running_loop()
    connection = GrpcConnection(
        RequestHeads(METHODS, 2_000),
        _LIMITS,
        connections,
        Admission(loop.call_soon),
        WriteTurns(loop),
        INFLATER,
        BusyPolling(loop, 0),
        lambda: None,
    )
    transport = NoTransport(chance)
    connection.connection_made(cast(asyncio.Transport, transport))
    transport.protocol = connection
    for piece in pieces(chance, sequence):
        if transport.is_closing():
            break
        before = len(transport.written)
        connection.data_received(piece)
        if chance.random() < 0.3:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if chance.random() < 0.1:
            connection.resume_writing()
        if len(transport.written) - before > STEP_BYTES_MAX:
            raise DefectError(f"{len(transport.written) - before} bytes written for {len(piece)}")
    if chance.random() < 0.2:
        connection.drain()
    connection.tick(time.monotonic() + chance.choice((0, 0, 30, 100)))
    outcome = "ended" if transport.is_closing() else "whole"
    transport.close()
    connection.connection_lost(None)
    for _ in range(4):
        await asyncio.sleep(0)
    if connection._calls or connections.opened or connections.held_bytes or connections._unsent_bytes:
        raise DefectError(f"left behind: {vars(connections)}, calls {connection._calls}")
    _check_answers(transport.written)
    return outcome


def _check_answers(written: bytearray) -> None:
    """What was sent is frames, none above what a peer must take by default."""
    for kind, _, stream, payload in frames.split(written):
        if len(payload) > frames.FRAME_BYTES_MAX or kind > frames.CONTINUATION or stream < 0:
            raise DefectError(f"a frame of kind {kind} and {len(payload)} bytes was sent")
    if written:
        raise DefectError(f"half a frame was sent: {bytes(written[:20])!r}")


# -------------------------------------------------------------------------------------------------------------------- runs


class _NoDefects(logging.Handler):
    """The log of what should not happen: handlers' defects, exceptions of tasks that nobody awaits."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


class Fuzz:
    """A run of sequences, each made from the seed and its number alone, so that one can be repeated."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.outcomes: Counter[str] = Counter()
        self._by_clients, self._by_servers = corpus(random.Random(seed))
        self._log = _NoDefects()

    async def one(self, number: int) -> None:
        """Raises with the seed, the number and the bytes."""
        chance = random.Random(f"{self.seed}/{number}")
        role = chance.random()
        corpus_of_role = self._by_servers if CONNECTION_SHARE < role < (1 + CONNECTION_SHARE) / 2 else self._by_clients
        sequence = mutated(chance, chance.choice(corpus_of_role), corpus_of_role)
        try:
            if role <= CONNECTION_SHARE:
                outcome = "connection " + await feed_connection(chance, sequence)
            elif corpus_of_role is self._by_servers:
                outcome = "client " + feed_client_session(chance, sequence)
            else:
                outcome = "server " + feed_server_session(chance, sequence)
            if self._log.records:
                raise DefectError(self._log.records[0])
        except Exception as error:
            raise DefectError(f"seed {self.seed}, sequence {number}, {b''.join(sequence).hex()}: {error!r}") from error
        self.outcomes[outcome] += 1

    async def run(self, sequences: int, seconds: float, report: bool = False) -> None:
        """So many, or as many as fit in the time."""
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        unraisable: list[str] = []
        hook, sys.unraisablehook = sys.unraisablehook, lambda raised: unraisable.append(repr(raised.exc_value))
        loop.set_exception_handler(lambda _, context: self._log.records.append(str(context)))
        logging.getLogger().addHandler(self._log)
        settled = 0
        try:
            for number in range(sequences):
                await self.one(number)
                if unraisable:
                    raise DefectError(f"seed {self.seed}, sequence {number}: {unraisable[0]}")
                if number % 1_000 == 999:
                    if number + 1 == max(2_000, sequences // 10):
                        settled = _resident_bytes()
                    if time.monotonic() - started > seconds:
                        break
                    if report and number % 50_000 == 49_999:
                        self.tell(time.monotonic() - started)
        finally:
            sys.unraisablehook = hook
            logging.getLogger().removeHandler(self._log)
        grown = _resident_bytes() - settled
        if settled and grown > 64 << 20:
            raise DefectError(f"the process grew by {grown} bytes")
        if report:
            self.tell(time.monotonic() - started)
            print(f"grew by {grown / (1 << 20):.1f} MiB after the first tenth")

    def tell(self, seconds: float) -> None:
        """How far it is."""
        total = self.outcomes.total()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
        outcomes = ", ".join(f"{name}: {count}" for name, count in sorted(self.outcomes.items()))
        print(f"{total} sequences in {seconds:.0f} s ({total / seconds:.0f}/s), {peak:.0f} MiB at most; {outcomes}", flush=True)


def _resident_bytes() -> int:
    """Of what is in use: garbage may wait for long in a process with many objects, and a sparse heap is not given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description="mutated HTTP/2 conversations, against the session and the native engine")
    parser.add_argument("--sequences", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", type=int, help="repeats this one of the seed's sequences")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    fuzz = Fuzz(arguments.seed)
    if arguments.only is not None:
        asyncio.run(fuzz.one(arguments.only))
    else:
        asyncio.run(fuzz.run(arguments.sequences, float("inf"), report=True))


if __name__ == "__main__":
    main()
