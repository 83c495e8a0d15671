"""Peers that send too much, too often or nothing: each meets a named limit, and others are served meanwhile."""

import select
import socket
import ssl
import subprocess
import time

import pytest

from featurestore.server.grpc_connection import TICK_CONNECTIONS
from tests.hostile import frames
from tests.hostile.peers import MIB, Attacked, Caller, Peer
from tests.hostile.serve import ANSWER_BYTES

HASTY = {
    "tick_s": 0.02,
    "greeting_timeout_s": 0.3,
    "request_timeout_s": 0.3,
    "stall_timeout_s": 0.3,
    "keepalive_s": 0.3,
    "keepalive_timeout_s": 0.3,
}


@pytest.fixture
def hasty(attack):
    """With short times."""
    server = attack(**HASTY)
    yield server
    server.leave()


def flood(server: Attacked, peer: Peer, what: bytes, others: Caller | None = None, times: int = 10_000) -> int | None:
    """Sends it until the server has had enough; the error code that it gives."""
    for _ in range(times):
        if not peer.send(what):
            break
        if others is not None:
            assert others.is_served()
            others = None
    else:
        raise AssertionError(f"{times} times {what[:40]!r}, and the connection is still open")
    return peer.until_closed()


def reads_nothing(server: Attacked) -> Peer:
    """Who opened its windows, asked for more than any socket's buffers hold, and takes none of it, not even the settings."""
    peer = server.peer(greet=False, receive_buffer=4_096)
    peer.send(frames.PREFACE + frames.settings((frames.INITIAL_WINDOW_SIZE, 0x7FFFFFFF)))
    peer.send(frames.window_update(0, 0x7FFF0000 - 65_535))
    for stream in range(1, 21, 2):
        peer.send(frames.call(stream, "/t/Large") + frames.data(stream, frames.message(b"x"), end=True))
    return peer


# ---------------------------------------------------------------------------------------------------------------- headers


def test_headers_above_header_bytes_max_are_answered_and_the_connection_goes_on(patient):
    caller = patient.caller()
    answer = caller.call("/t/Echo", frames.message(b"x"), x_long="y" * 4_096)
    assert (answer.status, answer.message) == (8, "the headers are too long: expected at most 4096 bytes")
    assert caller.is_served()


def test_a_bomb_of_the_header_table_ends_the_connection(patient):
    """One long header is remembered, and then meant by one byte a time."""
    others, peer = patient.caller(), patient.peer()
    before = patient.resident_bytes
    bomb = frames.block([("x-bomb", "y" * 3_900)], remembered=True) + frames.indexed(62) * 12_000
    peer.send(frames.headers(1, frames.block(frames.request_pairs("/t/Echo")) + bomb, end_stream=True))
    assert peer.until_closed() in (frames.ENHANCE_YOUR_CALM, None)
    assert others.is_served()
    assert patient.resident_bytes - before < 4 * MIB


@pytest.mark.parametrize("piece", [b"", b"\0", b"\x40\1x\x7f\xe1\x1e" + b"y" * 4_000], ids=["empty", "a byte", "a header"])
def test_continuations_that_never_end_the_headers_end_the_connection(patient, piece):
    others, peer = patient.caller(), patient.peer()
    before = patient.resident_bytes
    peer.send(frames.headers(1, frames.block(frames.request_pairs("/t/Echo")), end_headers=False))
    continuation = frames.frame(frames.CONTINUATION, 0, 1, piece)
    assert flood(patient, peer, continuation, others) in (frames.ENHANCE_YOUR_CALM, None)
    assert patient.resident_bytes - before < 4 * MIB
    assert patient.caller().is_served()


# ----------------------------------------------------------------------------------------------------------- control frames


def test_rapid_resets_end_the_connection(patient):
    others, peer = patient.caller(), patient.peer()
    for number in range(10_000):
        stream = 2 * number + 1
        if not peer.send(frames.call(stream, "/t/Never", end=True) + frames.reset(stream)):
            break
        if number == 100:
            assert others.is_served()
    else:
        raise AssertionError("10,000 resets, and the connection is still open")
    assert peer.until_closed() in (frames.ENHANCE_YOUR_CALM, None)
    assert others.is_served()


def test_making_the_server_reset_streams_ends_the_connection(patient):
    others, peer = patient.caller(), patient.peer()
    resets = 0
    while not peer.is_closed:
        peer.send(frames.call(2 * resets + 1, "/t/Never") + frames.window_update(2 * resets + 1, 0x7FFFFFFF))
        resets += 1
        peer.read()
        assert resets < 10_000
    assert peer.until_closed() in (frames.ENHANCE_YOUR_CALM, None)  # None: the end of the connection overtook it
    assert others.is_served()


def test_making_the_server_refuse_streams_and_taking_nothing_ends_the_connection(patient):
    """Without an acknowledgement of streams_max a refusal is due for each beyond it, and none can be sent."""
    others, peer = patient.caller(), reads_nothing(patient)
    before = patient.resident_bytes
    for batch in range(2_000):
        begun = [frames.call(1_001 + 2 * (100 * batch + number), "/t/Never") for number in range(100)]
        if not peer.send(b"".join(begun)):
            break
    else:
        raise AssertionError("200,000 streams, and the connection is still open")
    assert patient.resident_bytes - before < 4 * MIB
    assert others.is_served()


@pytest.mark.parametrize(
    "what",
    [
        frames.ping(),
        frames.settings(),
        frames.settings((4, 1_000)),
        frames.frame(frames.PRIORITY, 0, 5, b"\0\0\0\3\x10"),
        frames.data(1, b""),
        frames.frame(frames.DATA, frames.PADDED, 1, b"\x09" + bytes(9)),
        frames.frame(frames.GOAWAY, 0, 0, bytes(8)),
        frames.reset(1),
    ],
    ids=["ping", "settings", "windows", "priority", "empty data", "padding", "goaway", "reset"],
)
def test_floods_of_control_frames_end_the_connection(patient, what):
    others, peer = patient.caller(), patient.peer()
    before = patient.resident_bytes
    peer.send(frames.call(1, "/t/Never"))
    assert flood(patient, peer, what * 50, others) in (frames.ENHANCE_YOUR_CALM, None)
    assert others.is_served()
    assert patient.resident_bytes - before < 4 * MIB


def test_the_reason_is_given_where_the_peer_listens(patient):
    peer = patient.peer()
    peer.send(frames.ping() * 400)
    assert peer.until_closed() in (frames.ENHANCE_YOUR_CALM, None)


# ------------------------------------------------------------------------------------------------------ calls and memory


def test_calls_beyond_streams_max_are_refused_and_who_knew_it_is_gone(patient):
    peer = patient.peer(greet=False)
    peer.send(frames.GREETING)
    for number in range(20):
        peer.send(frames.call(2 * number + 1, "/t/Never"))
    peer.send(frames.call(41, "/t/Echo"))
    assert peer.until(frames.RST_STREAM)[2:] == (41, frames.REFUSED_STREAM.to_bytes(4, "big"))
    peer.send(frames.SETTINGS_ACK + frames.ping(b"still up"))
    assert peer.until(frames.PING)[3] == b"still up"
    peer.send(frames.call(43, "/t/Echo"))
    assert peer.until_closed() == frames.PROTOCOL_ERROR
    assert patient.caller().is_served()


def test_requests_that_do_not_end_hold_no_more_than_held_bytes_max(patient):
    others, caller = patient.caller(), patient.caller()
    before = patient.resident_bytes
    # Each promises a message of 1 MiB, and sends all of it but the last byte.
    streams = [caller.begin("/t/Echo", frames.message(bytes(MIB - 1), size=MIB), end=False) for _ in range(10)]
    refused = []
    while len(refused) < 6:
        caller.pump()
        refused = [stream for stream in streams if caller.answers[stream].ended]
    assert {caller.answers[stream].status for stream in refused} == {8}
    expected = "the requests that are being received take too much memory: try later"
    assert {caller.answers[stream].message for stream in refused} == {expected}
    assert others.is_served()
    # Another connection is below its own limit when what all of them hold reaches theirs.
    others_streams = [others.begin("/t/Echo", frames.message(bytes(MIB - 1), size=MIB), end=False) for _ in range(3)]
    while not [stream for stream in others_streams if others.answers[stream].ended]:
        others.pump()
    assert others.is_served()
    assert patient.resident_bytes - before < 24 * MIB


def test_small_messages_that_no_handler_takes_count_with_what_it_takes_to_keep_them(patient):
    peer = patient.peer()
    before = patient.resident_bytes
    for stream in (1, 3, 5):
        peer.send(frames.call(stream, "/t/Hold"))
        peer.until(frames.DATA, stream)
        peer.send(frames.data(stream, frames.message(b"") * (60_000 // 5)))
    peer.send(frames.ping(b"all sent"))
    refused: list[int] = []
    while len(refused) < 1:
        refused += [stream for kind, _, stream, _ in peer.read() if kind == frames.RST_STREAM]
    assert patient.resident_bytes - before < 16 * MIB
    assert patient.caller().is_served()


def test_answers_that_nobody_takes_are_bounded(patient):
    """A window of 0: nothing can be sent, and beyond unsent_bytes_max new calls are refused."""
    others, peer = patient.caller(), patient.peer(settings=frames.settings((frames.INITIAL_WINDOW_SIZE, 0)))
    before = patient.resident_bytes
    for number in range(15):
        stream = 2 * number + 1
        peer.send(frames.call(stream, "/t/Large") + frames.data(stream, frames.message(b"x"), end=True))
    refused: list[tuple[int, int, int, bytes]] = []
    while len(refused) < 10:
        refused = [got for got in [*peer.received, *peer.read()] if got[0] == frames.RST_STREAM]
    assert {got[3] for got in refused} == {frames.REFUSED_STREAM.to_bytes(4, "big")}
    assert patient.resident_bytes - before < 10 * MIB
    assert others.is_served()


def test_answers_that_come_later_are_bounded_as_well(patient):
    """All calls begin before the first answer is there."""
    others = patient.caller()
    before = patient.resident_bytes
    peers = [patient.peer(settings=frames.settings((frames.INITIAL_WINDOW_SIZE, 0))) for _ in range(12)]
    for peer in peers:
        streams = range(1, 40, 2)
        peer.send(
            b"".join(frames.call(each, "/t/Later") + frames.data(each, frames.message(b"x"), end=True) for each in streams)
        )
    for peer in peers:
        while sum(kind == frames.HEADERS for kind, _, _, _ in peer.received) < 20:
            assert peer.read()
    assert patient.resident_bytes - before < 60 * MIB, "of 240"
    assert others.is_served()
    answer = others.call("/t/Later", frames.message(b"x"))
    assert len(answer.data) == ANSWER_BYTES + 5, "who takes what it asks for is served whatever others owe"


def test_messages_that_handlers_are_at_are_bounded(patient):
    """Each takes two, one after the other, and is at them from then on."""
    others, caller = patient.caller(), patient.caller()
    message = frames.message(bytes(MIB - 100))
    taken = 0
    while taken < 20:
        stream = caller.begin("/t/Take", message, end=False)
        answer = caller.answers[stream]
        for number in (1, 2):
            while len(answer.data) < number * len(frames.message(b"taken")) and not answer.ended:
                caller.pump()
            if answer.ended:
                break
            taken += 1
            if number == 1:
                caller.send(stream, message)
        if answer.ended:
            break
    assert (answer.status, taken) == (8, 3), "held_bytes_max is 4 MiB"
    assert others.is_served()


def test_answers_that_nobody_takes_are_bounded_for_all_connections_together(patient):
    others = patient.caller()
    before = patient.resident_bytes
    owed = []
    for _ in range(12):
        peer = patient.peer(settings=frames.settings((frames.INITIAL_WINDOW_SIZE, 0)))
        for number in range(5):
            stream = 2 * number + 1
            peer.send(frames.call(stream, "/t/Large") + frames.data(stream, frames.message(b"x"), end=True))
        peer.send(frames.ping(b"all sent"))
        while (frames.PING, frames.ACK, 0, b"all sent") not in peer.received:
            peer.read()
        owed.append(sum(kind == frames.HEADERS for kind, _, _, _ in peer.received))
    assert owed[0] == 5
    assert owed[-1] == 2, "CROWDED_UNSENT_BYTES_MAX, and the answer that went beyond it"
    assert sum(owed) * ANSWER_BYTES < 34 * MIB
    assert patient.resident_bytes - before < 45 * MIB
    assert others.is_served()
    answer = others.call("/t/Large", frames.message(b"x"))
    assert len(answer.data) == ANSWER_BYTES + 5, "who takes what it asks for is served whatever others owe"


# ------------------------------------------------------------------------------------------------------------------- time


def test_who_says_nothing_is_not_waited_for(hasty):
    assert hasty.peer(greet=False).until_closed() in (None, frames.NO_ERROR)
    peer = hasty.peer(greet=False)
    peer.send(frames.GREETING[:30])
    assert peer.until_closed() in (None, frames.NO_ERROR)


def test_who_says_nothing_is_found_behind_many_who_may_be_silent(attack):
    """Of whom as many are looked after at a time."""
    server = attack(tick_s=0.02, greeting_timeout_s=0.3)
    for _ in range(TICK_CONNECTIONS):
        server.peer()
    silent = [server.peer(greet=False) for _ in range(2 * TICK_CONNECTIONS)]
    for each in silent:
        assert each.until_closed() in (None, frames.NO_ERROR)
    assert server.caller().is_served()
    server.leave()


def test_who_does_not_answer_pings_is_gone(hasty):
    peer = hasty.peer()
    began = time.monotonic()
    assert peer.until(frames.PING)[1] == 0
    peer.until_closed()
    assert time.monotonic() - began > 0.5


def test_who_answers_pings_may_be_silent(hasty):
    peer = hasty.peer()
    for _ in range(5):
        _, _, _, payload = peer.until(frames.PING)
        peer.send(frames.ping(payload, ack=True))
    peer.send(frames.ping(b"still up"))
    while (frames.PING, frames.ACK, 0, b"still up") not in peer.received:
        assert peer.read()


@pytest.mark.parametrize(
    "begun",
    [
        frames.headers(1, frames.block([("x", "y")]), end_headers=False)
        + frames.frame(frames.CONTINUATION, 0, 1, bytes(9_000)),
        frames.call(1, "/t/Never") + frames.data(1, bytes(9_000)),
    ],
    ids=["headers", "data"],
)
def test_a_frame_that_trickles_is_no_sign_of_life(hasty, begun):
    peer = hasty.peer()
    peer.send(begun[:-9_000])
    peer.socket.settimeout(0.02)
    sent = 0
    while not peer.is_closed:
        try:
            peer.read()
        except TimeoutError:
            sent += peer.send(b"\0")
    assert 5 < sent < 9_000


def test_a_body_that_trickles_is_refused_after_request_timeout_s(hasty):
    caller = hasty.caller()
    stream = caller.begin("/t/Echo", frames.message(b"x", size=100), end=False)
    answer = caller.answer(stream)
    assert (answer.status, answer.message) == (4, "the request did not end within 0.3 s")
    assert caller.is_served()


def test_a_request_that_has_come_whole_is_not_refused_however_long_its_answer_takes(hasty):
    peer = hasty.peer()
    peer.send(frames.call(1, "/t/Never"))
    peer.send(frames.ping(b"the head"))
    while (frames.PING, frames.ACK, 0, b"the head") not in peer.received:
        peer.read()
    peer.send(frames.data(1, frames.message(b"x"), end=True))
    for _ in range(3):  # a third of a second apart
        _, _, _, payload = peer.until(frames.PING)
        peer.send(frames.ping(payload, ack=True))
    assert not [got for got in peer.received if got[0] in (frames.HEADERS, frames.RST_STREAM)]


def test_a_window_that_stays_shut_ends_the_connection_whatever_else_is_sent(hasty):
    peer = hasty.peer(settings=frames.settings((frames.INITIAL_WINDOW_SIZE, 0)))
    peer.send(frames.call(1, "/t/Large") + frames.data(1, frames.message(b"x"), end=True))
    peer.socket.settimeout(0.02)
    sent = 0
    while not peer.is_closed:
        try:
            peer.read()
        except TimeoutError:
            sent += peer.send(frames.ping() + frames.window_update(1, 1))
    assert sent > 5
    assert hasty.caller().is_served()


def test_who_reads_nothing_is_closed(hasty):
    """Windows wide open, and a socket that nobody reads."""
    before = hasty.resident_bytes
    peer = hasty.peer(settings=frames.settings((frames.INITIAL_WINDOW_SIZE, 0x7FFFFFFF)), receive_buffer=4_096)
    peer.send(frames.window_update(0, 0x7FFF0000 - 65_535))
    for number in range(40):
        stream = 2 * number + 1
        peer.send(frames.call(stream, "/t/Large") + frames.data(stream, frames.message(b"x"), end=True))
    gone = select.poll()
    gone.register(peer.socket, 0)
    while not gone.poll(20):
        peer.send(frames.frame(frames.PRIORITY, 0, 99, b"\0\0\0\3\x10"))  # a sign of life that asks for no answer
        assert hasty.resident_bytes - before < 100 * MIB
    assert hasty.caller().is_served()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    files = ["-keyout", "server.key", "-out", "server.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2", *files],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    return str(directory)


def test_a_handshake_that_does_not_end_is_cut(attack, certificate):
    server = attack(tls=certificate, **HASTY)
    hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"
    for sent in (b"", hello):
        peer = server.peer(greet=False)
        peer.send(sent)
        peer.until_closed()
    server.leave()


def test_connections_at_tls_handshake_count(attack, certificate):
    server = attack(tls=certificate, connections_max=10)
    waiting = [server.peer(greet=False) for _ in range(10)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(f"{certificate}/server.pem")
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])

    def is_served() -> bool:
        with socket.create_connection(("127.0.0.1", server.port), 20) as plain:
            try:
                with context.wrap_socket(plain) as secured:
                    return bool(secured.recv(9))
            except ConnectionError:
                return False

    assert not is_served()
    for peer in waiting:
        peer.close()
    until = time.monotonic() + 20
    while not is_served():
        assert time.monotonic() < until
    server.leave()


# ------------------------------------------------------------------------------------------------------------ connections


@pytest.mark.parametrize("options", [{"connections_max": 100}, {"files": 356}], ids=["connections_max", "ulimit"])
def test_connections_beyond_the_limit_are_closed_and_those_within_are_served(attack, options):
    server = attack(**options)
    caller = server.caller()
    peers = [server.peer(greet=False) for _ in range(200)]
    kept = 0
    for peer in peers:
        peer.send(frames.GREETING)
        kept += bool(peer.read())
    assert kept == 99
    assert caller.is_served()
    for peer in peers:
        peer.close()
    until = time.monotonic() + 20
    while True:  # the server has to hear of it
        try:
            assert server.caller().is_served()
            break
        except ConnectionError:
            assert time.monotonic() < until
    server.leave()


def test_thousands_of_connections_take_little_memory_each(attack):
    server = attack()
    caller = server.caller()
    before = server.resident_bytes
    peers = []
    for _ in range(2_000):
        peers.append(server.peer(greet=False))
        peers[-1].send(frames.GREETING)
    for peer in peers:
        assert peer.read()
    assert server.resident_bytes - before < len(peers) * 64 * 1_024
    assert caller.is_served()
    server.leave()
