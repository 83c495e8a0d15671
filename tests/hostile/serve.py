"""A native engine in a process of its own, with limits small enough to be reached: ``python -m tests.hostile.serve '{...}'``.

The one argument is JSON: ``limits`` of ConnectionLimits, ``files`` that the process may open, ``tls`` (directory of server.pem
and server.key), ``tick_s``. Writes its port, and serves until its standard input ends.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop

from featurestore.address import Address
from featurestore.server import grpc_native
from featurestore.server.context import CallContext
from featurestore.server.grpc_connection import ConnectionLimits
from featurestore.server.listener import Listener
from featurestore.server.methods import Method, StreamMethod, UnaryMethod
from featurestore.server.tls import Tls

ANSWER_BYTES = 1_000_000
WORK_S = 0.0005


async def _never(data: bytes) -> bytes:
    await asyncio.get_running_loop().create_future()
    return data


async def _later(_: bytes) -> bytes:
    """Lets others begin before it answers."""
    await asyncio.sleep(0)
    return bytes(ANSWER_BYTES)


def _work(data: bytes) -> bytes:
    """Takes WORK_S of the processor."""
    ends = time.monotonic() + WORK_S
    while time.monotonic() < ends:
        pass
    return data


async def _take(requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
    """Takes two requests, answers each, and is at them for ever."""
    taken = []
    async for request in requests:
        taken.append(request)
        yield b"taken"
        if len(taken) == 2:
            await asyncio.get_running_loop().create_future()


async def _hold(requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
    """Takes no request."""
    yield b"holding"
    await asyncio.get_running_loop().create_future()


METHODS: dict[str, Method] = {
    method.path: method
    for method in (
        UnaryMethod("/t/Echo", lambda data, _: data, inline=True),
        UnaryMethod("/t/Large", lambda _, __: bytes(ANSWER_BYTES), inline=True),
        UnaryMethod("/t/Later", lambda data, _: _later(data), inline=False),
        UnaryMethod("/t/Work", lambda data, _: _work(data), inline=True, sheds=True),
        UnaryMethod("/t/Never", lambda data, _: _never(data), inline=False),
        StreamMethod("/t/Hold", _hold),
        StreamMethod("/t/Take", _take),
    )
}


async def _serve(options: dict[str, Any]) -> None:
    grpc_native._TICK_S = options.get("tick_s", 1.0)
    directory = options.get("tls")
    tls = Tls(Path(directory, "server.pem"), Path(directory, "server.key")) if directory else None
    refused = UnaryMethod("/t/Refused", lambda _, __: b"%d" % server.counts().refused, inline=True)
    methods, listener = METHODS | {refused.path: refused}, Listener(Address("127.0.0.1", 0), tls)
    server = grpc_native.GrpcNativeServer(methods, [listener], ConnectionLimits(**options.get("limits", {})))
    (url,) = await server.start()
    print(url.rpartition(":")[2], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    if "files" in given:
        resource.setrlimit(resource.RLIMIT_NOFILE, (given["files"], given["files"]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(given))
