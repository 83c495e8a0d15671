"""What could carry gRPC in Python, under h2load: ``python -m bench.engines``, for docs/decisions/grpc-engine.md.

Each is a server that answers one method with fixed bytes, in a process of its own, as little as it allows and in the way that
its documentation shows: what is compared is HTTP/2 and gRPC, not a handler. The two that leave gRPC to their caller (zttp, h2)
get no more of it than h2load needs, and check nothing. Those that are not installed (``make .venv/engines``) are left out.
"""

import asyncio
import random
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import uvloop

from bench import machine
from bench.cores import ANY, Cores
from bench.h2load import H2load
from bench.report import number, table
from bench.spawned import SpawnedServer

METHOD = "/bench.Echo/answer"
REQUEST = bytes(100)
ANSWERS_BYTES = (200, 20_000)
LOADS = {"1x1": (1, 1), "4x4": (4, 4)}
"""Connections x streams of each."""
ROUNDS = 9
TURN_REQUESTS = 1_000
"""On each connection."""
CONNECTION_REQUESTS = 10_000
_HEAD = [(b"content-type", b"application/grpc")]
_TRAILERS = [(b"grpc-status", b"0")]


class EchoEngine(SpawnedServer):
    """One of ``ENGINES``, serving."""

    def __init__(self, name: str, answer: bytes, *, cores: frozenset[int] = ANY) -> None:
        super().__init__(f"the echo server on {name}", _serve, name, answer, cores=cores)
        self.url = f"http://127.0.0.1:{self.place}{METHOD}"

    def cpu_s(self) -> float:
        """What all its threads have taken of the processor, which says more than its rate on a machine that others use."""
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _serve(name: str, answer: bytes, ready: Callable[[int], None]) -> None:
    ENGINES[name][0](answer, ready)


def _native(answer: bytes, ready: Callable[[int], None]) -> None:
    from featurestore.address import Address
    from featurestore.server.grpc_native import GrpcNativeServer
    from featurestore.server.listener import Listener
    from featurestore.server.methods import UnaryMethod

    async def serve() -> None:
        method = UnaryMethod(METHOD, lambda request, context: answer, inline=True)
        server = GrpcNativeServer({METHOD: method}, [Listener(Address("127.0.0.1", 0))])
        (url,) = await server.start()
        ready(int(url.rpartition(":")[2]))
        await asyncio.Event().wait()

    uvloop.run(serve())


def _grpc_aio(answer: bytes, ready: Callable[[int], None]) -> None:
    import grpc.aio

    async def respond(request: bytes, context: object) -> bytes:
        return answer

    async def serve() -> None:
        server = grpc.aio.server()
        handlers: dict[str, Any] = {"answer": grpc.unary_unary_rpc_method_handler(respond)}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench.Echo", handlers)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        ready(port)
        await asyncio.Event().wait()

    uvloop.run(serve())


def _pygrpc_native(answer: bytes, ready: Callable[[int], None]) -> None:
    from pygrpc_native import EVENT_CALL, NativeGrpcFront

    front = NativeGrpcFront("127.0.0.1:0", [(METHOD, False)])
    front.start()
    ready(front.bound_port)
    while (events := front.recv_batch(64)) is not None:
        for kind, call, *_ in events:
            if kind == EVENT_CALL:
                front.respond(call, answer)


class _Protocol(asyncio.Protocol):
    """Bytes of a socket to ``take``, and what that returns back to it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.take(data))

    def take(self, data: bytes) -> bytes:
        raise NotImplementedError


def _protocols(make: Callable[[], _Protocol], ready: Callable[[int], None]) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
        ready(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


def _zttp(answer: bytes, ready: Callable[[int], None]) -> None:
    import zttp

    framed = b"\0" + len(answer).to_bytes(4, "big") + answer

    class Zttp(_Protocol):
        def __init__(self) -> None:
            self._session: Any = zttp.Connection(zttp.SERVER, protocol=zttp.HTTP2)

        def take(self, data: bytes) -> bytes:
            session = self._session
            session.receive_data(data)
            while (event := session.next_event()) is not zttp.NEED_DATA and event is not zttp.CONNECTION_CLOSED:
                if isinstance(event, zttp.EndOfMessage):
                    stream = session.stream(event.stream_id)
                    stream.send_response(200, _HEAD)
                    stream.send_data(framed)
                    stream.end_message(_TRAILERS)
            return cast(bytes, session.data_to_send())

    _protocols(Zttp, ready)


def _h2(answer: bytes, ready: Callable[[int], None]) -> None:
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import ConnectionTerminated, DataReceived, StreamEnded, WindowUpdated

    framed = b"\0" + len(answer).to_bytes(4, "big") + answer
    head = [(b":status", b"200"), *_HEAD]

    class H2(_Protocol):
        def __init__(self) -> None:
            self._session = H2Connection(H2Configuration(client_side=False, header_encoding=None))
            self._session.initiate_connection()
            self._unsent: dict[int, bytes] = {}

        def take(self, data: bytes) -> bytes:
            session = self._session
            events = session.receive_data(data)
            if any(isinstance(event, ConnectionTerminated) for event in events):
                return b""
            for event in events:
                if isinstance(event, DataReceived):
                    session.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    session.send_headers(event.stream_id, head)
                    self._send(event.stream_id, framed)
                elif isinstance(event, WindowUpdated):
                    for stream_id, rest in list(self._unsent.items()):
                        self._send(stream_id, rest)
            return bytes(session.data_to_send())

        def _send(self, stream_id: int, data: bytes) -> None:
            session = self._session
            while data and (window := min(session.local_flow_control_window(stream_id), session.max_outbound_frame_size)) > 0:
                session.send_data(stream_id, data[:window])
                data = data[window:]
            if data:
                self._unsent[stream_id] = data
                return
            self._unsent.pop(stream_id, None)
            session.send_headers(stream_id, _TRAILERS, end_stream=True)

    _protocols(H2, ready)


ENGINES: dict[str, tuple[Callable[[bytes, Callable[[int], None]], None], str]] = {
    "native": (_native, "featurestore"),
    "grpc_aio": (_grpc_aio, "grpcio"),
    "pygrpc_native": (_pygrpc_native, "pygrpc-native"),
    "zttp": (_zttp, "zttp"),
    "h2": (_h2, "h2"),
}
"""How each is served, and the package that it comes in."""


def main() -> None:
    """Has all that are there take turns, and prints a table of medians."""
    print(machine.sentence(machine.describe()))
    versions = {name: _version(package) for name, (_, package) in ENGINES.items()}
    for name, found in versions.items():
        print(f"{name}: {ENGINES[name][1]} {found or 'is not installed: left out'}")
    there = [name for name, found in versions.items() if found]
    rows: list[list[str]] = []
    for answer_bytes in ANSWERS_BYTES:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-engines-")))
            cores = Cores.split()
            servers = {name: stack.enter_context(EchoEngine(name, bytes(answer_bytes), cores=cores.servers)) for name in there}
            loads = {name: H2load(server.url, [REQUEST], directory / name, cores) for name, server in servers.items()}
            for each in loads.values():
                each.check([bytes(answer_bytes)])
            for load in LOADS:
                rows += _turns(servers, loads, load, f"{answer_bytes} B, {load}")
            if answer_bytes == ANSWERS_BYTES[-1]:
                for name, each in loads.items():
                    answered, _ = each.send(CONNECTION_REQUESTS)
                    print(f"{name} answered {answered:,} of {CONNECTION_REQUESTS:,} requests on one connection")
    print("\n" + table(["answer, load", "engine", "requests/s", "x grpc_aio", "server us/request", "x native"], rows))


def _turns(servers: dict[str, EchoEngine], loads: dict[str, H2load], load: str, case: str) -> list[list[str]]:
    connections, streams = LOADS[load]
    requests = TURN_REQUESTS * connections
    rates: dict[str, list[float]] = {name: [] for name in servers}
    costs_us: dict[str, list[float]] = {name: [] for name in servers}
    for number_of_round in range(ROUNDS):
        order = list(servers)
        random.Random(f"{case} {number_of_round}").shuffle(order)
        for name in order:
            before_s = servers[name].cpu_s()
            answered, rate = loads[name].send(requests, connections, streams)
            if answered != requests:
                raise RuntimeError(f"{name} answered {answered} of {requests} requests")
            rates[name].append(rate)
            costs_us[name].append((servers[name].cpu_s() - before_s) / requests * 1e6)
    medians = {name: (statistics.median(rates[name]), statistics.median(costs_us[name])) for name in servers}
    _, native_us = medians["native"]
    aio_rate, _ = medians["grpc_aio"]
    return [
        [case, name, number(rate), number(rate / aio_rate), number(cost_us), number(cost_us / native_us)]
        for name, (rate, cost_us) in medians.items()
    ]


if __name__ == "__main__":
    main()
