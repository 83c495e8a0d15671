"""What the client's tests share: a gRPC server whose answers a test writes, and both kinds of client behind one face.

The scripted servers are real ones on real sockets, one with grpcio and one with the bare HTTP/2 session; they stand in for what
a healthy feature store would not do on request: refuse, stall, break off, forget.
"""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import featurestore_client
import grpc
import pytest
import uvloop
from featurestore_client.grpc_framing import frame, pairs_of
from featurestore_client.transport import SERVICE
from featurestore_client.transports import is_native_built
from featurestore_client.wire import featurestore_raw_pb2 as wire

Handler = Callable[[Any, grpc.ServicerContext], Any]


class ScriptedServer:
    """Answers by ``handlers``: by method name, a function of request bytes (or their iterator) and grpc's context."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}
        self.calls: list[str] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.port = 0
        self._server: grpc.Server | None = None

    @property
    def address(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def start(self, credentials: grpc.ServerCredentials | None = None) -> None:
        """Starts, on the same port as before if there was one."""
        server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((_Router(self),))
        place = f"127.0.0.1:{self.port}"
        self.port = server.add_insecure_port(place) if credentials is None else server.add_secure_port(place, credentials)
        server.start()
        self._server = server

    def stop(self) -> None:
        """Stops at once: calls under way end with UNAVAILABLE or CANCELLED, as when a process dies."""
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None

    def describes(self, join_keys: dict[str, str], features: dict[str, str]) -> None:
        """Answers what the client asks before it writes."""
        view = wire.FeatureView(
            project="default",
            name="delays",
            entity="carrier",
            features=[wire.Field(name=n, type=t) for n, t in features.items()],
        )
        entity = wire.Entity(
            project="default", name="carrier", join_keys=[wire.JoinKey(name=n, type=t) for n, t in join_keys.items()]
        )
        view_answer = wire.DescribeFeatureViewResponse(feature_view=view).SerializeToString()
        entity_answer = wire.DescribeEntityResponse(entity=entity).SerializeToString()
        self.handlers["DescribeFeatureView"] = lambda _request, _context: view_answer
        self.handlers["DescribeEntity"] = lambda _request, _context: entity_answer


class _Router(grpc.GenericRpcHandler):
    def __init__(self, script: ScriptedServer) -> None:
        self._script = script

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        name = handler_call_details.method.removeprefix(SERVICE)
        handler = self._script.handlers.get(name)
        if handler is None:
            return None
        self._script.calls.append(name)
        self._script.metadata.append(dict(handler_call_details.invocation_metadata))
        if name == "IngestFeatures":
            return grpc.stream_stream_rpc_method_handler(handler)
        return grpc.unary_unary_rpc_method_handler(handler)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    scripted.start()
    yield scripted
    scripted.stop()


class Blocking:
    """An AsyncClient whose methods block, so that one test speaks to both kinds of client."""

    def __init__(self, address: Any, loop: asyncio.AbstractEventLoop | None = None, **options: Any) -> None:
        self._loop = loop or asyncio.new_event_loop()
        self._client = featurestore_client.connect_async(address, **options)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *arguments, **options: self._loop.run_until_complete(method(*arguments, **options))

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._client.close())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


class Process:
    """A ``featurestore serve`` process; ``restart`` keeps its port and directory."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._directory = directory
        self._environment = environment
        self._listen = "127.0.0.1:0"
        self.address = ""
        self.start()

    def start(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FEATURESTORE_")}
        command = [sys.executable, "-m", "featurestore", "serve", "--directory", str(self._directory), "--listen", self._listen]
        command += ["--segments", str(self._directory / "segments")]
        environment = {**inherited, **self._environment}
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=self._directory)
        assert self._process.stderr is not None
        lines = []
        for line in self._process.stderr:
            lines.append(line)
            if found := re.search(r"grpcs?://(127\.0\.0\.1:\d+)", line):
                self.address, self._listen = found.group(), found.group(1)
                break
        else:
            self._process.stderr.close()
            self._process.wait()
            raise AssertionError("the server ended: " + "".join(lines))
        self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)  # so that it can go on writing
        self._reader.start()

    def stop(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)
        self._process.wait(30)
        self._reader.join(30)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []
    with tempfile.TemporaryDirectory(prefix="featurestore-client-test-", dir="/dev/shm") as directory:

        def started(**environment: str) -> Process:
            process = Process(Path(tempfile.mkdtemp(dir=directory)), environment)
            processes.append(process)
            return process

        yield started
        for process in processes:
            process.send(signal.SIGCONT)
            process.stop()


NATIVE = pytest.mark.skipif(not is_native_built(), reason="the native transport is not built here")
KINDS = ("blocking", "asyncio")


@pytest.fixture(scope="module", params=[pytest.param("native", marks=NATIVE), "grpcio"])
def engine(request: pytest.FixtureRequest) -> Any:
    """What speaks gRPC in the server."""
    return request.param


def connecting(kind: str, transport: str) -> Iterator[Callable[..., Any]]:
    """For fixtures: a function that connects clients, which are closed when the test is over."""
    clients: list[Any] = []

    def connected(address: Any, **options: Any) -> Any:
        options = {"transport": transport, **options}
        if kind == "blocking":
            client: Any = featurestore_client.connect(address, **options)
        else:
            client = Blocking(address, uvloop.new_event_loop() if kind == "uvloop" else None, **options)
        clients.append(client)
        return client

    yield connected
    for client in clients:
        client.close()


@pytest.fixture(
    params=[
        *(pytest.param((kind, "native"), id=f"{kind}-native", marks=NATIVE) for kind in KINDS),
        *(pytest.param((kind, "grpcio"), id=f"{kind}-grpcio") for kind in KINDS),
    ]
)
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Connects a client of either kind, over either transport."""
    yield from connecting(*request.param)


@pytest.fixture(params=[pytest.param(kind, marks=NATIVE) for kind in (*KINDS, "uvloop")])
def connect_native(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Connects a client of either kind over the native transport."""
    yield from connecting(request.param, "native")


class Http2Connection:
    """A connection of ``Http2Server``, seen from its script."""

    def __init__(self, accepted: socket.socket, number: int, window_bytes: int) -> None:
        from featurestore_client.http2 import Session

        self.socket = accepted
        self.number = number
        self.session = Session(client=False, window_bytes=window_bytes)
        self.reads: list[list[Any]] = []
        """The events of each read."""

    def flush(self) -> None:
        """Sends all that the session has."""
        while data := self.session.take():
            self.socket.sendall(data)

    def events(self) -> Iterator[Any]:
        """What the client sends, until it closes the connection."""
        while data := self.socket.recv(1 << 16):
            events = self.session.receive(data)
            self.flush()
            if events:
                self.reads.append(events)
            yield from events

    def requests(self) -> Iterator[tuple[int, str, bytes]]:
        """Each whole request: stream, method and message. The windows are given back as it comes in."""
        heads: dict[int, str] = {}
        bodies: dict[int, bytes] = {}
        for event in self.events():
            if event.head is not None:
                heads[event.stream_id] = dict(pairs_of(event.head))[":path"].removeprefix(SERVICE)
            bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
            self.session.consume(event.stream_id, len(event.data))
            self.flush()
            if event.ended:
                yield event.stream_id, heads[event.stream_id], bodies.pop(event.stream_id)[5:]

    def answer(self, stream_id: int, message: bytes = b"", status: int = 0, text: str = "", **head: str) -> None:
        """A gRPC answer. Further headers are keywords: ``grpc_encoding="gzip"``."""
        from featurestore_client.http2 import Headers

        pairs = [(b":status", b"200"), (b"content-type", b"application/grpc")]
        pairs += [(name.replace("_", "-").encode(), value.encode()) for name, value in head.items()]
        trailers = Headers([(b"grpc-status", str(status).encode()), (b"grpc-message", text.encode())])
        self.session.respond(stream_id, Headers(pairs), frame(message) if status == 0 else b"", trailers)
        self.flush()


class Http2Server:
    """Runs a script for each connection that is accepted, in a thread: for what no gRPC server does on request."""

    def __init__(self, script: Callable[[Http2Connection], None], *, window_bytes: int = 1 << 20) -> None:
        self._script = script
        self._window_bytes = window_bytes
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"grpc://127.0.0.1:{self._listening.getsockname()[1]}"
        self.connections: list[Http2Connection] = []
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            connection = Http2Connection(accepted, len(self.connections), self._window_bytes)
            self.connections.append(connection)
            thread = threading.Thread(target=self._run, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: Http2Connection) -> None:
        try:
            with connection.socket:
                self._script(connection)
        except (OSError, EOFError):
            pass  # the client went away, as a test may want
        except BaseException as failure:
            self.failures.append(failure)

    def close(self) -> None:
        with suppress(OSError):  # it may be closed already
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self.connections:
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        assert self.failures == []


@pytest.fixture
def http2_server() -> Iterator[Callable[..., Http2Server]]:
    """Starts servers of scripts."""
    servers: list[Http2Server] = []

    def started(script: Callable[[Http2Connection], None], **options: Any) -> Http2Server:
        servers.append(Http2Server(script, **options))
        return servers[-1]

    yield started
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a server and a client that it vouches for."""
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    openssl("req", "-x509", *new_key, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("server", "client"):
        (directory / "names").write_text("subjectAltName=DNS:store.test")
        openssl("req", *new_key[:-2], "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    return directory
