"""What engines promise to handlers, and what the interoperability cases cannot see: the context, errors, and calls given up."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from featurestore.errors import ErrorCode
from featurestore.server.failure import GRPC_NUMBERS
from featurestore.server.wire import featurestore_pb2 as public
from tests.interop.callers import BlockingCaller, Caller, Metadata
from tests.interop.serve import MESSAGE_BYTES_MAX
from tests.interop.service import (
    ECHO_INITIAL,
    ECHO_TRAILING,
    FLOOD_MESSAGE_BYTES,
    FLOOD_MESSAGES,
    PROBE,
    SERVICE,
    TOKEN,
    messages,
)

OK = grpc.StatusCode.OK


@pytest.fixture
def token() -> Metadata:
    """Names one call."""
    return ((TOKEN, uuid.uuid4().hex),)


def has(caller: Caller, event: bytes, token: Metadata) -> bool:
    """Waits until that call's handler has begun, or ended."""
    return caller.unary(PROBE + "WaitFor", event, metadata=token, timeout=10).code is OK


# ------------------------------------------------------------------------------------------------------------- the context


def test_a_handler_is_told_who_calls_and_until_when(caller: Caller, url: str):
    pairs: Metadata = (("plain", "a b"), ("twice", "1"), ("twice", "2"), ("trace-bin", b"\x00\xff,"))
    described = json.loads(caller.unary(PROBE + "Describe", b"", metadata=pairs, timeout=15).answers[0])
    assert described["user_agent"].startswith("interop/1 grpc-python")
    assert 10 < described["left_s"] < 16  # grpcio rounds it up
    metadata = described["metadata"]
    assert metadata.pop("user-agent") == described["user_agent"]
    assert metadata == {"plain": "a b", "twice": "1,2", "trace-bin": b"\x00\xff,".hex()}
    assert described["peer"].startswith("unix:" if url.startswith("unix:") else "ipv4:127.0.0.1:")


def test_no_deadline_is_none(caller: Caller):
    assert json.loads(caller.unary(PROBE + "Describe", b"", timeout=None).answers[0])["left_s"] is None


def test_initial_metadata_goes_out_with_the_first_answer(caller: Caller):
    stream = caller.stream(SERVICE + "FullDuplexCall", metadata=((ECHO_INITIAL, "first"),))
    request = messages.StreamingOutputCallRequest(response_parameters=[{"size": 1}])
    stream.send(request.SerializeToString())
    assert stream.receive() is not None
    stream.end()
    assert stream.outcome().initial[ECHO_INITIAL] == "first"


def test_a_stream_without_answers_still_has_its_metadata(url: str, certificates: Path):
    caller = BlockingCaller(url, certificates)  # grpc.aio's loses initial metadata that come along with the status
    stream = caller.stream(SERVICE + "FullDuplexCall", metadata=((ECHO_INITIAL, "x"), (ECHO_TRAILING, b"\x00")))
    stream.end()
    outcome = stream.outcome()
    assert (outcome.code, outcome.initial.get(ECHO_INITIAL), outcome.trailing.get(ECHO_TRAILING)) == (OK, "x", b"\x00")
    caller.close()


# ------------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("code", list(ErrorCode), ids=lambda code: code.value)
def test_every_code_goes_out(caller: Caller, code: ErrorCode):
    request = messages.SimpleRequest(response_status={"code": GRPC_NUMBERS[code], "message": "so"})
    outcome = caller.unary(SERVICE + "UnaryCall", request.SerializeToString())
    assert outcome[:3] == ([], grpc.StatusCode[code.value], "so")


def test_an_error_goes_out_with_its_details_and_the_handlers_metadata(caller: Caller):
    outcome = caller.unary(PROBE + "Refuse", b"12", metadata=((ECHO_TRAILING, b"\x01\x02"),))
    assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT
    assert outcome.message == "körper: got '12', expected an empty one"
    assert outcome.trailing[ECHO_TRAILING] == b"\x01\x02"
    encoded = outcome.trailing["grpc-status-details-bin"]
    assert isinstance(encoded, bytes)
    status, details = public.Status.FromString(encoded), public.ErrorDetails()
    assert (status.code, status.message) == (3, outcome.message)
    assert status.details[0].Unpack(details)
    assert [(each.field, each.value, each.expected) for each in details.violations] == [("körper", "'12'", "an empty one")]


def test_a_defect_is_internal_and_tells_nothing(caller: Caller):
    outcome = caller.unary(PROBE + "Fail", b"")
    assert outcome.code is grpc.StatusCode.INTERNAL
    assert outcome.message.startswith("a defect of the server; its log has the cause under 'failure ")


def test_an_error_ends_a_stream_after_its_answers(caller: Caller):
    stream = caller.stream(SERVICE + "FullDuplexCall")
    for fields in ({"response_parameters": [{"size": 5}]}, {"response_status": {"code": 10, "message": "enough"}}):
        stream.send(messages.StreamingOutputCallRequest(**fields).SerializeToString())
    assert stream.receive() is not None
    assert stream.outcome()[:3] == ([], grpc.StatusCode.ABORTED, "enough")


@pytest.mark.parametrize("path", [SERVICE + "UnaryCall", PROBE + "Listen"])
def test_a_message_over_the_limit_is_refused_and_the_next_call_served(caller: Caller, path: str):
    outcome = caller.unary(path, bytes(MESSAGE_BYTES_MAX + 1))
    assert outcome[:2] == ([], grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert caller.unary(SERVICE + "EmptyCall", b"").code is OK


# ---------------------------------------------------------------------------------------------------------- calls given up


@pytest.mark.parametrize("method", ["Hang", "HangAfterAll"])
def test_a_deadline_ends_a_handler_that_waits(caller: Caller, token: Metadata, method: str):
    outcome = caller.unary(PROBE + method, b"", metadata=token, timeout=0.1)
    assert outcome.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert has(caller, b"ended", token)


@pytest.mark.parametrize("method", ["Hang", "HangAfterAll"])
def test_a_cancelled_call_ends_a_handler_that_waits(caller: Caller, token: Metadata, method: str):
    stream = caller.stream(PROBE + method, metadata=token)
    stream.send(b"")
    stream.end()
    assert has(caller, b"begun", token)
    stream.cancel()
    assert stream.outcome().code is grpc.StatusCode.CANCELLED
    assert has(caller, b"ended", token)


def test_a_cancelled_stream_ends_a_handler_that_waits_for_requests(caller: Caller, token: Metadata):
    stream = caller.stream(PROBE + "Listen", metadata=token)
    stream.send(b"one")
    assert stream.receive() == b"one"
    stream.cancel()
    assert has(caller, b"ended", token)


def settled(count: Callable[[], int], caller: Caller) -> int:
    """A count that stayed as it was during fifty calls beside it."""
    value, unchanged = count(), 0
    while unchanged < 50:
        assert caller.unary(SERVICE + "EmptyCall", b"").code is OK
        now = count()
        value, unchanged = now, unchanged + 1 if now == value else 0
    return value


def test_a_slow_reader_holds_back_the_handler_and_ends_it_by_going(caller: Caller, token: Metadata):
    stream = caller.stream(PROBE + "Flood", metadata=token)
    stream.send(b"")
    assert stream.receive() is not None
    given = settled(lambda: int(caller.unary(PROBE + "Answers", b"", metadata=token).answers[0]), caller)
    assert 0 < given < FLOOD_MESSAGES
    stream.cancel()
    assert has(caller, b"ended", token)


def test_a_slow_handler_holds_back_the_sender(url: str, certificates: Path, token: Metadata):
    caller = BlockingCaller(url, certificates)
    sent, last = 0, FLOOD_MESSAGES

    def requests() -> Iterator[bytes]:
        nonlocal sent
        while sent < last:
            sent += 1
            yield bytes(FLOOD_MESSAGE_BYTES)

    answers = caller.channel.stream_stream(PROBE + "Stall")(requests(), metadata=token, timeout=60)
    held = settled(lambda: sent, caller)
    assert 0 < held < FLOOD_MESSAGES
    last = held + 10
    caller.unary(PROBE + "Release", b"", metadata=token)
    assert list(answers) == [str(sent).encode()]
    assert sent > held
    caller.close()
