"""What the tests share: real server processes, whose log is shown when a test fails."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

START_TIMEOUT_S = 60
PROGRAM = (sys.executable, "-m", "featurestore")
ENGINES = ("native", "grpcio")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what is to run in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # servers inherit what is ignored, and tests interrupt them


def require_engine(name: str) -> None:
    """Skips the test where that engine is not built."""
    if name == "native":
        pytest.importorskip(
            "featurestore.server.grpc_native", reason="built without libnghttp2's headers", exc_type=ImportError
        )


def of_threads(process: int, ask: Callable[[int], int]) -> set[int]:
    """What ``ask`` says of the threads of ``process`` which live: one may end while they are looked at."""
    found = set()
    for each in Path(f"/proc/{process}/task").iterdir():
        with suppress(ProcessLookupError):
            found.add(ask(int(each.name)))
    return found


@pytest.fixture(autouse=True)
def keeps_its_share() -> Iterator[None]:
    """Of the cores: a test that gave way to all else would slow the ones after it, and every server that they start."""
    before = os.sched_getscheduler(0)
    yield
    assert os.sched_getscheduler(0) == before


class RunningServer:
    """A ``featurestore serve`` process on a free port of this machine. ``events`` is its log so far, parsed."""

    def __init__(
        self, directory: Path, flags: tuple[str, ...], environment: dict[str, str], program: tuple[str, ...] = PROGRAM
    ) -> None:
        self.directory = directory
        self.events: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.exit_code: int | None = None
        self._arrived: queue.Queue[dict[str, Any] | None] = queue.Queue()
        own = {name: value for name, value in os.environ.items() if not name.startswith("FEATURESTORE_")}
        command = [*program, "serve", "--directory", str(directory), "--log-format", "json"]
        if not any(flag.startswith("--listen") for flag in flags):
            command += ["--listen", "127.0.0.1:0"]
        if not any(flag.startswith("--segments") for flag in flags):
            command += ["--segments", str(directory / "segments")]
        self.process = subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True, env={**own, **environment})
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": line}  # of --log-format text, or a sentence on the way out
            self.events.append(event)
            self._arrived.put(event)
        self._arrived.put(None)

    def wait_for(self, name: str, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        """The next event of that name (or line of text with it); fails when the process ends before it."""
        while True:
            event = self._arrived.get(timeout=timeout_s)
            if event is None:
                raise AssertionError(f"the server ended before {name!r}:\n{self.log}")
            if event["event"] == name or ("level" not in event and name in event["event"]):
                return event

    @property
    def log(self) -> str:
        """All that it wrote."""
        return "".join(self.lines)

    @property
    def url(self) -> str:
        """``grpc://127.0.0.1:PORT``."""
        serving = next(event for event in self.events if event["event"] == "serving")
        return str(serving["address"])

    @property
    def target(self) -> str:
        """``127.0.0.1:PORT``, as grpcio wants it."""
        return self.url.partition("://")[2]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal, waits for the end, returns the exit code."""
        if self.exit_code is None:
            if self.process.poll() is None:
                self.process.send_signal(number)
            self.exit_code = self.wait()
        return self.exit_code

    def wait(self, timeout_s: float = 30) -> int:
        """Waits for the process to end by itself; returns the exit code. TimeoutExpired, and it is killed, when it does not."""
        try:
            return self.process.wait(timeout_s)
        finally:
            if self.process.returncode is None:
                self.process.kill()
                self.process.wait()
            self._reader.join(timeout_s)
            assert self.process.stderr is not None
            self.process.stderr.close()


@contextmanager
def new_directory() -> Iterator[Path]:
    """For a store, while it is needed."""
    memory = Path("/dev/shm")  # noqa: S108  as servers use it; disks of test machines are slow
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="featurestore-test-", dir=place, ignore_cleanup_errors=True) as directory:
        yield Path(directory)


StartServer = Callable[..., RunningServer]
_running: list[RunningServer] = []


@pytest.fixture(scope="module")
def start_server() -> Iterator[StartServer]:
    """Starts servers: ``start_server("--read-rows-max", "10")``; ``directory=`` to use one again, ``ready=False``: no wait."""
    ending = ExitStack()

    def start(
        *flags: str, directory: Path | None = None, ready: bool = True, environment: dict[str, str] | None = None
    ) -> RunningServer:
        if directory is None:
            directory = ending.enter_context(new_directory())
        server = RunningServer(directory, flags, environment or {})
        ending.callback(end, server)
        _running.append(server)
        if ready:
            server.wait_for("serving")
        return server

    def end(server: RunningServer) -> None:
        _running.remove(server)
        if server.process.poll() is None:
            server.stop()

    with ending:  # all of it, also when one of them will not end
        yield start


@pytest.fixture(scope="module")
def server(start_server: StartServer) -> RunningServer:
    """One server for the tests of a module."""
    return start_server()


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ca.pem``, and ``NAME.pem`` with ``NAME.key`` for ``server`` (127.0.0.1, localhost) and ``client``."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    _openssl("req", *authority, "-subj", "/CN=test authority", "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.pem")
    for name in ("server", "client"):
        request = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}")
        _openssl("req", *request, "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.csr")
        (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        signing = ("-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key", "-CAcreateserial", "-days", "2")
        files = ("-in", f"{folder}/{name}.csr", "-extfile", f"{folder}/{name}.ext", "-out", f"{folder}/{name}.pem")
        _openssl("x509", "-req", *files, *signing)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Shows the logs of the servers that ran during a test that failed."""
    report = yield
    if report.failed:  # type: ignore[attr-defined]
        for running in _running:
            report.sections.append((f"log of the server on {running.directory}", running.log))  # type: ignore[attr-defined]
    return report
