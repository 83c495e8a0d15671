"""Peers that do not speak as they should, HTTP/2 or gRPC: each is told so by the code that fits, and nobody else notices."""

import gzip
from contextlib import closing

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.hostile import frames
from tests.hostile.peers import MIB, Caller, Peer

FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR = 3, 5, 6, 9
ECHO = frames.block(frames.request_pairs("/t/Echo"))


# ------------------------------------------------------------------------------------------------------------------ HTTP/2


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500),
        b"\0" * 1_000,
        frames.PREFACE + frames.ping(),
        frames.PREFACE + b"\xff" * 100,
    ],
    ids=["http/1.1", "almost", "resp", "tls", "zeros", "no settings", "noise"],
)
def test_what_does_not_begin_as_http2_is_closed(patient, text):
    others, peer = patient.caller(), patient.peer(greet=False)
    peer.send(text)
    assert peer.until_closed() in (frames.PROTOCOL_ERROR, FRAME_SIZE_ERROR, None)
    assert others.is_served()


def test_noise_behind_a_long_message_ends_the_connection(attack, capfd):
    server = attack()  # a connection is read in pieces, once it is sent much
    others, peer = server.caller(), server.peer()
    peer.send(frames.call(1, "/t/Echo") + frames.data(1, frames.message(bytes(900_000)), end=True))
    assert peer.until(frames.DATA, 1)
    peer.send(b"\xff" * 200_000)
    assert peer.until_closed() in (FRAME_SIZE_ERROR, None)  # None: reset, since nobody has read all of it
    assert others.is_served()
    assert not capfd.readouterr().err, "of the server, which has this process's standard error"


@pytest.mark.parametrize(
    ("sent", "codes"),
    [
        (frames.data(0, b"x"), {frames.PROTOCOL_ERROR}),
        (frames.data(1, b"x"), {frames.PROTOCOL_ERROR, STREAM_CLOSED}),
        (frames.headers(0, ECHO), {frames.PROTOCOL_ERROR}),
        (frames.headers(2, ECHO), {frames.PROTOCOL_ERROR}),
        (frames.headers(1, b"\xff\xff\xff\xff\xff\xff"), {COMPRESSION_ERROR}),
        (frames.headers(1, frames.indexed(99)), {COMPRESSION_ERROR}),
        (frames.headers(1, ECHO, end_headers=False) + frames.ping(), {frames.PROTOCOL_ERROR}),
        (frames.frame(frames.CONTINUATION, 4, 1, ECHO), {frames.PROTOCOL_ERROR}),
        (frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(4) + ECHO), {frames.PROTOCOL_ERROR}),
        (frames.frame(frames.PING, 0, 0, b"short"), {FRAME_SIZE_ERROR}),
        (frames.frame(frames.SETTINGS, 0, 0, b"odd"), {FRAME_SIZE_ERROR}),
        (frames.frame(frames.SETTINGS, 0, 1), {frames.PROTOCOL_ERROR}),
        (frames.settings((4, 0x80000000)), {FLOW_CONTROL_ERROR}),
        (frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), {frames.PROTOCOL_ERROR}),
        (frames.window_update(0, 0x7FFFFFFF), {FLOW_CONTROL_ERROR}),
        (frames.frame(frames.HEADERS, 0x0C, 1, b"\xff" + ECHO[:50]), {frames.PROTOCOL_ERROR, FRAME_SIZE_ERROR}),
        (b"\xff\xff\xff" + frames.data(1, b"x")[3:], {FRAME_SIZE_ERROR}),
    ],
)
def test_broken_rules_end_the_connection_by_the_code_that_fits(patient, sent, codes):
    others, peer = patient.caller(), patient.peer()
    peer.send(sent)
    assert peer.until_closed() in codes
    assert others.is_served()


@pytest.mark.parametrize(
    "header_block",
    [
        frames.block([(":method", "POST")]),
        ECHO + frames.block([(":path", "/late")]),
        frames.block([(":path", "/x"), (":path", "/y"), (":method", "POST"), (":scheme", "http")]),
        frames.block([(":unknown", "x")]) + ECHO,
        ECHO + frames.block([("UPPER", "x")]),
        ECHO + frames.block([("connection", "close")]),
        frames.block([(":method", "POST"), (":scheme", "http"), (":path", "")]),
        ECHO + frames.block([("content-length", "7")]),
    ],
)
def test_malformed_requests_are_reset_and_the_connection_goes_on(patient, header_block):
    peer = patient.peer()
    peer.send(frames.headers(1, header_block, end_stream=True))
    assert peer.until(frames.RST_STREAM)[2:] == (1, frames.PROTOCOL_ERROR.to_bytes(4, "big"))
    peer.send(frames.ping(b"still up"))
    assert peer.until(frames.PING)[3] == b"still up"


# -------------------------------------------------------------------------------------------------------------------- gRPC

GOOD = frames.message(b"good")
BOMB = gzip.compress(bytes(50 * MIB))
EXPECTED_TIMEOUT = "expected 1 to 8 digits and one of H, M, S, m, u, n"


@pytest.mark.parametrize(
    ("headers", "body", "status", "message"),
    [
        ({"content_type": "text/html"}, GOOD, 2, "content-type is 'text/html': expected application/grpc"),
        ({"content_type": None}, GOOD, 2, "content-type is '': expected application/grpc"),
        (
            {"content_type": "application/grpc+json"},
            GOOD,
            2,
            "content-type is 'application/grpc+json': expected application/grpc",
        ),
        ({"te": None}, GOOD, 13, "te is missing: expected trailers, which a proxy on the way may have taken out"),
        ({":method": "GET"}, GOOD, 12, ":method is 'GET': expected POST"),
        ({":path": "/t/Absent"}, GOOD, 12, "method /t/Absent does not exist"),
        ({"grpc_timeout": "soon"}, GOOD, 13, f"grpc-timeout is 'soon': {EXPECTED_TIMEOUT}"),
        ({"grpc_timeout": "123456789S"}, GOOD, 13, f"grpc-timeout is '123456789S': {EXPECTED_TIMEOUT}"),
        ({"x_bin": "***"}, GOOD, 13, "metadata x-bin is '***': expected base64"),
        ({"x_bin": b"\xe9\xe9"}, GOOD, 13, "metadata x-bin is 'éé': expected base64"),
        ({"grpc_encoding": "snappy"}, GOOD, 12, "grpc-encoding is 'snappy': expected identity or gzip"),
        (
            {},
            frames.message(gzip.compress(b"x", mtime=0), 1),
            13,
            "a message is compressed, and grpc-encoding is identity: expected gzip",
        ),
        ({}, frames.message(b"x", 7), 13, "a message begins with 7: expected 0, or 1 where it is compressed"),
        ({}, frames.message(bytes(MIB + 1)), 8, f"a message of {MIB + 1} bytes: expected at most {MIB}"),
        ({}, frames.message(b"x", size=0xFFFFFFFF), 8, f"a message of {0xFFFFFFFF} bytes: expected at most {MIB}"),
        ({"grpc_encoding": "gzip"}, frames.message(BOMB, 1), 8, f"a message of more than {MIB} bytes: expected at most {MIB}"),
        ({"grpc_encoding": "gzip"}, frames.message(b"no gzip", 1), 13, "a message is not gzip: "),
        ({"grpc_encoding": "gzip"}, frames.message(BOMB[:99], 1), 13, "a compressed message does not end where it should"),
        ({}, GOOD + GOOD, 13, "2 whole messages in a call of one request: expected 1"),
        ({}, b"", 13, "0 whole messages in a call of one request: expected 1"),
        ({}, GOOD[:-1], 13, "0 whole messages in a call of one request: expected 1"),
        ({}, GOOD + b"\0\0", 13, "1 whole messages in a call of one request: expected 1"),
        ({":path": "/t/Hold"}, GOOD[:-1], 13, "the stream ended within a message"),
    ],
)
def test_calls_that_are_not_grpc_are_refused_by_the_status_that_fits(patient, headers, body, status, message):
    caller = patient.caller()
    before = patient.resident_bytes
    answer = caller.call("/t/Echo", body, **headers)
    assert answer.status == status
    assert answer.message.startswith(message)
    assert patient.resident_bytes - before < 8 * MIB
    assert caller.is_served()


def test_http_statuses_say_it_to_those_who_know_no_grpc(patient):
    caller = patient.caller()
    for headers, status in (({"content_type": "text/html"}, "415"), ({":method": "GET"}, "405"), ({"te": None}, "400")):
        assert caller.call("/t/Echo", GOOD, **headers).head[":status"] == status


def test_an_unknown_encoding_is_told_what_is_accepted(patient):
    answer = patient.caller().call("/t/Echo", GOOD, grpc_encoding="snappy")
    assert answer.status == 12
    assert answer.head["grpc-accept-encoding"] == "identity,gzip"


def test_a_refused_call_asks_for_no_more_of_its_body(patient):
    caller = patient.caller()
    stream = caller.begin("/t/Absent", bytes(MIB), end=False)
    assert caller.answer(stream).status == 12
    assert caller.is_served()


@pytest.mark.parametrize("path", ["/t/Large", "/t/Take"], ids=["unary", "stream"])
def test_a_bomb_is_inflated_beside_calls_that_come_after_it(attack, path):
    """Of which one that is not answered at once takes two turns of the event loop."""
    server = attack()
    caller = server.caller()
    bomb = caller.begin(path, frames.message(BOMB, 1), end=path == "/t/Large", grpc_encoding="gzip")
    later = caller.begin("/t/Later", GOOD)
    while not caller.answers[bomb].data:
        caller.pump()
    assert caller.answers[later].ended
    server.leave()


# ------------------------------------------------------------------------------------------------------------ a real server


@pytest.fixture(scope="module")
def server(start_server):
    return start_server("--grpc-engine", "native")


@pytest.fixture(scope="module")
def locked(start_server, tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    keys.write_text("secret\n")
    return start_server("--grpc-engine", "native", "--api-keys-file", str(keys))


NO_GZIP = frames.message(b"no gzip", 1)
KEY = "Bearer secret"


@pytest.mark.parametrize("method", ["WriteFeatures", "TakeSnapshot", "IngestFeatures"], ids=["inline", "task", "stream"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 16), ({"authorization": KEY, "grpc_timeout": "1n"}, 4), ({"authorization": KEY}, 13)],
    ids=["no key", "too late", "neither"],
)
def test_nothing_is_inflated_for_who_may_not_call(locked, method, headers, status):
    """What is no gzip is found only where it is."""
    with closing(Caller(int(locked.target.rpartition(":")[2]))) as caller:
        assert caller.call(f"/featurestore.v1.FeatureStore/{method}", NO_GZIP, grpc_encoding="gzip", **headers).status == status


def test_a_probe_that_needs_no_key_is_no_way_to_have_much_inflated(locked):
    with closing(Caller(int(locked.target.rpartition(":")[2]))) as caller:
        probe = frames.message(gzip.compress(bytes(10_000)), 1)
        answer = caller.call("/grpc.health.v1.Health/Check", probe, grpc_encoding="gzip")
        assert (answer.status, answer.message) == (8, "a message of more than 4096 bytes: expected at most 4096")
        assert (
            caller.call("/grpc.health.v1.Health/Check", frames.message(gzip.compress(b""), 1), grpc_encoding="gzip").status == 0
        )


def rapid_resets(count: int) -> bytes:
    streams = range(1, 2 * count, 2)
    return b"".join(frames.call(stream, "/grpc.health.v1.Health/Watch") + frames.reset(stream) for stream in streams)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        frames.GREETING + frames.ping() * 3_000,
        frames.GREETING + rapid_resets(3_000),
        frames.GREETING + frames.headers(1, ECHO, end_headers=False) + frames.frame(frames.CONTINUATION, 0, 1) * 3_000,
        frames.GREETING + frames.call(1, "/grpc.health.v1.Health/Watch") + frames.data(1, b"") * 3_000,
    ],
    ids=["http/1.1", "ping", "rapid reset", "continuation", "empty data"],
)
def test_a_server_process_with_its_own_limits_ends_them_and_serves_others(server, sent):
    with grpc.insecure_channel(server.target) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        assert check(health_pb2.HealthCheckRequest(), timeout=20).status == health_pb2.HealthCheckResponse.SERVING
        peer = Peer(int(server.target.rpartition(":")[2]), greet=False)
        peer.send(sent)
        assert peer.until_closed() in (frames.ENHANCE_YOUR_CALM, frames.PROTOCOL_ERROR, None)
        peer.close()
        assert check(health_pb2.HealthCheckRequest(), timeout=20).status == health_pb2.HealthCheckResponse.SERVING
    assert "defect" not in server.log
    assert "Traceback" not in server.log
