"""The ways from a client to a store. A new one is one more ``Path`` here: every promise is then asked of it.

A path is a client, and the engine and transport of a real server process; or neither for the store in this process.
"""

import asyncio
import inspect
from contextlib import ExitStack
from functools import cache
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from featurestore_client import AsyncClient, connect, connect_async

import featurestore
from tests.conftest import ENGINES, StartServer


class Path(NamedTuple):
    """One way."""

    engine: str
    """Of the server: native or grpcio; empty in this process."""
    transport: str
    """tcp, tls, unix or shm; workers: tcp to a server of several processes; empty in this process."""
    library: str
    """Of the client: native or grpcio."""
    client: str
    """blocking or asyncio."""

    def __str__(self) -> str:
        return "-".join(part for part in self if part) if self.engine else "in-process"


PATHS = [
    *(
        Path(engine, transport, library, client)
        for engine in ENGINES
        for transport in ("tcp", "tls", "unix")
        for library in ENGINES
        for client in ("blocking", "asyncio")
        if library == engine or transport == "tcp"  # what they say to each other is the same on every transport
    ),
    *(Path(engine, "workers", engine, client) for engine in ENGINES for client in ("blocking", "asyncio")),
    *(Path("native", "shm", "native", client) for client in ("blocking", "asyncio")),
    Path("", "", "", "blocking"),
]


class Blocking:
    """An AsyncClient whose methods block, so that a promise is written once for both kinds of client."""

    def __init__(self, client: AsyncClient) -> None:
        self._runner = asyncio.Runner()
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            result = method(*arguments, **options)
            if inspect.isawaitable(result):
                result = await result
            return [each async for each in result] if hasattr(result, "__aiter__") else result

        return lambda *arguments, **options: self._runner.run(call(*arguments, **options))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


class Local:
    """A client whose reads are made twice: the first one of a selection goes to the server, the second one is local."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get(self, *arguments: Any, **options: Any) -> Any:
        """The second answer."""
        self._client.get(*arguments, **options)
        return self._client.get(*arguments, **options)


class Paths:
    """Starts what a path needs when it is first asked for: a server for each engine, with TLS and without."""

    def __init__(self, start_server: StartServer, certificates: FilePath, folder: FilePath) -> None:
        self._start_server = start_server
        self._certificates = certificates
        self._folder = folder
        self._ends = ExitStack()
        self.url = cache(self._url)
        self.local = cache(self._local)

    def _url(self, engine: str, transport: str) -> str:
        if transport == "tls":
            files = (("--tls-certificate", "server.pem"), ("--tls-key", "server.key"))
            tls = [part for flag, name in files for part in (flag, str(self._certificates / name))]
            return self._start(engine, *tls)
        if transport == "workers":
            return self._start(engine, "--workers", "2")
        socket = self._folder / f"{engine}.sock"
        if transport == "unix":
            self.url(engine, "tcp")
            return f"unix://{socket}"
        if transport == "shm":
            return self.url(engine, "tcp").replace("grpc://", "shm://")
        return self._start(engine, "--unix-socket", str(socket))

    def _start(self, engine: str, *flags: str) -> str:
        return self._start_server("--grpc-engine", engine, "--shards", "2", *flags).url

    def _local(self) -> Local:
        client = featurestore.open(self._folder / "store")
        self._ends.callback(client.close)
        return Local(client)

    def connect(self, path: Path) -> Any:
        """A client; the same one again in this process, where a store has one owner."""
        if not path.engine:
            return self.local()
        url = self.url(path.engine, path.transport)
        options: dict[str, Any] = {"transport": path.library}
        if path.transport == "tls":
            options["ca_certificate"] = self._certificates / "ca.pem"
        blocking = path.client == "blocking"
        client = connect(url, **options) if blocking else Blocking(connect_async(url, **options))
        self._ends.callback(client.close)
        return Local(client) if path.transport == "shm" else client

    def close(self) -> None:
        """Closes the clients."""
        self._ends.close()


class Project:
    """A client that keeps to one project, so that cases do not meet."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        return lambda *arguments, **options: method(*arguments, **{"project": self.name, **options})

    def apply(self, definitions: dict[str, list[dict[str, Any]]], **options: Any) -> Any:
        """Definitions without their project."""
        named = {kind: [{**each, "project": self.name} for each in objects] for kind, objects in definitions.items()}
        return self.client.apply({"projects": [{"name": self.name}], **named}, **options)
