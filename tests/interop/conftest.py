"""The test service behind each engine, on each transport, in a process of its own; and clients of it."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.interop.callers import AsyncCaller, BlockingCaller, Caller

ROOT = Path(__file__).resolve().parents[2]


class Served(NamedTuple):
    """One engine's addresses, by transport."""

    engine: str
    addresses: dict[str, str]


@pytest.fixture(scope="session", params=["grpcio", "native"])
def engine(request: pytest.FixtureRequest, certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A process with the engine."""
    if request.param == "native":
        try:
            importlib.import_module("featurestore.server.grpc_native")
        except ImportError as error:
            pytest.skip(f"the native engine is not built here: {error}")
    socket = tmp_path_factory.mktemp("interop") / "socket"
    command = [sys.executable, "-m", "tests.interop.serve", request.param, str(certificates), str(socket)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Served(request.param, json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.fixture(scope="session", params=["tcp", "tls", "unix"])
def url(request: pytest.FixtureRequest, engine: Served) -> str:
    """Where the engine is."""
    return engine.addresses[request.param]


@pytest.fixture(scope="session", params=["blocking", "asyncio"])
def caller(request: pytest.FixtureRequest, url: str, certificates: Path) -> Iterator[Caller]:
    """A client of it."""
    caller = (BlockingCaller if request.param == "blocking" else AsyncCaller)(url, certificates)
    yield caller
    caller.close()
