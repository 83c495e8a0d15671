"""grpcio's two clients behind one face, so that each case is written once: by paths and bytes, with all that a call brought."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol

import grpc
import grpc.aio

TIMEOUT_S = 20.0
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.primary_user_agent", "interop/1")]

Metadata = tuple[tuple[str, str | bytes], ...]


class Outcome(NamedTuple):
    """What came of a call; ``answers`` are those that were not received one by one."""

    answers: list[bytes]
    code: grpc.StatusCode
    message: str
    initial: dict[str, str | bytes]
    trailing: dict[str, str | bytes]


class Stream(Protocol):
    """An open call."""

    def send(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def receive(self) -> bytes | None: ...
    def cancel(self) -> None: ...
    def outcome(self) -> Outcome: ...


class Caller(Protocol):
    """A client with one channel."""

    def unary(self, path: str, data: bytes, **options: Any) -> Outcome: ...
    def stream(self, path: str, **options: Any) -> Stream: ...
    def close(self) -> None: ...


def target_of(url: str) -> str:
    """The address as grpcio wants it."""
    scheme, _, place = url.partition("://")
    return f"unix:{place}" if scheme == "unix" else place


def credentials_for(url: str, certificates: Path) -> grpc.ChannelCredentials | None:
    return grpc.ssl_channel_credentials((certificates / "ca.pem").read_bytes()) if url.startswith("grpcs:") else None


# -------------------------------------------------------------------------------------------------------------------- sync


class BlockingCaller:
    def __init__(self, url: str, certificates: Path) -> None:
        credentials = credentials_for(url, certificates)
        self.channel = (
            grpc.secure_channel(target_of(url), credentials, _OPTIONS)
            if credentials is not None
            else grpc.insecure_channel(target_of(url), _OPTIONS)
        )

    def unary(self, path: str, data: bytes, **options: Any) -> Outcome:
        call = self.channel.unary_unary(path).future(data, **{"timeout": TIMEOUT_S, **options})
        return _outcome(call, [call.result()] if call.exception() is None else [])

    def stream(self, path: str, **options: Any) -> Stream:
        return _BlockingStream(self.channel, path, options)

    def close(self) -> None:
        self.channel.close()


class _BlockingStream:
    def __init__(self, channel: grpc.Channel, path: str, options: dict[str, Any]) -> None:
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        requests: Iterator[bytes] = iter(self._requests.get, None)  # type: ignore[arg-type]
        self._call: Any = channel.stream_stream(path)(requests, **{"timeout": TIMEOUT_S, **options})

    def send(self, data: bytes) -> None:
        self._requests.put(data)

    def end(self) -> None:
        self._requests.put(None)

    def receive(self) -> bytes | None:
        return next(self._call, None)

    def cancel(self) -> None:
        self._call.cancel()
        self.end()

    def outcome(self) -> Outcome:
        answers: list[bytes] = []
        with suppress(grpc.RpcError):  # its parts are asked for below
            answers.extend(self._call)
        self.end()  # grpcio's own thread waits for the next request
        return _outcome(self._call, answers)


def _outcome(call: Any, answers: list[bytes]) -> Outcome:
    return Outcome(answers, call.code(), call.details(), dict(call.initial_metadata()), dict(call.trailing_metadata()))


# ----------------------------------------------------------------------------------------------------------------- asyncio


class AsyncCaller:
    def __init__(self, url: str, certificates: Path) -> None:
        self._runner = asyncio.Runner()
        self._channel = self._runner.run(self._connect(target_of(url), credentials_for(url, certificates)))

    async def _connect(self, target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
        if credentials is not None:
            return grpc.aio.secure_channel(target, credentials, _OPTIONS)
        return grpc.aio.insecure_channel(target, _OPTIONS)

    def unary(self, path: str, data: bytes, **options: Any) -> Outcome:
        async def run() -> Outcome:
            call = self._channel.unary_unary(path)(data, **{"timeout": TIMEOUT_S, **options})
            return await _async_outcome(call, [await call] if await call.code() is grpc.StatusCode.OK else [])

        return self._runner.run(run())

    def stream(self, path: str, **options: Any) -> Stream:
        return _AsyncStream(self._runner, self._channel, path, options)

    def close(self) -> None:
        self._runner.run(self._channel.close())
        self._runner.close()


class _AsyncStream:
    def __init__(self, runner: asyncio.Runner, channel: grpc.aio.Channel, path: str, options: dict[str, Any]) -> None:
        self._runner = runner

        async def begin() -> Any:
            return channel.stream_stream(path)(**{"timeout": TIMEOUT_S, **options})

        self._call = runner.run(begin())

    def send(self, data: bytes) -> None:
        self._runner.run(self._call.write(data))

    def end(self) -> None:
        self._runner.run(self._call.done_writing())

    def receive(self) -> bytes | None:
        answer = self._runner.run(self._call.read())
        return None if answer is grpc.aio.EOF else answer

    def cancel(self) -> None:
        async def cancel() -> None:
            self._call.cancel()

        self._runner.run(cancel())

    def outcome(self) -> Outcome:
        async def run() -> Outcome:
            answers = []
            with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
                while (answer := await self._call.read()) is not grpc.aio.EOF:
                    answers.append(answer)
            return await _async_outcome(self._call, answers)

        return self._runner.run(run())


async def _async_outcome(call: Any, answers: list[bytes]) -> Outcome:
    code, message = await call.code(), await call.details()
    return Outcome(answers, code, message, dict(await call.initial_metadata()), dict(await call.trailing_metadata()))
