"""The client's transport without a network: calls a table of methods in this process.

So ``featurestore get --directory DIR`` and a server's client are one code, with the same checks and the same errors. Of the
server's package only this module knows the client's, whose protocol it fills. Invariant: handlers' coroutines run on one event
loop, in a thread of this module; what answers at once is called in the caller's own thread.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from featurestore.errors import DeadlineExceededError, FeatureStoreError, UnavailableError, UnimplementedError, error_of
from featurestore.server.context import CallContext
from featurestore.server.failure import failure_of
from featurestore.server.methods import Method, Methods, StreamMethod, UnaryMethod

_Result = TypeVar("_Result")


class InProcessTransport:
    """A ``featurestore_client.transport.Transport``. ``upkeep`` runs beside the calls, ``close`` ends what they are made to."""

    def __init__(
        self,
        methods: Iterable[Method],
        close: Callable[[], Coroutine[Any, Any, None]],
        upkeep: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._methods = Methods(methods)
        self._close = close
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="featurestore-in-process", daemon=True)
        self._thread.start()
        self._upkeep: asyncio.Task[None] | None = None
        if upkeep is not None:
            self._wait(self._begin(upkeep), None)
        self._closed = False

    def unary(self, method_path: str, request: bytes, *, timeout_s: float) -> bytes:
        """One request, one response."""
        method = self._method(method_path)
        assert isinstance(method, UnaryMethod)
        try:
            answer = method.handler(request, CallContext("in-process", deadline=time.monotonic() + timeout_s))
            return answer if isinstance(answer, bytes) else self._wait(_coroutine(answer), timeout_s)
        except FeatureStoreError:
            raise
        except Exception as error:
            raise _defect(error, method_path) from None

    def stream(self, method_path: str, requests: Iterator[bytes], *, timeout_s: float | None) -> Iterator[bytes]:
        """Many requests, many responses, at the same time. ``requests`` is consumed in another thread."""
        method = self._method(method_path)
        assert isinstance(method, StreamMethod)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        source = _Source(requests)
        answers = method.handler(source.read(), CallContext("in-process", deadline=deadline))
        try:
            while True:
                left_s = None if deadline is None else deadline - time.monotonic()
                answer = self._wait(_next(answers), left_s)
                if answer is None:
                    return
                yield answer
        except Exception as error:
            if source.error is not None:
                raise source.error from None
            if isinstance(error, FeatureStoreError):
                raise
            raise _defect(error, method_path) from None
        finally:
            source.give_up()
            with suppress(Exception):
                self._wait(answers.aclose(), 10)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Finishes what is under way and closes the store."""
        if self._closed:
            return
        self._closed = True
        self._wait(self._end(), None)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _begin(self, upkeep: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._upkeep = asyncio.create_task(upkeep())

    async def _end(self) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.wait((self._upkeep,))
        await self._close()

    def _method(self, path: str) -> Method:
        if self._closed:
            raise UnavailableError("the client is closed: open another one")
        method = self._methods.by_path.get(path)
        if method is None:
            raise UnimplementedError(f"method {path} does not exist")
        return method

    def _wait(self, work: Coroutine[Any, Any, _Result], timeout_s: float | None) -> _Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise DeadlineExceededError(
                "the call did not end within its time; whether a write took effect is not known"
            ) from None


class _Source:
    """The caller's requests as an async iterator; remembers what the caller's own iterator raised."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self.error: BaseException | None = None

    async def read(self) -> AsyncIterator[bytes]:
        while (data := await asyncio.get_running_loop().run_in_executor(None, self._next)) is not None:
            yield data

    def _next(self) -> bytes | None:
        try:
            return next(self._requests, None)
        except BaseException as error:
            self.error = error
            raise

    def give_up(self) -> None:
        cancel = getattr(self._requests, "cancel", None)
        if cancel is not None:
            cancel()


async def _next(answers: AsyncIterator[bytes]) -> bytes | None:
    return await anext(answers, None)


async def _coroutine(answer: Awaitable[bytes]) -> bytes:
    return await answer


def _defect(error: BaseException, method: str) -> FeatureStoreError:
    failure = failure_of(error, method)
    return error_of(failure.code.value, failure.message)
