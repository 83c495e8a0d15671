"""gRPC's standard interoperability cases, by their names: what every client of gRPC may rely on, from either engine."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.interop import frames
from tests.interop.callers import Caller, Metadata
from tests.interop.conftest import Served
from tests.interop.service import ECHO_INITIAL, ECHO_TRAILING, SERVICE, messages

OK = grpc.StatusCode.OK
LARGE_REQUEST, LARGE_ANSWER = 271_828, 314_159
REQUEST_SIZES = [27_182, 8, 1_828, 45_904]
ANSWER_SIZES = [31_415, 9, 2_653, 58_979]
ECHOED: Metadata = ((ECHO_INITIAL, "test_initial_metadata_value"), (ECHO_TRAILING, b"\xab\xab\xab"))


def simple(**fields: Any) -> bytes:
    """A SimpleRequest."""
    return messages.SimpleRequest(**fields).SerializeToString()


def large(**fields: Any) -> bytes:
    return simple(response_size=LARGE_ANSWER, payload={"body": bytes(LARGE_REQUEST)}, **fields)


def output(*sizes: int, body: int = 0, **fields: Any) -> bytes:
    """A StreamingOutputCallRequest."""
    parameters = [{"size": size} for size in sizes]
    request = messages.StreamingOutputCallRequest(response_parameters=parameters, payload={"body": bytes(body)}, **fields)
    return request.SerializeToString()


def input_of(size: int, **fields: Any) -> bytes:
    """A StreamingInputCallRequest."""
    return messages.StreamingInputCallRequest(payload={"body": bytes(size)}, **fields).SerializeToString()


def body_of(data: bytes) -> bytes:
    return messages.SimpleResponse.FromString(data).payload.body


def sizes_of(answers: list[bytes]) -> list[int]:
    bodies = [messages.StreamingOutputCallResponse.FromString(data).payload.body for data in answers]
    assert all(body == bytes(len(body)) for body in bodies)
    return [len(body) for body in bodies]


def total_of(answers: list[bytes]) -> list[int]:
    return [messages.StreamingInputCallResponse.FromString(data).aggregated_payload_size for data in answers]


def test_empty_unary(caller: Caller):
    outcome = caller.unary(SERVICE + "EmptyCall", b"")
    assert (outcome.code, outcome.answers) == (OK, [b""])


def test_large_unary(caller: Caller):
    outcome = caller.unary(SERVICE + "UnaryCall", large())
    assert outcome.code is OK
    assert body_of(outcome.answers[0]) == bytes(LARGE_ANSWER)


def test_client_streaming(caller: Caller):
    stream = caller.stream(SERVICE + "StreamingInputCall")
    for size in REQUEST_SIZES:
        stream.send(input_of(size))
    stream.end()
    outcome = stream.outcome()
    assert (outcome.code, total_of(outcome.answers)) == (OK, [74_922])


def test_server_streaming(caller: Caller):
    stream = caller.stream(SERVICE + "StreamingOutputCall")
    stream.send(output(*ANSWER_SIZES))
    stream.end()
    outcome = stream.outcome()
    assert (outcome.code, sizes_of(outcome.answers)) == (OK, ANSWER_SIZES)


def test_ping_pong(caller: Caller):
    stream = caller.stream(SERVICE + "FullDuplexCall")
    for request_size, answer_size in zip(REQUEST_SIZES, ANSWER_SIZES, strict=True):
        stream.send(output(answer_size, body=request_size))
        answer = stream.receive()
        assert answer is not None
        assert sizes_of([answer]) == [answer_size]
    stream.end()
    assert stream.outcome()[:2] == ([], OK)


def test_half_duplex(caller: Caller):
    stream = caller.stream(SERVICE + "HalfDuplexCall")
    for size in ANSWER_SIZES:
        stream.send(output(size))
    stream.end()
    outcome = stream.outcome()
    assert (outcome.code, sizes_of(outcome.answers)) == (OK, ANSWER_SIZES)


def test_empty_stream(caller: Caller):
    stream = caller.stream(SERVICE + "FullDuplexCall")
    stream.end()
    assert stream.outcome()[:2] == ([], OK)


def test_cancel_after_begin(caller: Caller):
    stream = caller.stream(SERVICE + "StreamingInputCall")
    stream.cancel()
    assert stream.outcome()[:2] == ([], grpc.StatusCode.CANCELLED)


def test_cancel_after_first_response(caller: Caller):
    stream = caller.stream(SERVICE + "FullDuplexCall")
    stream.send(output(ANSWER_SIZES[0], body=REQUEST_SIZES[0]))
    answer = stream.receive()
    assert answer is not None
    assert sizes_of([answer]) == ANSWER_SIZES[:1]
    stream.cancel()
    assert stream.outcome()[:2] == ([], grpc.StatusCode.CANCELLED)


def test_timeout_on_sleeping_server(caller: Caller):
    caller.unary(SERVICE + "EmptyCall", b"")  # so that the time is not spent on connecting
    stream = caller.stream(SERVICE + "FullDuplexCall", timeout=0.001)
    assert stream.outcome()[:2] == ([], grpc.StatusCode.DEADLINE_EXCEEDED)


def test_custom_metadata(caller: Caller):
    unary = caller.unary(SERVICE + "UnaryCall", large(), metadata=ECHOED)
    stream = caller.stream(SERVICE + "FullDuplexCall", metadata=ECHOED)
    stream.send(output(LARGE_ANSWER, body=LARGE_REQUEST))
    stream.end()
    for outcome in (unary, stream.outcome()):
        assert (outcome.code, len(outcome.answers)) == (OK, 1)
        assert outcome.initial[ECHO_INITIAL] == "test_initial_metadata_value"
        assert outcome.trailing[ECHO_TRAILING] == b"\xab\xab\xab"


def test_status_code_and_message(caller: Caller):
    status = {"code": 2, "message": "test status message"}
    unary = caller.unary(SERVICE + "UnaryCall", simple(response_status=status))
    stream = caller.stream(SERVICE + "FullDuplexCall")
    stream.send(output(response_status=status))
    for outcome in (unary, stream.outcome()):
        assert outcome[:3] == ([], grpc.StatusCode.UNKNOWN, "test status message")


def test_special_status_message(caller: Caller):
    message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    outcome = caller.unary(SERVICE + "UnaryCall", simple(response_status={"code": 2, "message": message}))
    assert (outcome.code, outcome.message) == (grpc.StatusCode.UNKNOWN, message)


def test_unimplemented_method(caller: Caller):
    assert caller.unary(SERVICE + "UnimplementedCall", b"").code is grpc.StatusCode.UNIMPLEMENTED


def test_unimplemented_service(caller: Caller):
    outcome = caller.unary("/grpc.testing.UnimplementedService/UnimplementedCall", b"")
    assert outcome.code is grpc.StatusCode.UNIMPLEMENTED


# ------------------------------------------------------------------------------------------------------------- compression


def tells_how_requests_came(engine: Served) -> None:
    if engine.engine == "grpcio":
        pytest.skip("grpcio's Python server does not tell whether a request came compressed")


def test_server_compressed_unary(caller: Caller):
    for compressed in (True, False):
        outcome = caller.unary(SERVICE + "UnaryCall", large(response_compressed={"value": compressed}))
        assert outcome.code is OK
        assert body_of(outcome.answers[0]) == bytes(LARGE_ANSWER)


def test_server_compressed_unary_by_its_frames(url: str, certificates: Path):
    for compressed in (True, False):
        request = simple(response_size=LARGE_ANSWER, response_compressed={"value": compressed})
        ((came_compressed, answer),) = frames.call(url, certificates, SERVICE + "UnaryCall", [(False, request)])
        assert came_compressed is compressed
        assert body_of(answer) == bytes(LARGE_ANSWER)


def test_an_answer_is_not_compressed_for_one_who_does_not_accept_that(engine: Served, url: str, certificates: Path):
    if engine.engine == "grpcio":
        pytest.skip("grpcio's Python server does not tell what the caller accepts, and compresses all the same")
    request = simple(response_size=LARGE_ANSWER, response_compressed={"value": True})
    answers = frames.call(url, certificates, SERVICE + "UnaryCall", [(False, request)], accepts="identity")
    assert [compressed for compressed, _ in answers] == [False]


def test_client_compressed_unary(caller: Caller):
    for compressed, compression in ((True, grpc.Compression.Gzip), (False, grpc.Compression.NoCompression)):
        request = large(expect_compressed={"value": compressed})
        outcome = caller.unary(SERVICE + "UnaryCall", request, compression=compression)
        assert outcome.code is OK
        assert body_of(outcome.answers[0]) == bytes(LARGE_ANSWER)


def test_client_compressed_unary_is_checked(engine: Served, caller: Caller):
    tells_how_requests_came(engine)
    outcome = caller.unary(SERVICE + "UnaryCall", large(expect_compressed={"value": True}))
    assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT


COMPRESSED_ANSWERS = messages.StreamingOutputCallRequest(
    response_parameters=[
        {"size": 31_415, "compressed": {"value": True}},
        {"size": 92_653, "compressed": {"value": False}},
    ]
).SerializeToString()


def test_server_compressed_streaming(caller: Caller):
    stream = caller.stream(SERVICE + "StreamingOutputCall")
    stream.send(COMPRESSED_ANSWERS)
    stream.end()
    outcome = stream.outcome()
    assert (outcome.code, sizes_of(outcome.answers)) == (OK, [31_415, 92_653])


def test_server_compressed_streaming_by_its_frames(url: str, certificates: Path):
    answers = frames.call(url, certificates, SERVICE + "StreamingOutputCall", [(False, COMPRESSED_ANSWERS)])
    assert [compressed for compressed, _ in answers] == [True, False]
    assert sizes_of([answer for _, answer in answers]) == [31_415, 92_653]


def test_client_compressed_streaming(url: str, certificates: Path):
    """grpcio's clients cannot leave out one message of a stream that they compress."""
    requests = [
        (True, input_of(27_182, expect_compressed={"value": True})),
        (False, input_of(45_904, expect_compressed={"value": False})),
    ]
    ((_, answer),) = frames.call(url, certificates, SERVICE + "StreamingInputCall", requests)
    assert total_of([answer]) == [73_086]


def test_client_compressed_streaming_is_checked(engine: Served, caller: Caller):
    tells_how_requests_came(engine)
    stream = caller.stream(SERVICE + "StreamingInputCall")
    stream.send(input_of(27_182, expect_compressed={"value": True}))
    assert stream.outcome()[:2] == ([], grpc.StatusCode.INVALID_ARGUMENT)
