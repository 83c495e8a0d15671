"""The HTTP/2 session, its two roles piped into each other: what one sends is what the other is told, however bytes are cut.

Rules of the protocol are nghttp2's to test; here are the promises of our layer on it, and the limits that it adds. What
strangers send is in tests/hostile of the server.
"""

import gc
import random
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

http2 = pytest.importorskip("featurestore_client.http2")
from featurestore_client.http2 import (  # noqa: E402  skipped where it is not built
    CANCEL,
    INTERNAL_ERROR,
    NEVER,
    NO_ERROR,
    REFUSED_STREAM,
    Headers,
    ProtocolError,
    Session,
    StreamEvent,
)

POST = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b":authority", b"test"), (b"te", b"trailers")]
HEAD = Headers(POST)
BLOCK = b"".join(name + b"\0" + value + b"\0" for name, value in POST)
OK = Headers([(b":status", b"200"), (b"content-type", b"application/grpc")])
OK_BLOCK = b":status\x00200\x00content-type\x00application/grpc\x00"
TRAILERS = Headers([(b"grpc-status", b"0")])
TRAILERS_BLOCK = b"grpc-status\x000\x00"

PING, SETTINGS, DATA, HEADERS, RST_STREAM, GOAWAY = 6, 4, 0, 1, 3, 7


class Received:
    """What one side was told of one stream, all in all."""

    def __init__(self) -> None:
        self.head: bytes | None = None
        self.apart: bytes | None = None
        self.data = b""
        self.trailers: bytes | None = None
        self.ended = False
        self.error_code = NEVER

    def add(self, event: StreamEvent) -> None:
        assert self.error_code == NEVER, "told of a stream that was closed"
        if event.head is not None:
            assert self.head is None
            self.head, self.apart = event.head, event.apart
        assert not (self.ended and (event.data or event.trailers is not None or event.ended))
        self.data += event.data
        if event.trailers is not None:
            self.trailers = event.trailers
        self.ended = self.ended or event.ended
        self.error_code = event.error_code

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Received({vars(self)})"


class Side:
    """A session, with what it was told by stream and what it has sent."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.streams: dict[int, Received] = {}
        self.sent = bytearray()

    def note(self, events: list[StreamEvent]) -> None:
        for stream_id, event in [(event.stream_id, event) for event in events]:
            self.streams.setdefault(stream_id, Received()).add(event)

    def receive(self, data: bytes) -> list[StreamEvent]:
        events = self.session.receive(data)
        ids = [event.stream_id for event in events]
        assert len(set(ids)) == len(ids), "one event a stream"
        self.note(events)
        return events

    def take(self, bytes_max: int = 256 << 10) -> bytes:
        data = self.session.take(bytes_max)
        self.sent += data
        self.note(self.session.events())
        return data


class Pair:
    """A client and a server."""

    def __init__(self, apart: bytes = b"grpc-timeout", **limits: float) -> None:
        self.client = Side(Session(client=True, **limits))
        self.server = Side(Session(client=False, apart=apart, **limits))

    def pump(self) -> None:
        """Until both have nothing more to send."""
        moved = True
        while moved:
            moved = False
            for sender, receiver in ((self.client, self.server), (self.server, self.client)):
                while data := sender.take():
                    receiver.receive(data)
                    moved = True

    def pump_consuming(self) -> None:
        """Likewise, with all that was received taken by whoever it is for."""
        while self.client.session.wants_write or self.server.session.wants_write:
            before = len(self.client.sent) + len(self.server.sent)
            for sender, receiver in ((self.client, self.server), (self.server, self.client)):
                while data := sender.take():
                    for event in receiver.receive(data):
                        receiver.session.consume(event.stream_id, len(event.data))
            assert len(self.client.sent) + len(self.server.sent) > before, "both wait for each other"


@pytest.fixture
def pair() -> Pair:
    made = Pair()
    made.pump()
    return made


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def frames_of(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    while data:
        size = 9 + int.from_bytes(data[:3], "big")
        yield data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:size]
        data = data[size:]


# ------------------------------------------------------------------------------------------------------------------- calls


def test_a_request_and_its_answer_arrive_as_one_event_each(pair):
    stream = pair.client.session.request(HEAD, b"question")
    (event,) = pair.server.receive(pair.client.take())
    assert (event.stream_id, event.head, event.data, event.ended, event.trailers) == (stream, BLOCK, b"question", True, None)
    assert (event.apart, event.error_code) == (None, NEVER)
    pair.server.session.respond(stream, OK, b"answer", TRAILERS)
    (event,) = pair.client.receive(pair.server.take())
    assert (event.head, event.data, event.trailers, event.ended) == (OK_BLOCK, b"answer", TRAILERS_BLOCK, True)
    assert pair.client.session.open_streams == pair.server.session.open_streams == 0


def test_equal_heads_are_the_same_object(pair):
    for _ in range(2):
        pair.client.session.request(HEAD, b"x")
    first, second = pair.server.receive(pair.client.take())
    assert first.head is second.head


def test_the_header_apart_is_kept_out_of_the_head(pair):
    pair.client.session.request(Headers([*POST, (b"grpc-timeout", b"20m"), (b"x", b"y")], {b"grpc-timeout"}), b"")
    (event,) = pair.server.receive(pair.client.take())
    assert event.apart == b"20m"
    assert event.head == BLOCK + b"x\0y\0"


def test_an_answer_may_be_its_head_alone(pair):
    stream = pair.client.session.request(HEAD, b"x")
    pair.pump()
    pair.server.session.respond(stream, OK, b"", None)
    (event,) = pair.client.receive(pair.server.take())
    assert (event.head, event.data, event.trailers, event.ended) == (OK_BLOCK, b"", None, True)


def test_both_sides_stream(pair):
    client, server = pair.client.session, pair.server.session
    stream = client.request(HEAD, end=False)
    pair.pump()
    server.begin(stream, OK)
    for number in range(100):
        client.send(stream, b"q%d," % number)
        server.send(stream, b"a%d," % number)
        if number % 7 == 0:
            pair.pump()
    client.end(stream)
    server.end(stream, TRAILERS)
    pair.pump()
    assert pair.server.streams[stream].data == b"".join(b"q%d," % number for number in range(100))
    assert pair.client.streams[stream].data == b"".join(b"a%d," % number for number in range(100))
    assert pair.client.streams[stream].trailers == TRAILERS_BLOCK
    assert pair.server.streams[stream].ended
    assert client.open_streams == server.open_streams == 0


def test_a_client_may_send_trailers(pair):
    stream = pair.client.session.request(HEAD, b"x", end=False)
    pair.client.session.end(stream, TRAILERS)
    pair.pump()
    assert pair.server.streams[stream].trailers == TRAILERS_BLOCK
    assert pair.server.streams[stream].ended


def test_interim_answers_are_no_answers(pair):
    stream = pair.client.session.request(HEAD, b"x")
    pair.pump()
    # What a proxy may send before: nghttp2 of the server's side has no call for it that we use.
    pair.client.receive(frame(HEADERS, 4, stream, b"\x08\x03103"))
    pair.client.receive(frame(HEADERS, 4, stream, b"\x08\x03100"))
    pair.server.session.respond(stream, OK, b"answer", TRAILERS)
    pair.pump()
    assert pair.client.streams[stream].head == OK_BLOCK
    assert pair.client.streams[stream].trailers == TRAILERS_BLOCK


def test_an_answer_before_the_request_has_ended_asks_for_no_more_of_it(pair):
    stream = pair.client.session.request(HEAD, b"x" * 10, end=False)
    pair.pump()
    pair.server.session.respond(stream, OK, b"answer", TRAILERS)
    pair.pump()
    assert pair.client.streams[stream].ended
    assert pair.client.streams[stream].error_code in (NEVER, NO_ERROR)
    assert pair.server.streams[stream].error_code == NEVER, "the server itself has ended it"
    assert pair.server.session.open_streams == pair.client.session.open_streams == 0


# ------------------------------------------------------------------------------------------------------------ flow control


@pytest.mark.parametrize("window_bytes", [1, 7, 1_000, 65_535, 1 << 20])
def test_bodies_pass_through_windows_of_any_size(window_bytes):
    pair = Pair(window_bytes=window_bytes)
    size = min(window_bytes * 50, 3 << 20) + 3
    question, answer = random.Random(1).randbytes(size), random.Random(2).randbytes(size)
    pair.pump()
    stream = pair.client.session.request(HEAD, question)
    pair.pump_consuming()
    assert pair.server.streams[stream].data == question
    pair.server.session.respond(stream, OK, answer, TRAILERS)
    pair.pump_consuming()
    assert pair.client.streams[stream].data == answer
    assert pair.client.streams[stream].trailers == TRAILERS_BLOCK
    assert pair.server.session.unsent_bytes == pair.client.session.unsent_bytes == 0


def test_a_stream_that_nobody_reads_is_held_back_and_no_other(pair):
    window = 1 << 20
    held = pair.client.session.request(HEAD, bytes(3 * window))
    pair.pump()
    assert len(pair.server.streams[held].data) == window
    assert pair.client.session.unsent(held) == pair.client.session.unsent_bytes == 2 * window
    for _ in range(20):  # more than the connection's window in all
        read = pair.client.session.request(HEAD, bytes(window))
        pair.pump()
        assert len(pair.server.streams[read].data) == window
    pair.server.session.consume(held, window)
    pair.pump()
    assert len(pair.server.streams[held].data) == 2 * window


def test_take_gives_about_as_much_as_was_asked_for(pair):
    pair.client.session.consume(1, 1 << 20)
    streams = [pair.client.session.request(HEAD, b"x") for _ in range(50)]
    pair.pump()
    for stream in streams:
        pair.server.session.respond(stream, OK, bytes(1 << 18), TRAILERS)
    longest = 0
    while data := pair.server.take(10_000):
        longest = max(longest, len(data))
        pair.client.receive(data)
        while data := pair.client.take():
            pair.server.receive(data)
    assert all(len(pair.client.streams[stream].data) == 1 << 18 for stream in streams)
    assert longest <= 10_000 + 2 * (16_384 + 9)


def test_drained_names_open_streams_whose_last_byte_was_taken(pair):
    client = pair.client.session
    stream, other = client.request(HEAD, b"x", end=False), client.request(HEAD, b"x", end=False)
    assert client.drained() == []
    pair.pump()
    assert sorted(client.drained()) == [stream, other]
    assert client.drained() == []
    for _ in range(1_000):  # nobody asks, and it does not pile up
        client.send(stream, b"y")
        pair.pump()
    client.send(other, b"y")
    pair.pump()
    client.reset(other, CANCEL)
    pair.pump()
    assert client.drained() == [stream]


def test_many_small_pieces_are_sent_in_time_that_grows_with_their_number(pair):
    pieces = 200_000
    stream = pair.client.session.request(HEAD, end=False)
    for _ in range(pieces):
        pair.client.session.send(stream, b"12345")
    pair.client.session.end(stream)
    pair.pump_consuming()
    assert pair.server.streams[stream].data == b"12345" * pieces


# ------------------------------------------------------------------------------------------------------------ early endings


def test_a_reset_by_the_client_reaches_the_server_and_frees_what_was_queued(pair):
    stream = pair.client.session.request(HEAD, bytes(4 << 20))
    pair.pump()
    pair.server.session.begin(stream, OK)
    pair.server.session.send(stream, b"unheard")
    pair.client.session.reset(stream, CANCEL)
    pair.pump()
    assert pair.server.streams[stream].error_code == CANCEL
    assert pair.client.session.unsent_bytes == pair.server.session.unsent_bytes == 0
    assert pair.client.session.open_streams == pair.server.session.open_streams == 0
    # All of these come too late, and are ignored.
    for session in (pair.client.session, pair.server.session):
        session.send(stream, b"x")
        session.end(stream, TRAILERS)
        session.reset(stream, CANCEL)
        session.consume(stream, 100)
        session.begin(stream, OK)
        session.respond(stream, OK, b"x", TRAILERS)
        assert session.unsent(stream) == session.unsent_bytes == 0
        assert session.take() == b""


def test_a_reset_by_the_server_reaches_the_client(pair):
    stream = pair.client.session.request(HEAD, b"x", end=False)
    pair.pump()
    pair.server.session.reset(stream, REFUSED_STREAM)
    pair.client.session.send(stream, b"on its way")
    pair.pump()
    assert pair.client.streams[stream].error_code == REFUSED_STREAM
    assert pair.server.streams[stream].error_code == NEVER
    assert pair.server.session.open_streams == 0


def test_an_answer_that_is_queued_when_its_stream_is_reset_is_dropped(pair):
    streams = [pair.client.session.request(HEAD, b"x") for _ in range(100)]
    pair.pump()
    for stream in streams:
        # Made here and kept by nobody but the session, as those of errors are.
        head = Headers([(b":status", b"200"), (b"x", b"%d" % stream)])
        pair.server.session.respond(stream, head, bytes(1_000), Headers([(b"grpc-status", b"%d" % stream)]))
        pair.client.session.reset(stream, CANCEL)
    del head
    resets = pair.client.take()
    pair.server.receive(resets[: len(resets) // 2])
    gc.collect()
    noise = [Headers([(b"noise", b"%d" % number)]) for number in range(1_000)]
    sent = pair.server.take()
    pair.server.receive(resets[len(resets) // 2 :])
    pair.client.receive(sent)
    pair.pump()
    del noise
    assert pair.server.session.open_streams == pair.client.session.open_streams == pair.server.session.unsent_bytes == 0


def test_a_request_given_up_before_it_is_sent_never_is(pair):
    stream = pair.client.session.request(HEAD, b"x")
    pair.client.session.reset(stream, CANCEL)
    other = pair.client.session.request(HEAD, b"y")
    pair.pump()
    assert list(pair.server.streams) == [other]
    assert pair.client.session.open_streams == 1


def test_headers_that_no_peer_takes_end_their_stream(pair):
    for large in (100_000, 70_000):
        stream = pair.client.session.request(HEAD, b"x")
        pair.pump()
        pair.server.session.respond(stream, Headers([(b":status", b"200"), (b"x", bytes([97]) * large)]), b"x", TRAILERS)
        pair.pump()
        assert pair.client.streams[stream].error_code == INTERNAL_ERROR
    stream = pair.client.session.request(HEAD, b"x")
    pair.pump()
    pair.server.session.respond(stream, OK, b"x", Headers([(b"x", bytes([97]) * 100_000)]))
    pair.pump()
    assert pair.client.streams[stream].error_code == INTERNAL_ERROR
    assert pair.server.session.open_streams == 0


def test_goaway_lets_what_is_in_flight_end_and_refuses_the_rest(pair):
    client, server = pair.client.session, pair.server.session
    first = client.request(HEAD, b"x")
    pair.pump()
    late = client.request(HEAD, b"late")
    on_its_way = pair.client.take()
    server.goaway()
    assert server.going_away
    pair.client.receive(pair.server.take())
    assert client.going_away
    assert pair.client.streams[late].error_code == REFUSED_STREAM
    with pytest.raises(ProtocolError, match="the connection is going away"):
        client.request(HEAD, b"x")
    pair.server.receive(on_its_way)
    assert late not in pair.server.streams
    server.respond(first, OK, b"answer", TRAILERS)
    pair.pump()
    assert pair.client.streams[first].data == b"answer"
    assert pair.client.streams[first].ended


def test_a_shutdown_is_announced_before_it_refuses(pair):
    client, server = pair.client.session, pair.server.session
    on_its_way = client.request(HEAD, b"x")
    flying = pair.client.take()
    server.announce_shutdown()
    server.ping()
    pair.client.receive(pair.server.take())
    assert client.going_away
    assert on_its_way not in pair.client.streams, "it is not refused"
    pair.server.receive(flying)
    pair.server.receive(pair.client.take())
    assert server.pongs == 1
    server.goaway()
    server.respond(on_its_way, OK, b"answer", TRAILERS)
    pair.pump()
    assert pair.client.streams[on_its_way].data == b"answer"


def test_terminate_sends_goaway_and_is_done(pair):
    pair.client.session.request(HEAD, b"x")
    pair.pump()
    pair.server.session.terminate(11)
    (kind, _, _, payload), *rest = frames_of(pair.server.take())
    assert (kind, payload[4:8], rest) == (GOAWAY, b"\0\0\0\x0b", [])
    assert not pair.server.session.wants_read
    assert not pair.server.session.wants_write
    assert pair.server.session.take() == b""


def test_sessions_are_dropped_with_streams_open(pair):
    streams = [pair.client.session.request(HEAD, bytes(100_000), end=False) for _ in range(50)]
    pair.pump()
    for stream in streams[::2]:
        pair.server.session.begin(stream, OK)
        pair.server.session.send(stream, bytes(100))
    events = pair.client.session.receive(pair.server.take())
    kept = [(event.stream_id, event.head) for event in events]
    pair.client.session = pair.server.session = None
    gc.collect()
    assert kept == [(event.stream_id, event.head) for event in events] == [(stream, OK_BLOCK) for stream in streams[::2]]


# ----------------------------------------------------------------------------------------------------------- limits, errors


def test_more_calls_than_a_connection_may_have_wait_their_turn():
    pair = Pair(streams_max=3)
    pair.pump()
    assert pair.client.session.streams_max == 3
    streams = [pair.client.session.request(HEAD, b"x") for _ in range(10)]
    answered = []
    while len(answered) < 10:
        pair.pump()
        open_now = [stream for stream in pair.server.streams if stream not in answered]
        assert 1 <= len(open_now) <= 3
        for stream in open_now:
            pair.server.session.respond(stream, OK, b"answer", TRAILERS)
        answered += open_now
    pair.pump()
    assert [pair.client.streams[stream].data for stream in streams] == [b"answer"] * 10


def test_headers_above_the_limit_come_as_an_empty_head():
    pair = Pair(header_bytes_max=1_000)
    pair.pump()
    stream = pair.client.session.request(Headers([*POST, (b"x", b"y" * 1_000)]), b"x")
    pair.pump()
    assert pair.server.streams[stream].head == b""
    other = pair.client.session.request(Headers([*POST, (b"x", b"y" * 700)]), b"x")
    pair.pump()
    assert pair.server.streams[other].head == BLOCK + b"x\0" + b"y" * 700 + b"\0"


def test_headers_far_above_the_limit_end_the_connection():
    pair = Pair(header_bytes_max=1_000)
    pair.pump()
    pair.client.session.request(Headers([*POST, *((b"x%d" % number, b"y" * 1_000) for number in range(20))]), b"x")
    with pytest.raises(ProtocolError, match="a header block far above 1000 bytes"):
        pair.pump()
    assert not pair.server.session.wants_read
    sent = list(frames_of(pair.server.take()))
    assert [(kind, payload[7]) for kind, _, _, payload in sent if kind == GOAWAY] == [(GOAWAY, 11)]
    with pytest.raises(ProtocolError, match="a header block far above 1000 bytes"):
        pair.server.session.receive(frame(PING, 0, 0, b"12345678"))


@pytest.mark.parametrize(
    "flood",
    [
        frame(PING, 0, 0, b"12345678"),
        frame(SETTINGS, 0, 0),
        frame(2, 0, 3, b"\0\0\0\0\1"),  # PRIORITY
        frame(DATA, 0, 1),
        frame(DATA, 8, 1, b"\5\0\0\0\0\0"),  # nothing but padding
    ],
    ids=["ping", "settings", "priority", "empty data", "padding"],
)
def test_more_control_frames_than_allowed_end_the_connection_at_once(flood):
    pair = Pair(control_frames_max=100, control_period_s=3_600)
    pair.client.session.request(HEAD, end=False)
    pair.pump()
    pair.server.receive(flood * 95)  # beside those of the greeting
    with pytest.raises(ProtocolError, match="more than 100 control frames in 3600 s"):
        pair.server.receive(flood * 10)
    assert list(frames_of(pair.server.take()))[-1][3][4:8] == b"\0\0\0\x0b"


def test_control_frames_are_counted_by_period():
    pair = Pair(control_frames_max=10, control_period_s=0)
    pair.pump()
    for _ in range(100):
        pair.server.receive(frame(PING, 0, 0, b"12345678"))
        pair.server.take()


def test_frames_that_wait_for_a_peer_are_bounded_however_slowly_it_makes_them():
    pair = Pair(control_frames_max=50, control_period_s=0)
    pair.pump()
    for _ in range(50):
        stream = pair.client.session.request(HEAD, b"x")
        pair.server.receive(pair.client.take())
        pair.server.session.respond(stream, HEAD, b"y", None)
        pair.client.session.reset(stream, CANCEL)
        pair.server.receive(pair.client.take())
    pair.server.receive(pair.client.take())
    stream = pair.client.session.request(HEAD, b"x")
    pair.server.receive(pair.client.take())
    pair.server.session.respond(stream, HEAD, b"y", None)
    with pytest.raises(ProtocolError, match="more than 50 frames wait for the peer to take them"):
        pair.server.receive(frame(PING, 0, 0, b"12345678"))


def test_a_client_may_have_any_number_of_requests_wait():
    pair = Pair(control_frames_max=50)
    for _ in range(200):
        pair.client.session.request(HEAD, b"x")
    pair.pump()
    assert len(pair.server.streams) == 200


def test_refused_streams_count_once_and_before_the_refusal_is_taken():
    pair = Pair(control_frames_max=50, control_period_s=3_600, streams_max=10)
    client = Session(client=True)  # which has not heard of streams_max
    pair.server.receive(client.take())
    pair.server.take()
    for _ in range(10 + 45):
        client.request(HEAD, end=False)
        pair.server.receive(client.take())
    sent = list(frames_of(pair.server.take()))
    assert [kind for kind, _, _, _ in sent].count(RST_STREAM) == 45
    for _ in range(10):
        client.request(HEAD, end=False)
    with pytest.raises(ProtocolError, match="more than 50 control frames in 3600 s"):
        pair.server.receive(client.take())


def test_resets_that_a_peer_makes_necessary_count_as_its_own():
    pair = Pair(control_frames_max=50, control_period_s=3_600)
    pair.client.session = Session(client=True)
    pair.pump()
    for _ in range(50):
        stream = pair.client.session.request(HEAD, b"x")
        pair.server.receive(pair.client.take() + frame(8, 0, stream, b"\x7f\xff\xff\xff"))  # a window beyond all bounds
        assert pair.server.session.wants_read
        data = pair.server.take()
        assert pair.server.streams[stream].error_code == 3
        if pair.server.session.wants_read:
            pair.client.receive(data)
    assert not pair.server.session.wants_read
    with pytest.raises(ProtocolError, match="more than 50 control frames in 3600 s"):
        pair.server.receive(b"")


def test_acknowledgements_that_nobody_takes_end_the_connection(pair):
    with pytest.raises(ProtocolError, match=r"(?i)flood"):
        pair.server.receive(frame(PING, 0, 0, b"12345678") * 1_999)
    assert GOAWAY in [kind for kind, _, _, _ in frames_of(pair.server.take())]
    assert not pair.server.session.wants_read


def test_what_is_not_http2_is_an_error():
    session = Session(client=False)
    with pytest.raises(ProtocolError, match="magic"):
        session.receive(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert GOAWAY in [kind for kind, _, _, _ in frames_of(session.take())]


def test_arguments_are_checked(pair):
    client = pair.client.session
    with pytest.raises(TypeError):
        client.request(None)
    with pytest.raises(TypeError):
        client.request(HEAD, bytearray(b"x"))
    with pytest.raises(TypeError):
        Headers([(b"x", "text")])
    with pytest.raises(ValueError, match="payload: expected 8 bytes"):
        client.ping(b"short")
    with pytest.raises(OverflowError):
        client.send(1 << 40, b"x")
    with pytest.raises(OverflowError):
        client.consume(1, -1)
    with pytest.raises(TypeError):
        client.receive("text")
    for absent in (-1, 0, 2, 99, (1 << 31) - 1):
        client.send(absent, b"x")
        client.end(absent)
        client.reset(absent, CANCEL)
        client.consume(absent, 1)
        assert client.unsent(absent) == 0
    assert client.take() == b""


def test_a_client_cannot_answer_and_a_server_cannot_ask(pair):
    stream = pair.client.session.request(HEAD, b"x")
    pair.client.session.respond(stream, OK, b"", None)
    with pytest.raises(ProtocolError):
        pair.server.session.request(HEAD, b"x")
    pair.pump()
    assert pair.server.streams[stream].ended


# ------------------------------------------------------------------------------------------------------------- split points


def conversation() -> tuple[bytes, bytes, Callable[[Session], None]]:
    """One with everything in it: what the client sent, what the server sent, and how to make a client's requests again."""
    pair = Pair(window_bytes=300)
    longer = Headers([*POST, (b"grpc-timeout", b"1S"), (b"user-agent", b"test/1"), (b"x", b"y" * 100)])

    def ask(session: Session) -> None:
        session.request(HEAD, b"whole")
        session.request(longer, b"again")
        for piece in (b"a", b"bc" * 50):
            session.send(session.request(HEAD, b"begun", end=False), piece)
        session.request(longer, b"z" * 700)
        session.request(HEAD, b"", end=False)

    ask(pair.client.session)
    pair.pump()
    server = pair.server.session
    server.respond(1, OK, b"answer", TRAILERS)
    server.respond(3, Headers([(b":status", b"200"), (b"grpc-status", b"5"), (b"grpc-message", b"no")]), b"", None)
    server.begin(5, OK)
    server.send(5, b"piece")
    pair.pump()
    pair.client.session.end(5, TRAILERS)
    server.send(5, b"last")
    server.end(5, TRAILERS)
    server.reset(7, CANCEL)
    pair.client.session.ping()
    pair.pump_consuming()
    server.respond(9, OK, b"long" * 500, TRAILERS)
    pair.client.session.reset(11, CANCEL)
    server.announce_shutdown()
    pair.pump_consuming()
    server.goaway()
    pair.pump_consuming()
    assert pair.client.streams[9].data == b"long" * 500
    return bytes(pair.client.sent), bytes(pair.server.sent), ask


def replay(role: str, pieces: list[bytes], ask: Callable[[Session], None]) -> dict[int, Received]:
    side = Side(Session(client=role == "client", apart=b"grpc-timeout" if role == "server" else b""))
    if role == "client":
        ask(side.session)
        while side.session.take():
            pass
    for piece in pieces:
        for event in side.receive(piece):
            side.session.consume(event.stream_id, len(event.data))
        side.take()
    return side.streams


@pytest.mark.parametrize("role", ["client", "server"])
def test_wherever_a_conversation_is_cut_the_events_add_up_to_the_same(role):
    by_client, by_server, ask = conversation()
    stream = by_server if role == "client" else by_client
    byte_by_byte = replay(role, [stream[index : index + 1] for index in range(len(stream))], ask)
    assert {1, 3, 5, 9} <= byte_by_byte.keys()
    assert len(byte_by_byte[9].data) == (2_000 if role == "client" else 700)
    for cut in range(len(stream)):
        assert replay(role, [stream[:cut], stream[cut:]], ask) == byte_by_byte, cut
    chance = random.Random(len(stream))
    for _ in range(100):
        cuts = [0, *sorted(chance.sample(range(len(stream)), chance.randrange(1, 20))), len(stream)]
        assert replay(role, [stream[start:end] for start, end in pairwise(cuts)], ask) == byte_by_byte, cuts


# ------------------------------------------------------------------------------------------------------------------- model

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["ask", "send", "answer", "begin", "reply", "end", "finish", "reset", "refuse", "move", "move", "read"]
        ),
        st.integers(0, 7),
        st.integers(0, 400),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS, st.sampled_from([10, 100, 1_000]))
def test_whatever_the_order_of_things_each_side_hears_what_the_other_said(steps, window_bytes):
    """The oracle: bytes said on a stream, by side. Streams that nobody resets carry all of them, the others a beginning."""
    pair = Pair(window_bytes=window_bytes, streams_max=5, control_frames_max=100_000)
    client, server = pair.client.session, pair.server.session
    said: dict[tuple[str, int], bytes] = {}
    open_for: dict[str, set[int]] = {"client": set(), "server": set()}
    given_up: set[int] = set()
    unread: dict[tuple[str, int], int] = {}

    def pick(streams: set[int], number: int) -> int | None:
        return sorted(streams)[number % len(streams)] if streams else None

    def say(side: str, stream: int, size: int) -> bytes:
        data = bytes((len(said[side, stream]) + index) % 251 for index in range(size))
        said[side, stream] += data
        return data

    def move(side: str, size: int) -> bool:
        sender, receiver, name = (
            (pair.client, pair.server, "server") if side == "client" else (pair.server, pair.client, "client")
        )
        data = sender.take(size + 1)
        for cut in (data[: len(data) // 3], data[len(data) // 3 :]):
            for event in receiver.receive(cut):
                unread[name, event.stream_id] = unread.get((name, event.stream_id), 0) + len(event.data)
        return bool(data)

    def read(name: str, stream: int) -> None:
        (client if name == "client" else server).consume(stream, unread.pop((name, stream), 0))

    for step, number, size in steps:
        mine, theirs = pick(open_for["client"], number), pick(open_for["server"], number)
        heard = pick(pair.server.streams.keys() - {stream for side, stream in said if side == "server"}, number)
        if step == "ask":
            stream = client.request(HEAD, bytes(index % 251 for index in range(size)), end=False)
            said["client", stream] = bytes(index % 251 for index in range(size))
            open_for["client"].add(stream)
        elif step == "send" and mine is not None:
            client.send(mine, say("client", mine, size))
        elif step == "end" and mine is not None:
            client.end(mine, TRAILERS if number % 2 else None)
            open_for["client"].discard(mine)
        elif step == "reset" and mine is not None:
            client.reset(mine, CANCEL)
            open_for["client"].discard(mine)
            given_up.add(mine)
        elif step == "begin" and heard is not None:
            server.begin(heard, OK)
            said["server", heard] = b""
            open_for["server"].add(heard)
        elif step == "answer" and heard is not None:
            said["server", heard] = b""
            server.respond(heard, OK, say("server", heard, size), TRAILERS)
            given_up.add(heard)  # what the client has still to say is of no use then
        elif step == "reply" and theirs is not None:
            server.send(theirs, say("server", theirs, size))
        elif step == "finish" and theirs is not None:
            server.end(theirs, TRAILERS)
            open_for["server"].discard(theirs)
            given_up.add(theirs)
        elif step == "refuse" and theirs is not None:
            server.reset(theirs, CANCEL)
            open_for["server"].discard(theirs)
            given_up.add(theirs)
        elif step == "move":
            move("client" if number % 2 else "server", size)
        elif step == "read":
            for name, stream in list(unread)[number:]:
                read(name, stream)
    # A client's stream that waits for its turn gets one when all others have ended.
    finished: set[int] = set()
    while True:
        moved = move("client", 100) | move("server", 100)
        was_unread = list(unread)
        for name, stream in was_unread:
            read(name, stream)
        if moved or was_unread:
            continue
        waiting = [stream for stream in pair.server.streams if stream not in finished]
        if not waiting:
            break
        for stream in waiting:
            finished.add(stream)
            client.end(stream)
            server.begin(stream, OK)
            server.end(stream, TRAILERS)
    for (side, stream), text in said.items():
        other = pair.server if side == "client" else pair.client
        received = other.streams.get(stream)
        if received is None and side == "client" and stream in pair.client.streams:
            # It was one too many, sent before the server had said how many it takes: the client may try it again.
            assert pair.client.streams[stream].error_code == REFUSED_STREAM
        elif stream not in given_up:
            assert received is not None
            assert (received.data, received.ended, received.error_code) == (text, True, NEVER)
        elif received is not None:
            assert text.startswith(received.data)
            assert not received.ended or received.data == text
    assert client.unsent_bytes == server.unsent_bytes == client.open_streams == server.open_streams == 0
