"""The test service behind each engine, on each transport, in a process of its own; and clients of it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ENGINES, require_engine
from tests.interop.callers import AsyncCaller, BlockingCaller, Caller
from tests.interop.serve import TRANSPORTS

ROOT = Path(__file__).resolve().parents[2]


class Served(NamedTuple):
    """One engine's addresses, by transport."""

    engine: str
    addresses: dict[str, str]


@pytest.fixture(scope="session")
def serve(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Served]]:
    """Starts the process of an engine; one for all tests."""
    with ExitStack() as ends:

        @cache
        def start(engine: str) -> Served:
            socket = tmp_path_factory.mktemp("interop") / "socket"
            command = [sys.executable, "-m", "tests.interop.serve", engine, str(certificates), str(socket)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            ends.callback(end, process)
            assert process.stdout is not None
            return Served(engine, json.loads(process.stdout.readline()))

        def end(process: subprocess.Popen[str]) -> None:
            process.communicate(timeout=20)  # its standard input ends
            assert process.returncode == 0

        yield start


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest, serve: Callable[[str], Served]) -> Served:
    """Each engine."""
    require_engine(request.param)
    return serve(request.param)


@pytest.fixture(scope="session", params=TRANSPORTS)
def url(request: pytest.FixtureRequest, engine: Served) -> str:
    """Where the engine is."""
    return engine.addresses[request.param]


@pytest.fixture(scope="session", params=["blocking", "asyncio"])
def caller(request: pytest.FixtureRequest, url: str, certificates: Path) -> Iterator[Caller]:
    """A client of it."""
    caller = (BlockingCaller if request.param == "blocking" else AsyncCaller)(url, certificates)
    yield caller
    caller.close()
