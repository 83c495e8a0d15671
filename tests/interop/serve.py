"""The test service in a process of its own, on all transports: ``python -m tests.interop.serve ENGINE CERTIFICATES SOCKET``.

Prints one line of JSON, the addresses by transport, and serves until its standard input ends.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop

from featurestore.address import Address
from featurestore.server.grpc_aio import GrpcAioServer
from tests.interop.service import methods

MESSAGE_BYTES_MAX = 4 << 20


class UnixSocket:
    """An address as ``GrpcAioServer`` takes it."""

    host, port = "", 0

    def __init__(self, path: str) -> None:
        self._path = path

    def check_available(self) -> None:
        """It is in a directory of the test's own."""

    def __str__(self) -> str:
        return f"unix:{self._path}"


async def start(engine: str, certificates: Path, socket: str) -> tuple[list[Any], dict[str, str]]:
    assert engine == "grpcio"
    key, certificate = (certificates / "server.key").read_bytes(), (certificates / "server.pem").read_bytes()
    places: dict[str, tuple[Any, dict[str, Any]]] = {
        "tcp": (Address("127.0.0.1", 0), {}),
        "tls": (Address("127.0.0.1", 0), {"credentials": grpc.ssl_server_credentials([(key, certificate)])}),
        "unix": (UnixSocket(socket), {}),
    }
    table = methods()
    engines, bound = [], {}
    for transport, (address, options) in places.items():
        engines.append(GrpcAioServer(table, address, message_bytes_max=MESSAGE_BYTES_MAX, **options))
        bound[transport] = str(await engines[-1].start())
    return engines, {"tcp": f"grpc://{bound['tcp']}", "tls": f"grpcs://{bound['tls']}", "unix": f"unix://{socket}"}


async def main() -> None:
    engine, certificates, socket = sys.argv[1:]
    engines, addresses = await start(engine, Path(certificates), socket)
    print(json.dumps(addresses), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await asyncio.gather(*(each.stop(0) for each in engines))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
