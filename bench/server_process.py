"""Servers for the length of a run: the real ``featurestore serve``, and a gRPC server that does nothing.

Both are processes of their own on a free port of the loopback interface, on ``cores`` if given; leaving the context stops them.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import uvloop

from bench.certificate import Certificate
from bench.cores import ANY, started_on
from bench.spawned import SpawnedServer
from featurestore.memory_size import meminfo_bytes

START_S = 30.0
POLL_S = 0.02
SETTLED_S = 1.5
STOP_S = 30.0
ECHO_SERVICE = "/bench.Echo/"
COMMAND = str(Path(sys.executable).with_name("featurestore"))


class FeaturestoreServer:
    """``featurestore serve`` on an empty directory in ``memory_directory``; with a certificate, over TLS.

    With ``data_directory`` the journal goes there, to a disk, in the mode ``fsync``.
    """

    def __init__(
        self,
        memory_directory: Path,
        *,
        engine: str = "auto",
        workers: int = 0,
        certificate: Certificate | None = None,
        cores: frozenset[int] = ANY,
        command: Sequence[str] = (COMMAND,),
        start_s: float = START_S,
        busy_poll_us: int | None = None,
        data_directory: Path | None = None,
        fsync: str = "interval",
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="featurestore-bench-server-", dir=memory_directory))
        self.certificate = certificate
        settings = {
            "DIRECTORY": str(data_directory or self.directory / "data"),
            "FSYNC": fsync,
            "SEGMENTS": str(self.directory / "segments"),
            "LISTEN": "127.0.0.1:0",
            "GRPC_ENGINE": engine,
            "WORKERS": str(workers),
            "UNIX_SOCKET": "off" if certificate else str(self.directory / "grpc.sock"),
            "LOG_FORMAT": "json",
        }
        if busy_poll_us is not None:
            settings["BUSY_POLL_US"] = str(busy_poll_us)
        if certificate is not None:
            settings |= {"TLS_CERTIFICATE": str(certificate.path), "TLS_KEY": str(certificate.key)}
        others = {name: value for name, value in os.environ.items() if not name.startswith("FEATURESTORE_")}
        environment = {**others, **{f"FEATURESTORE_{name}": value for name, value in settings.items()}}
        self._log = self.directory / "serve.log"
        with self._log.open("wb") as log, started_on(cores):
            self._process = subprocess.Popen([*command, "serve"], env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            serving = self._await_serving(start_s)
        except BaseException:
            self._stop()
            raise
        self.url: str = serving["address"]
        self.engine: str = serving["engine"]
        self.unix_url: str = serving.get("unix_socket", "")

    @property
    def address(self) -> str:
        """``host:port``."""
        return self.url.partition("://")[2]

    @property
    def pid(self) -> int:
        return self._process.pid

    def settle(self) -> None:
        """Waits, once rows were loaded, until the server has them in huge pages as far as the system lets it.

        Until then reads of many rows take longer, and wait for pages on the move. By the count of the whole machine, which
        nothing else is expected to change for long.
        """
        seen, since = -1, time.monotonic()
        ends = since + START_S
        while since + SETTLED_S > time.monotonic() < ends:
            now = meminfo_bytes(Path("/"), "ShmemHugePages")
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(POLL_S)

    def __enter__(self) -> "FeaturestoreServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _await_serving(self, start_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + start_s
        while True:
            ended = self._process.poll() is not None
            text = self._log.read_text()
            for line in text.splitlines(keepends=True):
                if line.startswith("{") and line.endswith("\n") and (event := json.loads(line))["event"] == "serving":
                    return cast(dict[str, Any], event)
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"featurestore serve was not ready within {start_s:g} s: {text[-4_000:]}")
            time.sleep(POLL_S)

    def _stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class EchoServer(SpawnedServer):
    """A grpc.aio server on uvloop that answers each path with fixed bytes and does nothing else: the floor of any handler.

    ``answers`` holds the bytes of each method of ``ECHO_SERVICE``; a stream is answered with them for each message.
    """

    def __init__(self, answers: Mapping[str, bytes], *, cores: frozenset[int] = ANY) -> None:
        super().__init__("the echo server", _echo, dict(answers), cores=cores)
        self.address = f"127.0.0.1:{self.place}"


def _echo(answers: dict[str, bytes], ready: Callable[[int], None]) -> None:
    uvloop.run(_serve_echo(answers, ready))


async def _serve_echo(answers: dict[str, bytes], ready: Callable[[int], None]) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 256 << 20)])
    server.add_generic_rpc_handlers([_EchoHandler(answers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ready(port)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(None)


class _EchoHandler(grpc.GenericRpcHandler):
    def __init__(self, answers: dict[str, bytes]) -> None:
        self._handlers = {ECHO_SERVICE + name: _handler(name, answer) for name, answer in answers.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        return self._handlers.get(handler_call_details.method)


def _handler(name: str, answer: bytes) -> "grpc.RpcMethodHandler[bytes, bytes]":
    if name.startswith("stream"):

        async def stream(requests: object, _: object) -> object:
            async for _request in requests:  # type: ignore[attr-defined]
                yield answer

        return grpc.stream_stream_rpc_method_handler(stream)

    async def unary(_request: bytes, _: object) -> bytes:
        return answer

    return grpc.unary_unary_rpc_method_handler(unary)
