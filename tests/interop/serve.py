"""The test service in a process of its own, on all transports: ``python -m tests.interop.serve ENGINE CERTIFICATES SOCKET``.

Prints one line of JSON, the addresses by transport, and serves until its standard input ends.
"""

import asyncio
import json
import sys
from pathlib import Path

import uvloop

from featurestore.address import Address, UnixAddress
from featurestore.server.listener import Listener
from featurestore.server.serving import Engine
from featurestore.server.tls import Tls
from tests.interop.service import methods

TRANSPORTS = ("tcp", "tls", "unix")
MESSAGE_BYTES_MAX = 4 << 20


def engine_of(name: str, listeners: list[Listener]) -> Engine:
    if name == "grpcio":
        from featurestore.server.grpc_aio import GrpcAioServer

        return GrpcAioServer(methods(), listeners, message_bytes_max=MESSAGE_BYTES_MAX)
    from featurestore.server.grpc_connection import ConnectionLimits
    from featurestore.server.grpc_native import GrpcNativeServer

    return GrpcNativeServer(methods(), listeners, ConnectionLimits(message_bytes_max=MESSAGE_BYTES_MAX))


async def main() -> None:
    name, certificates, socket = sys.argv[1:]
    tls = Tls(Path(certificates) / "server.pem", Path(certificates) / "server.key")
    free = Address("127.0.0.1", 0)
    engine = engine_of(name, [Listener(free), Listener(free, tls), Listener(UnixAddress(Path(socket)))])
    print(json.dumps(dict(zip(TRANSPORTS, await engine.start(), strict=True))), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await engine.stop(0)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
