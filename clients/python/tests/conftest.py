"""What the client's tests share: a gRPC server whose answers a test writes, and both kinds of client behind one face.

The scripted server is a real one on a real socket; it stands in for what a healthy feature store would not do on request:
refuse, stall, break off, forget.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import featurestore_client
import grpc
import pytest
from featurestore_client.transport import SERVICE
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

    def __init__(self, address: str, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = featurestore_client.connect_async(address, **options)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *arguments, **options: self._loop.run_until_complete(method(*arguments, **options))

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._client.close())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


@pytest.fixture(params=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Connects a client of either kind; closes it when the test is over."""
    clients: list[Any] = []

    def connected(address: str, **options: Any) -> Any:
        client = (featurestore_client.connect if request.param == "blocking" else Blocking)(address, **options)
        clients.append(client)
        return client

    yield connected
    for client in clients:
        client.close()
