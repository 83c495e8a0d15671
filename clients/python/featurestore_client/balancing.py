"""Several addresses behind one transport: calls are spread over those that answer.

An address whose call ended with UNAVAILABLE is set aside for a growing random delay, and then tried again by one call; where
all are set aside, the one whose delay ends first is asked. Invariants: a call goes to another address by itself only if the one
before cannot have seen it, or if it is repeatable and was hedged; of a hedged call's attempts only one goes on to its end.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from typing import Final, Generic, Literal, TypeVar

from featurestore_client.errors import DeadlineExceededError, NotSentError, UnavailableError
from featurestore_client.retry import Requests, RetryPolicy
from featurestore_client.transport import AsyncTransport, Transport

Balancing = Literal["round_robin", "least_in_flight"]
POLICIES: Final[tuple[Balancing, ...]] = ("round_robin", "least_in_flight")
TIMEOUTS_MAX: Final = 3
"""Calls in a row that may run out of time before their address is set aside."""
_ASIDE = RetryPolicy(backoff_s=0.5, backoff_max_s=10.0)

AnyTransport = TypeVar("AnyTransport")


class Endpoint(Generic[AnyTransport]):
    """One address: its transport, its calls under way, and how it has been."""

    __slots__ = ("_failures", "_timeouts", "aside_until_s", "in_flight", "transport")

    def __init__(self, transport: AnyTransport) -> None:
        self.transport = transport
        self.in_flight: set[object] = set()  # a set, as threads add to it and take from it without a lock
        self.aside_until_s = 0.0
        self._failures = 0
        self._timeouts = 0

    def succeeded(self) -> None:
        """It answered."""
        self._timeouts = 0
        if self._failures:
            self._failures = 0
            self.aside_until_s = 0.0

    def failed(self) -> None:
        """It did not: sets it aside."""
        self._failures += 1
        self.aside_until_s = time.monotonic() + _ASIDE.delay_s(self._failures)

    def timed_out(self) -> None:
        """A call's time was over: a failure where it happens again and again."""
        self._timeouts += 1
        if self._timeouts >= TIMEOUTS_MAX:
            self.failed()


class Balancer(Generic[AnyTransport]):
    """The addresses, and which is next. Thread-safe."""

    def __init__(self, transports: Sequence[AnyTransport], balancing: Balancing) -> None:
        self.endpoints = [Endpoint(transport) for transport in transports]
        self._turns = itertools.count()
        self._by_load = balancing == "least_in_flight"

    def pick(self, tried: Collection[Endpoint[AnyTransport]] = ()) -> Endpoint[AnyTransport]:
        """The endpoint of the next call, one that is not ``tried``."""
        return self.healthy(tried) or min(
            (each for each in self.endpoints if each not in tried), key=lambda endpoint: endpoint.aside_until_s
        )

    def healthy(self, tried: Collection[Endpoint[AnyTransport]] = ()) -> Endpoint[AnyTransport] | None:
        """The same, None where there is none that is not set aside."""
        now_s = time.monotonic()
        eligible = [each for each in self.endpoints if each.aside_until_s <= now_s and each not in tried]
        if not eligible:
            return None
        if self._by_load:
            loads = [len(each.in_flight) for each in eligible]
            eligible = [each for each, load in zip(eligible, loads, strict=True) if load == min(loads)]
        turn = next(self._turns)  # among those only: else the neighbour of one that is left out gets its share too
        best = eligible[turn % len(eligible)]
        if best.aside_until_s:  # its delay is over: this call alone finds out how it is
            best.aside_until_s = now_s + _ASIDE.backoff_s
        return best


class BalancedTransport:
    """Blocking calls to several addresses."""

    def __init__(self, transports: Sequence[Transport], balancing: Balancing) -> None:
        self._balancer: Balancer[Transport] = Balancer(transports, balancing)

    def unary(self, method_path: str, request: bytes, *, timeout_s: float) -> bytes:
        """One request, one response."""
        ends_s = time.monotonic() + timeout_s
        tried: list[Endpoint[Transport]] = []
        while True:
            endpoint = self._balancer.pick(tried)
            call = object()
            endpoint.in_flight.add(call)
            try:
                response = endpoint.transport.unary(method_path, request, timeout_s=timeout_s)
            except UnavailableError as error:
                endpoint.failed()
                tried.append(endpoint)
                timeout_s = ends_s - time.monotonic()
                if not isinstance(error, NotSentError) or len(tried) == len(self._balancer.endpoints) or timeout_s <= 0:
                    raise
            except DeadlineExceededError:
                endpoint.timed_out()
                raise
            else:
                endpoint.succeeded()
                return response
            finally:
                endpoint.in_flight.discard(call)

    def stream(self, method_path: str, requests: Iterator[bytes], *, timeout_s: float | None) -> Iterator[bytes]:
        """Many requests, many responses, all with one address."""
        tried: list[Endpoint[Transport]] = []
        while True:
            endpoint = self._balancer.pick(tried)
            try:
                return endpoint.transport.stream(method_path, requests, timeout_s=timeout_s)
            except NotSentError:
                endpoint.failed()
                tried.append(endpoint)
                if len(tried) == len(self._balancer.endpoints):
                    raise

    def close(self) -> None:
        """Ends the calls under way."""
        for endpoint in self._balancer.endpoints:
            endpoint.transport.close()


class AsyncBalancedTransport:
    """Asyncio calls to several addresses.

    With ``hedge_after_s``, a repeatable call that has no answer by then is made once more, to another address, and the answer
    that comes first is taken.
    """

    def __init__(self, transports: Sequence[AsyncTransport], balancing: Balancing, hedge_after_s: float | None = None) -> None:
        self._balancer: Balancer[AsyncTransport] = Balancer(transports, balancing)
        self._hedge_after_s = hedge_after_s

    async def unary(self, method_path: str, request: bytes, *, timeout_s: float, repeatable: bool = False) -> bytes:
        """One request, one response."""
        ends_s = time.monotonic() + timeout_s
        tried: list[Endpoint[AsyncTransport]] = []
        while True:
            endpoint = self._balancer.pick(tried)
            tried.append(endpoint)
            try:
                if repeatable and self._hedge_after_s is not None:
                    return await self._hedged(tried, self._hedge_after_s, method_path, request, timeout_s)
                return await self._call(endpoint, method_path, request, timeout_s)
            except NotSentError:
                timeout_s = ends_s - time.monotonic()
                if len(tried) == len(self._balancer.endpoints) or timeout_s <= 0:
                    raise

    async def _call(self, endpoint: Endpoint[AsyncTransport], method_path: str, request: bytes, timeout_s: float) -> bytes:
        call = object()
        endpoint.in_flight.add(call)
        try:
            response = await endpoint.transport.unary(method_path, request, timeout_s=timeout_s)
        except UnavailableError:
            endpoint.failed()
            raise
        except DeadlineExceededError:
            endpoint.timed_out()
            raise
        finally:
            endpoint.in_flight.discard(call)
        endpoint.succeeded()
        return response

    async def _hedged(
        self, tried: list[Endpoint[AsyncTransport]], hedge_after_s: float, method_path: str, request: bytes, timeout_s: float
    ) -> bytes:
        """Calls the last of ``tried``, and after a while another, which is then tried too."""
        running = {asyncio.create_task(self._call(tried[-1], method_path, request, timeout_s))}
        try:
            done, _ = await asyncio.wait(running, timeout=hedge_after_s)
            second = None if done or hedge_after_s >= timeout_s else self._balancer.healthy(tried)
            if second is not None:
                tried.append(second)
                running.add(asyncio.create_task(self._call(second, method_path, request, timeout_s - hedge_after_s)))
            while True:
                done, pending = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                answered = [task for task in done if not isinstance(task.exception(), UnavailableError)]
                if answered or not pending:
                    return (answered or list(done))[0].result()
                running = pending
        finally:
            for task in running:
                task.cancel()
            for task in (await asyncio.wait(running))[0]:
                _ = task.cancelled() or task.exception()  # seen, so that asyncio does not report it

    async def stream(
        self, method_path: str, requests: AsyncIterator[bytes], *, timeout_s: float | None
    ) -> AsyncIterator[bytes]:
        """Many requests, many responses, all with one address."""
        ends_s = None if timeout_s is None else time.monotonic() + timeout_s
        source = Requests(requests)
        tried: list[Endpoint[AsyncTransport]] = []
        while True:
            endpoint = self._balancer.pick(tried)
            tried.append(endpoint)
            try:
                async for response in endpoint.transport.stream(method_path, source, timeout_s=timeout_s):
                    yield response
            except UnavailableError as error:
                endpoint.failed()
                timeout_s = None if ends_s is None else ends_s - time.monotonic()
                is_last = len(tried) == len(self._balancer.endpoints) or (timeout_s is not None and timeout_s <= 0)
                if not isinstance(error, NotSentError) or source.are_drawn or is_last:
                    raise
            else:
                endpoint.succeeded()
                return

    async def close(self) -> None:
        """Ends the calls under way."""
        for endpoint in self._balancer.endpoints:
            await endpoint.transport.close()
