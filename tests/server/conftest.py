"""A server's methods without a network: the same table, checks and store, for tests that need many calls."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from featurestore.server.context import CallContext
from featurestore.server.methods import PREFIX, Methods, own_methods
from featurestore.server.status import StatusBoard
from featurestore.server.wire import featurestore_pb2 as public
from featurestore.service import OnlineStore, ServiceLimits
from featurestore.store import Limits

ANSWERS = {
    method.name: getattr(public, method.output_type.name)
    for method in public.DESCRIPTOR.services_by_name["FeatureStore"].methods
}


class LocalMethods:
    """Calls methods with public messages, on an event loop of its own."""

    def __init__(self, directory: Path, **limits: Any) -> None:
        directory.mkdir(exist_ok=True)
        store_limits = Limits(**{name: limits.pop(name) for name in list(limits) if name in Limits.__slots__})
        self.service = OnlineStore.open(directory, store_limits=store_limits, limits=ServiceLimits(**limits), shards=4)
        board = StatusBoard.of_this_process()
        self.methods = Methods(own_methods(self.service, board, board.slots[0]))
        self.runner = asyncio.Runner()

    def raw(self, path: str, data: bytes, context: CallContext | None = None) -> bytes:
        """One call by bytes."""

        async def call() -> bytes:
            answer = self.methods.by_path[path].handler(data, context or CallContext())
            return answer if isinstance(answer, bytes) else await answer

        return self.runner.run(call())

    def call(self, message: Any, context: CallContext | None = None) -> Any:
        """The method is the one of the message: GetFeaturesRequest calls GetFeatures."""
        name = type(message).__name__.removesuffix("Request")
        return ANSWERS[name].FromString(self.raw(PREFIX + name, message.SerializeToString(), context))

    def stream(self, path: str, requests: Sequence[bytes] | AsyncIterator[bytes]) -> list[bytes]:
        """A streamed call to its end."""

        async def each() -> AsyncIterator[bytes]:
            for request in requests:
                yield request

        async def collect() -> list[bytes]:
            source = requests if inspect.isasyncgen(requests) else each()
            return [answer async for answer in self.methods.by_path[path].handler(source, CallContext())]

        return self.runner.run(collect())

    def close(self) -> None:
        self.runner.run(self.service.close())
        self.runner.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalMethods]:
    """Methods over an empty store."""
    methods = LocalMethods(tmp_path)
    yield methods
    methods.close()


@pytest.fixture
def make_local(tmp_path: Path) -> Iterator[Any]:
    """Methods over a store with limits of the test's choosing."""
    made = []

    def make(**limits: Any) -> LocalMethods:
        made.append(LocalMethods(tmp_path / str(len(made)), **limits))
        return made[-1]

    yield make
    for methods in made:
        methods.close()
