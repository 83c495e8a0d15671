"""The bound on calls in flight of the engine on grpcio; what it answers is in tests/conformance."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from featurestore.address import Address
from featurestore.server import grpc_aio
from featurestore.server.context import CallContext
from featurestore.server.grpc_aio import GrpcAioServer
from featurestore.server.listener import Listener
from featurestore.server.methods import StreamMethod, UnaryMethod


async def test_calls_beyond_the_bound_are_refused_and_those_that_ended_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_aio, "CALLS_IN_FLIGHT_MAX", 2)
    arrived, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def wait(data: bytes) -> bytes:
        arrived.release()
        await go_on.wait()
        return data

    async def wait_for_each(requests: AsyncIterator[bytes], _: CallContext) -> AsyncIterator[bytes]:
        async for data in requests:
            yield await wait(data)

    methods = {
        "/test/One": UnaryMethod("/test/One", lambda data, _: wait(data), inline=False),
        "/test/Many": StreamMethod("/test/Many", wait_for_each),
    }
    server = GrpcAioServer(methods, [Listener(Address.parse("127.0.0.1:0"))])
    [url] = await server.start()
    async with grpc.aio.insecure_channel(url.partition("://")[2]) as channel:
        one = channel.unary_unary("/test/One")(b"1")
        many = channel.stream_stream("/test/Many")()
        await many.write(b"2")
        await arrived.acquire()
        await arrived.acquire()
        for refused in (channel.unary_unary("/test/One")(b"3"), channel.stream_stream("/test/Many")(iter([b"4"])).read()):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await refused
            assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        go_on.set()
        assert await one == b"1"
        assert await many.read() == b"2"
        await many.done_writing()
        assert await many.read() == grpc.aio.EOF
        assert await channel.unary_unary("/test/One")(b"5") == b"5"
    await server.stop(0)
