"""The test service as rows of our own table of methods: any engine serves them, as it serves the feature store's.

``TestService`` is what gRPC's interoperability cases call. ``Probe`` shows what those cases cannot see from outside: what a
handler was told of its call, and what became of one whose caller gave up.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import grpc

from featurestore.errors import ErrorCode, FeatureStoreError, InvalidArgumentError
from featurestore.server.context import CallContext
from featurestore.server.methods import Method, StreamMethod, UnaryMethod

messages: Any = grpc.protos("tests/interop/testing.proto")

SERVICE = "/grpc.testing.TestService/"
PROBE = "/featurestore.testing.Probe/"

ECHO_INITIAL, ECHO_TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
TOKEN = "x-token"  # noqa: S105  the metadata by which a test finds its call again

FLOOD_MESSAGES = 8_192
"""More than any peer takes in advance: grpcio doubles its window by what it guesses of the line, and was seen to take 1,024."""
FLOOD_MESSAGE_BYTES = 64 << 10


class EchoedError(FeatureStoreError):
    """The status that the caller asked for."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.code = list(ErrorCode)[number - 1]


def echo_metadata(context: CallContext) -> None:
    if ECHO_INITIAL in context.metadata:
        context.initial_metadata = ((ECHO_INITIAL, context.metadata[ECHO_INITIAL]),)
    if ECHO_TRAILING in context.metadata:
        context.trailing_metadata = ((ECHO_TRAILING, context.metadata[ECHO_TRAILING]),)


def echo_status(request: Any) -> None:
    if request.response_status.code:
        raise EchoedError(request.response_status.code, request.response_status.message)


def check_compressed(request: Any, context: CallContext) -> None:
    if request.HasField("expect_compressed") and context.request_compressed is not None:
        expected = request.expect_compressed.value
        if context.request_compressed != expected:
            raise InvalidArgumentError.of("expect_compressed", expected, f"{context.request_compressed}, as it came")


def payload(size: int) -> dict[str, bytes]:
    return {"body": bytes(size)}


# ------------------------------------------------------------------------------------------------------------- TestService


def empty_call(data: bytes, context: CallContext) -> bytes:
    echo_metadata(context)
    return messages.Empty.FromString(data).SerializeToString()


def unary_call(data: bytes, context: CallContext) -> bytes:
    request = messages.SimpleRequest.FromString(data)
    check_compressed(request, context)
    echo_metadata(context)
    echo_status(request)
    context.compress = request.response_compressed.value
    return messages.SimpleResponse(payload=payload(request.response_size)).SerializeToString()


async def streaming_input_call(requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
    echo_metadata(context)
    size = 0
    async for data in requests:
        request = messages.StreamingInputCallRequest.FromString(data)
        check_compressed(request, context)
        size += len(request.payload.body)
    yield messages.StreamingInputCallResponse(aggregated_payload_size=size).SerializeToString()


async def full_duplex_call(requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
    echo_metadata(context)
    async for data in requests:
        request = messages.StreamingOutputCallRequest.FromString(data)
        echo_status(request)
        for parameters in request.response_parameters:
            await asyncio.sleep(parameters.interval_us / 1e6)
            context.compress = parameters.compressed.value
            yield messages.StreamingOutputCallResponse(payload=payload(parameters.size)).SerializeToString()


async def half_duplex_call(requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
    gathered = [data async for data in requests]

    async def each() -> AsyncIterator[bytes]:
        for data in gathered:
            yield data

    async for answer in full_duplex_call(each(), context):
        yield answer


# ------------------------------------------------------------------------------------------------------------------- Probe


class Probe:
    """What happened to the calls that carry a token."""

    def __init__(self) -> None:
        self._events: defaultdict[tuple[str, str], asyncio.Event] = defaultdict(asyncio.Event)
        self._answers: defaultdict[str, int] = defaultdict(int)

    def _event(self, name: str, context: CallContext) -> asyncio.Event:
        return self._events[name, context.text(TOKEN)]

    def describe(self, data: bytes, context: CallContext) -> bytes:
        """What the context says, as JSON; bytes in hexadecimal."""
        described = {
            "peer": context.peer,
            "user_agent": context.user_agent,
            "left_s": None if context.deadline is None else context.deadline - time.monotonic(),
            "metadata": {key: value.hex() if isinstance(value, bytes) else value for key, value in context.metadata.items()},
        }
        return json.dumps(described).encode()

    def refuse(self, data: bytes, context: CallContext) -> bytes:
        """An error with details, after metadata was set."""
        echo_metadata(context)
        raise InvalidArgumentError.of("körper", data.decode(), "an empty one")

    def fail(self, data: bytes, context: CallContext) -> bytes:
        """A defect."""
        raise ZeroDivisionError("the insides")

    def hang(self, data: bytes, context: CallContext) -> Awaitable[bytes]:
        """Waits until it is cancelled."""

        async def wait() -> bytes:
            self._event("begun", context).set()
            try:
                return await asyncio.get_running_loop().create_future()
            finally:
                self._event("ended", context).set()

        return wait()

    async def listen(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        """Answers each request with its bytes; waits for the next one until it is cancelled."""
        try:
            async for data in requests:
                yield data
        finally:
            self._event("ended", context).set()

    async def flood(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        """Many large answers to one request, as fast as they are taken."""
        try:
            await anext(requests)
            for _ in range(FLOOD_MESSAGES):
                self._answers[context.text(TOKEN)] += 1
                yield bytes(FLOOD_MESSAGE_BYTES)
        finally:
            self._event("ended", context).set()

    async def stall(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        """Reads no request before ``release`` was called; answers with their number."""
        await self._event("released", context).wait()
        count = 0
        async for _ in requests:
            count += 1
        yield str(count).encode()

    def release(self, data: bytes, context: CallContext) -> bytes:
        """Lets ``stall`` begin."""
        self._event("released", context).set()
        return b""

    def answers(self, data: bytes, context: CallContext) -> bytes:
        """How many answers ``flood`` has given."""
        return str(self._answers[context.text(TOKEN)]).encode()

    def wait_for(self, data: bytes, context: CallContext) -> Awaitable[bytes]:
        """Answers when the handler of that token's call has ``begun`` or ``ended``."""

        async def wait() -> bytes:
            await self._event(data.decode(), context).wait()
            return b""

        return wait()


def methods() -> dict[str, Method]:
    """The table, by path."""
    probe = Probe()
    rows: tuple[Method, ...] = (
        UnaryMethod(SERVICE + "EmptyCall", empty_call, inline=True),
        UnaryMethod(SERVICE + "UnaryCall", unary_call, inline=True),
        StreamMethod(SERVICE + "StreamingInputCall", streaming_input_call),
        StreamMethod(SERVICE + "StreamingOutputCall", full_duplex_call),
        StreamMethod(SERVICE + "FullDuplexCall", full_duplex_call),
        StreamMethod(SERVICE + "HalfDuplexCall", half_duplex_call),
        UnaryMethod(PROBE + "Describe", probe.describe, inline=True),
        UnaryMethod(PROBE + "Refuse", probe.refuse, inline=True),
        UnaryMethod(PROBE + "Fail", probe.fail, inline=True),
        UnaryMethod(PROBE + "Hang", probe.hang, inline=False),
        UnaryMethod(PROBE + "HangAfterAll", probe.hang, inline=True),
        StreamMethod(PROBE + "Listen", probe.listen),
        StreamMethod(PROBE + "Flood", probe.flood),
        UnaryMethod(PROBE + "Answers", probe.answers, inline=True),
        StreamMethod(PROBE + "Stall", probe.stall),
        UnaryMethod(PROBE + "Release", probe.release, inline=True),
        UnaryMethod(PROBE + "WaitFor", probe.wait_for, inline=False),
    )
    return {row.path: row for row in rows}
