"""How a request is sent and answered: the ways into a server, all driven by the same loops (``client``).

A caller is plain data, so that it goes to a client process, which then opens it. Open, it gives for a method's name the call of
that method: what a request is and what an answer is are the caller's own, and ``rows`` tells an answer's values for checking.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import featurestore_client
import grpc
import grpc.aio
import numpy as np

from bench import wire
from bench.dataset import Floats

CONNECT_TIMEOUT_S = 10.0  # of its own: a call's deadline may be too short for a connection's setting up

Bind = Callable[[str], Callable[[Any], Any]]
BindAsync = Callable[[str], Callable[[Any], Awaitable[Any]]]


class Caller(Protocol):
    """One way to call one server."""

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What a call raises that was refused or not answered."""
        ...

    def code(self, error: Any) -> str:
        """Which failure it was."""
        ...

    def blocking(self, timeout_s: float) -> AbstractContextManager[Bind]:
        """A connection whose calls block."""
        ...

    def concurrent(self, timeout_s: float) -> AbstractAsyncContextManager[BindAsync]:
        """A connection whose calls are awaited, many at once."""
        ...

    def rows(self, answer: Any) -> Floats:
        """The values in an answer, a row a key."""
        ...


@contextmanager
def plain_socket(address: str) -> Iterator[socket.socket]:
    """Connected to ``host:port``. What is sent goes at once, and a receive waits for as long as it takes."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(None)  # with one, Python polls before each receive
        yield connection


class BlockingOnly:
    """What callers have in common that take part with one call in flight alone."""

    @asynccontextmanager
    async def concurrent(self, timeout_s: float) -> AsyncIterator[BindAsync]:
        raise NotImplementedError("this caller takes part with one call in flight alone")
        yield

    def code(self, error: Exception) -> str:
        return f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class Grpcio:
    """grpcio, bytes to bytes: a method is its path, a request an encoded message."""

    address: str
    failures = (grpc.RpcError,)

    @contextmanager
    def blocking(self, timeout_s: float) -> Iterator[Bind]:
        with grpc.insecure_channel(self.address, options=wire.CHANNEL_OPTIONS) as channel:
            grpc.channel_ready_future(channel).result(CONNECT_TIMEOUT_S)
            yield lambda path: partial(channel.unary_unary(path), timeout=timeout_s)

    @asynccontextmanager
    async def concurrent(self, timeout_s: float) -> AsyncIterator[BindAsync]:
        async with grpc.aio.insecure_channel(self.address, options=wire.CHANNEL_OPTIONS) as channel:
            await asyncio.wait_for(channel.channel_ready(), CONNECT_TIMEOUT_S)
            yield lambda path: partial(channel.unary_unary(path), timeout=timeout_s)

    def code(self, error: grpc.RpcError) -> str:
        name: str = error.code().name
        return name

    def rows(self, answer: bytes) -> Floats:
        return wire.matrix(answer)


@dataclass(frozen=True)
class FeaturestoreClient:
    """Our client, from keys to a FeatureBatch: a method is a feature service, a request its key columns."""

    url: str
    transport: Literal["native", "grpcio"]
    busy_poll_us: int | None = None
    failures = (featurestore_client.FeatureStoreError,)

    @contextmanager
    def blocking(self, timeout_s: float) -> Iterator[Bind]:
        with featurestore_client.connect(
            self.url, transport=self.transport, timeout_s=timeout_s, busy_poll_us=self.busy_poll_us
        ) as client:
            yield lambda service: partial(client.get, service)

    @asynccontextmanager
    async def concurrent(self, timeout_s: float) -> AsyncIterator[BindAsync]:
        async with featurestore_client.connect_async(
            self.url, transport=self.transport, timeout_s=timeout_s, busy_poll_us=self.busy_poll_us
        ) as client:
            yield lambda service: partial(client.get, service)

    def code(self, error: featurestore_client.FeatureStoreError) -> str:
        return error.code.name

    def rows(self, answer: featurestore_client.FeatureBatch) -> Floats:
        return np.array(answer.to_numpy(), np.float32)
