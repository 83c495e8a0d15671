"""The native transport against servers that behave oddly: nothing is lost, sent twice, or waited for without end."""

import asyncio
import gzip
import queue
import signal
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import featurestore_client
import pytest
import uvloop
from featurestore_client import (
    CancelledError,
    DeadlineExceededError,
    FeatureStoreError,
    InternalError,
    ResourceExhaustedError,
    RetryPolicy,
    UnavailableError,
    UnimplementedError,
)
from featurestore_client.transport import SERVICE
from featurestore_client.wire import featurestore_raw_pb2 as wire

http2 = pytest.importorskip("featurestore_client.http2")

ONCE = RetryPolicy(attempts_max=1)
Connect = Callable[..., Any]
LIST_TABLES = SERVICE + "ListTables"
ECHO = SERVICE + "IngestFeatures"
HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]


def answering(connection: Any) -> None:
    """A script: answers everything, with nothing in it."""
    for stream_id, _, _ in connection.requests():
        connection.answer(stream_id)


def messages(events: list[Any]) -> list[int]:
    return [event.stream_id for event in events if event.ended]


# ----------------------------------------------------------------------------------- what the server cannot have seen


def test_calls_use_one_connection_again(http2_server: Any, connect_native: Connect) -> None:
    server = http2_server(answering)
    client = connect_native(server.address)
    for _ in range(5):
        client.list_tables()
    assert len(server.connections) == 1


def test_a_connection_that_was_closed_while_idle_is_replaced(http2_server: Any, connect_native: Connect) -> None:
    closed: queue.Queue[None] = queue.Queue()

    def script(connection: Any) -> None:
        requests = connection.requests()
        for _ in range(3):
            stream_id, _, _ = next(requests)
            connection.answer(stream_id)
        connection.socket.shutdown(socket.SHUT_RDWR)
        closed.put(None)

    server = http2_server(script)
    client = connect_native(server.address, retry=ONCE)
    for count in range(1, 5):
        for _ in range(3):
            client.apply({})  # which is never done twice
        closed.get(timeout=10)
        assert len(server.connections) == count


def test_a_server_that_leaves_between_calls_is_left(http2_server: Any, connect_native: Connect) -> None:
    left: queue.Queue[None] = queue.Queue()

    def script(connection: Any) -> None:
        for stream_id, _, _ in connection.requests():
            connection.answer(stream_id)
            connection.session.goaway()
            connection.flush()
            left.put(None)

    server = http2_server(script)
    client = connect_native(server.address, retry=ONCE)
    for count in range(1, 4):
        client.apply({})
        left.get(timeout=10)
        assert len(server.connections) == count


def test_a_call_that_met_goaway_on_its_way_is_made_again(http2_server: Any, connect_native: Connect) -> None:
    seen: list[int] = []

    def script(connection: Any) -> None:
        if connection.number == 0:
            stream_id, _, _ = next(connection.requests())
            connection.answer(stream_id)
            connection.socket.recv(1 << 16)  # the next call, which the session never sees
            connection.session.goaway()
            connection.flush()
        for stream_id, _, _ in connection.requests():
            seen.append(connection.number)
            connection.answer(stream_id)

    server = http2_server(script)
    client = connect_native(server.address, retry=ONCE)
    client.list_tables()
    client.apply({}, timeout_s=10)
    assert seen == [1]


def test_a_refused_stream_is_made_again_but_not_for_ever(http2_server: Any, connect_native: Connect) -> None:
    refusals = {0}

    def script(connection: Any) -> None:
        for stream_id, _, _ in connection.requests():
            if connection.number in refusals:
                connection.session.reset(stream_id, http2.REFUSED_STREAM)
                connection.flush()
            else:
                connection.answer(stream_id)

    server = http2_server(script)
    client = connect_native(server.address, retry=ONCE)
    client.apply({})
    assert len(server.connections) == 2
    refusals.update(range(100))
    with pytest.raises(UnavailableError, match="refused"):
        client.apply({})
    assert len(server.connections) <= 6


# --------------------------------------------------------------------------------- what the server may have seen


def test_a_connection_that_breaks_under_a_call_is_an_error_and_no_second_call(
    http2_server: Any, connect_native: Connect
) -> None:
    seen: list[str] = []

    def script(connection: Any) -> None:
        for _, method, _ in connection.requests():
            seen.append(method)
            return

    server = http2_server(script)
    client = connect_native(server.address)
    with pytest.raises(UnavailableError, match=rf"the connection was lost: .*\(server {server.address}\)"):
        client.apply({})
    assert seen == ["Apply"]
    with pytest.raises(UnavailableError):
        connect_native(server.address, retry=RetryPolicy(attempts_max=3, backoff_s=0.001)).list_tables()
    assert seen == ["Apply"] + ["ListTables"] * 3


def test_silence_ends_at_the_deadline_and_the_server_is_told(http2_server: Any, connect_native: Connect) -> None:
    told: queue.Queue[int] = queue.Queue()

    def script(connection: Any) -> None:
        for event in connection.events():
            if event.error_code != http2.NEVER:
                told.put(event.error_code)

    server = http2_server(script)
    client = connect_native(server.address)
    started_s = time.monotonic()
    with pytest.raises(DeadlineExceededError, match=r"ListTables did not end within 0\.2 s"):
        client.list_tables(timeout_s=0.2)
    assert 0.2 <= time.monotonic() - started_s < 2
    assert told.get(timeout=10) == http2.CANCEL


def test_a_deadline_holds_however_slowly_an_answer_drips(http2_server: Any, connect_native: Connect) -> None:
    over = threading.Event()

    def script(connection: Any) -> None:
        for stream_id, _, _ in connection.requests():
            connection.session.begin(stream_id, http2.Headers(HEAD))
            for pause_s in (0.1, 0.7):  # and then nothing any more
                over.wait(pause_s)
                connection.session.send(stream_id, b"\0")
                connection.flush()

    server = http2_server(script)
    started_s = time.monotonic()
    try:
        with pytest.raises(DeadlineExceededError):
            connect_native(server.address).list_tables(timeout_s=1.0)
        assert 1.0 <= time.monotonic() - started_s < 1.6
    finally:
        over.set()


def test_a_slow_handshake_is_part_of_the_time(certificates: Path, connect_native: Connect) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.set_alpn_protocols(["h2"])
    over = threading.Event()

    def accept() -> None:
        accepted, _ = listening.accept()
        over.wait(1.5)
        with suppress(OSError), context.wrap_socket(accepted, server_side=True):
            over.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept)
        thread.start()
        address = f"grpcs://127.0.0.1:{listening.getsockname()[1]}"
        client = connect_native(address, ca_certificate=certificates / "ca.pem", server_name="store.test", retry=ONCE)
        started_s = time.monotonic()
        try:
            with pytest.raises(DeadlineExceededError):
                client.list_tables(timeout_s=2.0)
            assert 2.0 <= time.monotonic() - started_s < 3.2
        finally:
            over.set()
            thread.join(10)


def test_a_call_that_was_refused_late_is_made_again_for_the_rest_of_its_time(
    http2_server: Any, connect_native: Connect
) -> None:
    over = threading.Event()

    def script(connection: Any) -> None:
        if connection.number == 0:
            stream_id, _, _ = next(connection.requests())
            over.wait(1.5)
            connection.session.reset(stream_id, http2.REFUSED_STREAM)
            connection.flush()
        over.wait(20)  # without a word

    client = connect_native(http2_server(script).address, retry=ONCE)
    started_s = time.monotonic()
    try:
        with pytest.raises(DeadlineExceededError, match=r"did not end within 2 s"):
            client.list_tables(timeout_s=2.0)
        assert 2.0 <= time.monotonic() - started_s < 3.2
    finally:
        over.set()


@pytest.mark.parametrize("size", [1, 8 << 20], ids=["receiving", "sending"])
def test_signals_do_not_prolong_a_wait(http2_server: Any, size: int) -> None:
    over = threading.Event()
    server = http2_server(lambda _connection: over.wait(60))
    signals = 0

    def handle(*_: object) -> None:
        nonlocal signals
        signals += 1
        if signals == 100:  # else a wait that each of them prolongs would have no end
            signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(signal.SIGALRM, handle)
    try:
        with featurestore_client.connect(server.address, transport="native") as client:
            signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
            with pytest.raises(DeadlineExceededError):
                client._transport.unary(LIST_TABLES, bytes(size), timeout_s=1.0)
        assert 5 < signals < 50
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        over.set()


@pytest.mark.parametrize(
    ("code", "error"),
    [(http2.INTERNAL_ERROR, InternalError), (http2.CANCEL, CancelledError), (http2.ENHANCE_YOUR_CALM, ResourceExhaustedError)],
)
def test_a_stream_that_is_reset_is_an_error(
    http2_server: Any, connect_native: Connect, code: int, error: type[FeatureStoreError]
) -> None:
    def script(connection: Any) -> None:
        for stream_id, _, _ in connection.requests():
            connection.session.reset(stream_id, code)
            connection.flush()

    with pytest.raises(error, match=f"ListTables was broken off with HTTP/2 error {code}"):
        connect_native(http2_server(script).address).list_tables()


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ([(b":status", b"502"), (b"content-type", b"text/html")], UnavailableError, "HTTP status 502"),
        ([(b":status", b"404")], UnimplementedError, "HTTP status 404"),
        ([(b":status", b"200"), (b"content-type", b"text/html")], InternalError, "content-type text/html"),
        ([(b":status", b"200"), (b"content-type", b"application/grpc")], InternalError, "ended without grpc-status"),
        ([(b"content-type", b"application/grpc")], InternalError, "HTTP/2 error 1"),  # which HTTP/2 itself forbids
    ],
)
def test_what_is_not_grpc_is_an_error(
    http2_server: Any,
    connect_native: Connect,
    pairs: list[tuple[bytes, bytes]],
    error: type[FeatureStoreError],
    message: str,
) -> None:
    def script(connection: Any) -> None:
        for stream_id, _, _ in connection.requests():
            connection.session.respond(stream_id, http2.Headers(pairs), b"<html>", None)
            connection.flush()

    with pytest.raises(error, match=message):
        connect_native(http2_server(script).address, retry=ONCE).list_tables()


def test_what_is_not_http2_is_an_error(http2_server: Any, connect_native: Connect) -> None:
    def script(connection: Any) -> None:
        connection.socket.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        connection.socket.recv(1 << 16)

    with pytest.raises(UnavailableError):
        connect_native(http2_server(script).address, retry=ONCE).list_tables()


def test_two_messages_in_a_unary_answer_are_an_error(http2_server: Any, connect_native: Connect) -> None:
    def script(connection: Any) -> None:
        for stream_id, _, _ in connection.requests():
            head = http2.Headers([(b":status", b"200"), (b"content-type", b"application/grpc")])
            connection.session.respond(stream_id, head, bytes(10), http2.Headers([(b"grpc-status", b"0")]))
            connection.flush()

    with pytest.raises(InternalError, match="2 whole messages"):
        connect_native(http2_server(script).address).list_tables()


# ------------------------------------------------------------------------------------------------------ the answers


def tables(bytes_about: int) -> bytes:
    stats = wire.Table(project="default", view="x" * bytes_about)
    return wire.ListTablesResponse(tables=[stats]).SerializeToString()


def test_an_answer_may_come_in_any_pieces(http2_server: Any, connect_native: Connect) -> None:
    expected = tables(20)

    def script(connection: Any) -> None:
        flush, pieces = connection.flush, []
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for stream_id, _, _ in connection.requests():
            connection.flush = lambda: pieces.append(connection.session.take())
            connection.answer(stream_id, expected)
            connection.flush = flush
            for byte in b"".join(pieces):
                connection.socket.sendall(bytes([byte]))
            pieces.clear()

    client = connect_native(http2_server(script).address)
    for _ in range(3):
        assert client.list_tables()[0]["view"] == "x" * 20


def test_a_compressed_answer_is_read(http2_server: Any, connect_native: Connect) -> None:
    def script(connection: Any) -> None:
        for stream_id, _, _ in connection.requests():
            packed = gzip.compress(tables(10_000))
            framed = b"\1" + len(packed).to_bytes(4, "big") + packed
            head = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-encoding", b"gzip")]
            connection.session.respond(stream_id, http2.Headers(head), framed, http2.Headers([(b"grpc-status", b"0")]))
            connection.flush()

    client = connect_native(http2_server(script).address)
    for _ in range(2):
        assert client.list_tables()[0]["view"] == "x" * 10_000


def test_large_messages_pass_small_windows_both_ways(http2_server: Any, connect_native: Connect) -> None:
    received: list[int] = []

    def script(connection: Any) -> None:
        for stream_id, _, message in connection.requests():
            received.append(len(message))
            connection.answer(stream_id, tables(20 << 20))
            for _ in connection.events():
                if not connection.session.open_streams:
                    break

    client = connect_native(http2_server(script, window_bytes=65_535).address, timeout_s=60)
    assert len(client.list_tables(project="p" * (6 << 20))[0]["view"]) == 20 << 20
    assert received[0] > 6 << 20


def test_pings_and_settings_between_calls_disturb_nothing(http2_server: Any, connect_native: Connect) -> None:
    def script(connection: Any) -> None:
        for stream_id, _, _ in connection.requests():
            connection.answer(stream_id)
            connection.session.ping(b"pingping")
            connection.flush()

    server = http2_server(script)
    client = connect_native(server.address, retry=ONCE)
    for _ in range(20):
        client.list_tables()
    assert len(server.connections) == 1
    assert server.connections[0].session.pongs >= 18  # those after the last calls may be under way


# ---------------------------------------------------------------------------------------------------------- asyncio


@pytest.mark.parametrize("calls", [1, 20])
async def test_concurrent_calls_share_a_connection_and_a_write(http2_server: Any, calls: int) -> None:
    server = http2_server(answering)
    async with featurestore_client.connect_async(server.address, transport="native") as client:
        await client.list_tables()
        before = len(server.connections[0].reads)
        await asyncio.gather(*(client.list_tables() for _ in range(calls)))
    assert len(server.connections) == 1
    assert [len(messages(events)) for events in server.connections[0].reads[before:] if messages(events)] == [calls]


async def test_a_cancelled_call_is_reset_and_the_others_go_on(http2_server: Any) -> None:
    told: queue.Queue[Any] = queue.Queue()
    waiting: list[int] = []
    both = threading.Event()

    def script(connection: Any) -> None:
        for event in connection.events():
            if event.error_code != http2.NEVER:
                told.put((event.stream_id, event.error_code))
                connection.answer(waiting[1])
            elif event.ended:
                waiting.append(event.stream_id)
                if len(waiting) == 2:
                    both.set()

    async with featurestore_client.connect_async(http2_server(script).address, transport="native") as client:
        first = asyncio.create_task(client.list_tables())
        second = asyncio.create_task(client.list_tables())
        assert await asyncio.to_thread(both.wait, 10)
        first.cancel()
        assert await second == []
        with pytest.raises(asyncio.CancelledError):
            await first
    assert told.get(timeout=10) == (waiting[0], http2.CANCEL)


async def test_goaway_lets_calls_end_and_sends_new_ones_elsewhere(http2_server: Any) -> None:
    left, release = threading.Event(), threading.Event()

    def script(connection: Any) -> None:
        for stream_id, _, _ in connection.requests():
            if connection.number == 0:
                connection.session.goaway()
                connection.flush()
                left.set()
                assert release.wait(20)
            connection.answer(stream_id)

    server = http2_server(script)
    async with featurestore_client.connect_async(server.address, transport="native", retry=ONCE) as client:
        old = asyncio.create_task(client.apply({}))
        assert await asyncio.to_thread(left.wait, 10)
        await asyncio.wait_for(client.apply({}), 10)
        assert not old.done()
        release.set()
        await old
    assert len(server.connections) == 2


async def test_what_the_server_said_last_is_read_before_a_call_is_sent(http2_server: Any) -> None:
    closed: queue.Queue[None] = queue.Queue()

    def script(connection: Any) -> None:
        requests = connection.requests()
        for _ in range(2):
            stream_id, _, _ = next(requests)
            connection.answer(stream_id)
        connection.socket.shutdown(socket.SHUT_RDWR)
        closed.put(None)

    server = http2_server(script)
    async with featurestore_client.connect_async(server.address, transport="native", retry=ONCE) as client:
        for count in range(1, 5):
            await client.apply({})
            await client.apply({})
            closed.get(timeout=10)  # without giving way to the loop, which cannot have noticed
            assert len(server.connections) == count


async def test_a_silent_connection_gets_no_more_calls(http2_server: Any) -> None:
    def script(connection: Any) -> None:
        for stream_id, _, _ in connection.requests():
            if connection.number:
                connection.answer(stream_id)

    server = http2_server(script)
    async with featurestore_client.connect_async(server.address, transport="native") as client:
        with pytest.raises(DeadlineExceededError):
            await client.list_tables(timeout_s=0.1)
        assert await client.list_tables(timeout_s=5) == []


async def test_attempts_to_connect_are_shared_and_spaced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"grpc://127.0.0.1:{listening.getsockname()[1]}"
    async with featurestore_client.connect_async(address, transport="native", retry=ONCE) as client:
        transport: Any = client._transport
        attempts = 0
        dial = transport._dial

        async def counted(loop: Any) -> Any:
            nonlocal attempts
            attempts += 1
            return await dial(loop)

        transport._dial = counted
        outcomes = await asyncio.gather(*(client.list_tables() for _ in range(50)), return_exceptions=True)
        assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
        assert attempts == 1


def test_a_client_of_another_loop_says_so(http2_server: Any) -> None:
    client = featurestore_client.connect_async(http2_server(answering).address, transport="native")
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    first.run_until_complete(client.list_tables())
    with pytest.raises(FeatureStoreError, match="in use in another event loop"):
        second.run_until_complete(client.list_tables())
    first.run_until_complete(client.close())
    first.close()
    second.close()


# ---------------------------------------------------------------------------------------------------------- streams


class Streams:
    """Either native transport's ``stream``, behind a face that blocks."""

    def __init__(self, kind: str, address: str) -> None:
        self.kind = kind
        self._loop = uvloop.new_event_loop() if kind == "uvloop" else asyncio.new_event_loop()
        connect: Any = featurestore_client.connect if kind == "blocking" else featurestore_client.connect_async
        self._client = connect(address, transport="native")

    def responses(self, requests: Iterator[bytes], timeout_s: float | None = 20) -> Iterator[bytes]:
        if self.kind == "blocking":
            yield from self._client._transport.stream(ECHO, requests, timeout_s=timeout_s)
            return

        async def drawn() -> AsyncIterator[bytes]:
            while (request := await asyncio.to_thread(next, requests, None)) is not None:
                yield request

        stream = self._client._transport.stream(ECHO, drawn(), timeout_s=timeout_s)
        try:
            while True:
                try:
                    yield self._loop.run_until_complete(anext(stream))
                except StopAsyncIteration:
                    return
        finally:
            self._loop.run_until_complete(stream.aclose())

    def close(self) -> None:
        if self.kind == "blocking":
            self._client.close()
        else:
            self._loop.run_until_complete(self._client.close())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


@pytest.fixture(params=["blocking", "asyncio", "uvloop"])
def streams(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Streams]]:
    made: list[Streams] = []

    def make(address: str) -> Streams:
        made.append(Streams(request.param, address))
        return made[-1]

    yield make
    for each in made:
        each.close()


def echo(connection: Any) -> None:
    """A script: sends each request back on its stream, when it is there."""
    for event in connection.events():
        if event.head is not None:
            connection.session.begin(event.stream_id, http2.Headers(HEAD))
        connection.session.send(event.stream_id, event.data)
        connection.session.consume(event.stream_id, len(event.data))
        if event.ended:
            connection.session.end(event.stream_id, http2.Headers([(b"grpc-status", b"0")]))
        connection.flush()


def test_a_stream_goes_both_ways_at_once(http2_server: Any, streams: Any) -> None:
    answered: queue.Queue[bytes] = queue.Queue()

    def requests() -> Iterator[bytes]:
        for count in range(50):
            yield b"%d" % count
            assert answered.get(timeout=10) == b"%d" % count  # before the next one is sent

    for response in streams(http2_server(echo).address).responses(requests()):
        answered.put(response)
    assert answered.empty()


@pytest.mark.parametrize("size", [1, 70_000, 5 << 20])
def test_what_is_streamed_arrives_as_it_was(http2_server: Any, streams: Any, size: int) -> None:
    sent = [bytes([count]) * (size + count) for count in range(12)]
    assert list(streams(http2_server(echo, window_bytes=65_535).address).responses(iter(sent))) == sent


def test_an_empty_stream_ends(http2_server: Any, streams: Any) -> None:
    assert list(streams(http2_server(echo).address).responses(iter([]))) == []


def test_a_stream_takes_another_connection_where_the_server_left_the_one(http2_server: Any, streams: Any) -> None:
    left: queue.Queue[None] = queue.Queue()

    def script(connection: Any) -> None:
        requests = connection.requests()
        stream_id, _, message = next(requests)
        connection.answer(stream_id, message)
        connection.socket.shutdown(socket.SHUT_RDWR)
        left.put(None)

    client = streams(http2_server(script).address)
    for count in range(3):
        assert list(client.responses(iter([b"%d" % count]))) == [b"%d" % count]
        left.get(timeout=10)


def test_no_more_is_drawn_than_the_server_takes(http2_server: Any, streams: Any) -> None:
    drawn = 0
    stalled, go_on = threading.Event(), threading.Event()

    def script(connection: Any) -> None:
        received = 0
        for event in connection.events():
            received += len(event.data)
            if event.head is not None:
                connection.session.begin(event.stream_id, http2.Headers(HEAD))
                connection.session.send(event.stream_id, b"\0\0\0\0\0")
                connection.flush()
            if received >= 65_535 and not stalled.is_set():  # the window is full
                stalled.set()
                assert go_on.wait(20)
            if stalled.is_set():
                connection.session.consume(event.stream_id, received)
                received = 0
                connection.flush()
            if event.ended:
                connection.session.end(event.stream_id, http2.Headers([(b"grpc-status", b"0")]))
                connection.flush()

    def requests() -> Iterator[bytes]:
        nonlocal drawn
        for _ in range(100):
            drawn += 1
            yield bytes(100_000)

    seen: list[int] = []

    def look() -> None:
        assert stalled.wait(20)
        while not seen or seen[-1] != drawn:  # until it stands still
            seen.append(drawn)
            time.sleep(0.1)
        go_on.set()

    looking = threading.Thread(target=look)
    looking.start()
    responses = list(streams(http2_server(script, window_bytes=65_535).address).responses(requests()))
    looking.join()
    assert responses == [b""]
    assert drawn == 100
    assert seen[-1] < 20  # of 100 KB each: a megabyte that waits for the window, a few more in the queue


def test_a_consumer_that_pauses_holds_the_server_back(http2_server: Any, streams: Any) -> None:
    stuck: queue.Queue[int] = queue.Queue()

    def script(connection: Any) -> None:
        for event in connection.events():
            if event.head is not None:
                connection.session.begin(event.stream_id, http2.Headers(HEAD))
                for _ in range(300):
                    connection.session.send(event.stream_id, b"\0\0\1\0\0" + bytes(65_536))
                connection.session.end(event.stream_id, http2.Headers([(b"grpc-status", b"0")]))
                connection.flush()
                stuck.put(connection.session.unsent(event.stream_id))

    responses = streams(http2_server(script).address).responses(iter([b""]))
    assert len(next(responses)) == 65_536
    assert stuck.get(timeout=10) > 8 << 20  # of 19 MB: the client's window is 4 MB
    assert sum(1 for _ in responses) == 299


async def test_a_task_that_pauses_holds_the_server_back(http2_server: Any) -> None:
    def script(connection: Any) -> None:
        for event in connection.events():
            if event.head is not None:
                connection.session.begin(event.stream_id, http2.Headers(HEAD))
                for _ in range(300):
                    connection.session.send(event.stream_id, b"\0\0\1\0\0" + bytes(65_536))
                connection.session.end(event.stream_id, http2.Headers([(b"grpc-status", b"0")]))
                connection.flush()

    async def requests() -> AsyncIterator[bytes]:
        yield b""

    server = http2_server(script)
    async with featurestore_client.connect_async(server.address, transport="native") as client:
        responses: Any = client._transport.stream(ECHO, requests(), timeout_s=60)
        assert len(await anext(responses)) == 65_536
        unsent = [-1, server.connections[0].session.unsent(1)]
        while unsent[-1] != unsent[-2]:  # until it stands still, while the loop runs
            await asyncio.sleep(0.1)
            unsent.append(server.connections[0].session.unsent(1))
        assert unsent[-1] > 8 << 20  # of 19 MB: the client's window is 4 MB
        assert len([response async for response in responses]) == 299


def test_responses_come_before_the_error_that_ends_a_stream(http2_server: Any, streams: Any) -> None:
    def script(connection: Any) -> None:
        for stream_id, _, _ in connection.requests():
            connection.session.respond(
                stream_id,
                http2.Headers(HEAD),
                b"\0\0\0\0\1a\0\0\0\0\1b",
                http2.Headers([(b"grpc-status", b"8"), (b"grpc-message", b"too%20many")]),
            )
            connection.flush()

    responses = streams(http2_server(script).address).responses(iter([b""]))
    assert next(responses) == b"a"
    assert next(responses) == b"b"
    with pytest.raises(ResourceExhaustedError, match="too many"):
        next(responses)


def test_a_stream_that_breaks_is_unavailable(http2_server: Any, streams: Any) -> None:
    answered = threading.Event()

    def script(connection: Any) -> None:
        for event in connection.events():
            connection.session.begin(event.stream_id, http2.Headers(HEAD))
            connection.session.send(event.stream_id, b"\0\0\0\0\1a")
            connection.flush()
            answered.wait(60)  # else the system may take the answer back with the connection
            return

    responses = streams(http2_server(script).address).responses(iter([b"", b""]))
    assert next(responses) == b"a"
    answered.set()
    with pytest.raises(UnavailableError, match="the connection was lost"):
        next(responses)


def test_what_the_requests_raise_reaches_the_consumer_and_ends_the_stream(http2_server: Any, streams: Any) -> None:
    told: queue.Queue[str] = queue.Queue()

    def script(connection: Any) -> None:
        try:
            for event in connection.events():
                if event.error_code != http2.NEVER:
                    break
        finally:
            told.put("given up")

    def requests() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("of the caller")

    with pytest.raises(LookupError, match="of the caller"):
        list(streams(http2_server(script).address).responses(requests()))
    assert told.get(timeout=10) == "given up"


def test_a_stream_has_a_deadline(http2_server: Any, streams: Any) -> None:
    def script(connection: Any) -> None:
        for _ in connection.events():
            pass

    started_s = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        list(streams(http2_server(script).address).responses(iter([b""]), timeout_s=0.2))
    assert time.monotonic() - started_s < 2


def test_a_blocking_stream_is_cancelled_from_another_thread(http2_server: Any) -> None:
    reading = threading.Event()

    def script(connection: Any) -> None:
        for _ in connection.events():
            reading.set()

    with featurestore_client.connect(http2_server(script).address, transport="native") as client:
        endless: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        endless.put(b"a")
        stream: Any = client._transport.stream(ECHO, iter(endless.get, None), timeout_s=None)
        canceller = threading.Thread(target=lambda: reading.wait(10) and stream.cancel())
        canceller.start()
        with pytest.raises(CancelledError):
            next(stream)
        canceller.join()
        endless.put(None)


def test_closing_a_client_ends_its_calls(http2_server: Any, connect_native: Connect) -> None:
    reading = threading.Event()

    def script(connection: Any) -> None:
        for _ in connection.events():
            reading.set()

    client = connect_native(http2_server(script).address)
    if not isinstance(client, featurestore_client.Client):
        pytest.skip("an asyncio client is closed by its own loop")
    closer = threading.Thread(target=lambda: reading.wait(10) and client.close())
    closer.start()
    with pytest.raises(CancelledError, match="closed"):
        client.list_tables()
    closer.join()
