"""A reader's table of methods: it reads by itself, and hands everything else to the owner as bytes, over a unix socket.

What comes back is passed on as it came: the answer, or the error with its code, sentence and violations. The API key is checked
here, before; no method of the owner reads metadata, and none answers with any, so none travels. While the owner is away calls
wait for it. Invariant: a call is handed over again only where no owner can have seen it.
"""

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

from featurestore_client.errors import NotSentError
from featurestore_client.tls import Tls
from featurestore_client.transports import Kind, open_async_transport

from featurestore.errors import FeatureStoreError, UnavailableError
from featurestore.server.context import CallContext
from featurestore.server.export_methods import ExportMethods
from featurestore.server.feature_methods import FeatureReads
from featurestore.server.methods import PREFIX, Method, StreamMethod, UnaryMethod
from featurestore.server.shared_memory import SharedMemory
from featurestore.server.status import ProcessSlot, StatusBoard
from featurestore.server.status_methods import StatusMethods
from featurestore.server.wire import featurestore_pb2 as public
from featurestore.service import OnlineReader

OWNER_WAIT_S = 30.0
"""How long a call waits for an owner that is not there, where its deadline allows it."""
PROBE_S = 0.02
"""Between two looks whether the owner is back."""
NO_DEADLINE_S = 86_400.0
"""What the owner is given for a call whose caller waits forever."""


class Owner:
    """The owner as a reader sees it: a socket to hand calls to. Used in one event loop."""

    def __init__(self, path: Path, kind: Kind = "auto", wait_s: float = OWNER_WAIT_S) -> None:
        address = f"unix://{path}"
        self._path = str(path)
        self._suffix = f" (server {address})"
        self._wait_s = wait_s
        self._transport = open_async_transport(
            address, Tls(), None, kind=kind, balancing="round_robin", hedge_after_s=None, coalesce_us=0, busy_poll_us=0
        )
        self._return: asyncio.Task[None] | None = None

    async def unary(self, path: str, request: bytes, context: CallContext) -> bytes:
        """One request, one answer. Raises the owner's error, and UnavailableError when no owner comes."""
        wait_ends = time.monotonic() + self._wait_s
        while True:
            try:
                return await self._transport.unary(path, request, timeout_s=_left_s(context))
            except NotSentError:
                await self._await_return(context, wait_ends)
            except FeatureStoreError as error:
                raise self._as_it_was(error) from None

    async def stream(self, path: str, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        """Requests and answers. What the caller's own requests end with is raised once the owner has answered those before."""
        wait_ends = time.monotonic() + self._wait_s
        async with aclosing(_Source(requests)) as source:
            while True:
                while not self._listens():  # looked at first: grpcio draws requests before it has a connection
                    await self._await_return(context, wait_ends)
                timeout_s = None if context.deadline is None else _left_s(context)
                answers = self._transport.stream(path, source.read(), timeout_s=timeout_s)
                try:
                    async with aclosing(answers):  # type: ignore[type-var]  # a generator, as both transports have it
                        async for answer in answers:
                            yield answer
                    if source.error is not None:
                        raise source.error
                    return
                except NotSentError as error:
                    if source.drawn:  # that request is gone with the connection
                        raise self._as_it_was(error) from None
                    await self._await_return(context, wait_ends)
                except FeatureStoreError as error:
                    raise self._as_it_was(error) from None

    async def close(self) -> None:
        """Ends the calls under way."""
        if self._return is not None:
            self._return.cancel()
        await self._transport.close()

    def _as_it_was(self, error: FeatureStoreError) -> FeatureStoreError:
        """An error without the address that the transport has put behind it, which means nothing to the caller."""
        error.message = error.message.removesuffix(self._suffix)
        return error

    async def _await_return(self, context: CallContext, wait_ends: float) -> None:
        """Until the owner listens. All calls share the looking."""
        if self._return is None or self._return.done():
            self._return = asyncio.ensure_future(self._look())
        context.check_deadline()
        ends = wait_ends if context.deadline is None else min(wait_ends, context.deadline)
        await asyncio.wait((self._return,), timeout=ends - time.monotonic())
        context.check_deadline()
        if time.monotonic() >= wait_ends:
            raise UnavailableError(
                f"the process that writes has been away for {self._wait_s:g} s, while reads go on: try again later; the "
                "server's log has the reason"
            )

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(PROBE_S)
            if self._listens():
                return

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)  # one that is stopped takes no connection, and as many as it lets wait may be there
            return probe.connect_ex(self._path) in (0, errno.EAGAIN)


class _Source:
    """A caller's requests; remembers what they ended with, so that the owner's answers to those before it are not lost.

    They are read in a task of their own: an attempt that ends while it waits for a request is cancelled, and would close them
    for the next one.
    """

    def __init__(self, requests: AsyncIterator[bytes]) -> None:
        self._requests = requests
        self._awaited: asyncio.Task[bytes | None] | None = None
        self.drawn = False
        self.error: Exception | None = None

    async def read(self) -> AsyncIterator[bytes]:
        """For one attempt; the next one goes on with the request that this one has not got."""
        while True:
            if self._awaited is None:
                self._awaited = asyncio.ensure_future(self._next())
            await asyncio.wait((self._awaited,))
            awaited, self._awaited = self._awaited, None
            try:
                request = awaited.result()
            except Exception as error:
                self.error = error
                return
            if request is None:
                return
            self.drawn = True
            yield request

    async def aclose(self) -> None:
        """No request is waited for any more."""
        if self._awaited is not None:
            self._awaited.cancel()
            await asyncio.gather(self._awaited, return_exceptions=True)

    async def _next(self) -> bytes | None:
        return await anext(self._requests, None)


def _left_s(context: CallContext) -> float:
    if context.deadline is None:
        return NO_DEADLINE_S
    context.check_deadline()
    return max(context.deadline - time.monotonic(), 1e-6)


def reader_methods(
    reader: OnlineReader, shared: SharedMemory, owner: Owner, board: StatusBoard, slot: ProcessSlot
) -> list[Method]:
    """All of FeatureStore's, in a process that reads; ``slot`` is its row of the board."""
    own = {
        "GetFeatures": FeatureReads(reader).get,
        "GetSharedMemory": shared.get,  # for clients that begin while the owner is away
        "GetStatus": StatusMethods(board, slot).get_status,
    }
    methods: list[Method] = [
        UnaryMethod(PREFIX + name, handler, inline=True, sheds=name == "GetFeatures") for name, handler in own.items()
    ]
    methods.append(StreamMethod(PREFIX + "ExportFeatures", ExportMethods(reader).export))
    known = {method.path for method in methods}
    for method in public.DESCRIPTOR.services_by_name["FeatureStore"].methods:
        if PREFIX + method.name not in known:
            methods.append(_forwarded(PREFIX + method.name, owner, is_stream=method.server_streaming))
    return methods


def _forwarded(path: str, owner: Owner, *, is_stream: bool) -> Method:
    if is_stream:
        return StreamMethod(path, lambda requests, context: owner.stream(path, requests, context))
    sheds = path in (PREFIX + "WriteFeatures", PREFIX + "DeleteFeatures")
    return UnaryMethod(path, lambda request, context: owner.unary(path, request, context), inline=True, sheds=sheds)
