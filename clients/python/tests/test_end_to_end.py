"""The client against a real server process: what it does about a server that restarts or asks for a key, and its README.

What it reads and writes is in the repository's ``tests/conformance``, over every path.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import featurestore_client
import pytest
from featurestore_client import UnauthenticatedError

NOW = datetime.now(UTC)

DEFINITIONS: dict[str, Any] = {
    "entities": [{"name": "user", "join_keys": [{"name": "user", "type": "int64"}]}],
    "feature_views": [{"name": "bulk", "entity": "user", "features": [{"name": "f0", "type": "float32"}]}],
}


class Process:
    """A ``featurestore serve`` process; ``restart`` keeps its port and directory."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._directory = directory
        self._environment = environment
        self._listen = "127.0.0.1:0"
        self.address = ""
        self.start()

    def start(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FEATURESTORE_")}
        command = [sys.executable, "-m", "featurestore", "serve", "--directory", str(self._directory), "--listen", self._listen]
        command += ["--segments", str(self._directory / "segments")]
        environment = {**inherited, **self._environment}
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=self._directory)
        assert self._process.stderr is not None
        lines = []
        for line in self._process.stderr:
            lines.append(line)
            if "grpc://127.0.0.1:" in line:
                self.address = "grpc://127.0.0.1:" + line.partition("grpc://127.0.0.1:")[2].split()[0].strip('",')
                self._listen = self.address.removeprefix("grpc://")
                break
        else:
            self._process.stderr.close()
            self._process.wait()
            raise AssertionError("the server ended: " + "".join(lines))
        self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)  # so that it can go on writing
        self._reader.start()

    def stop(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)
        self._process.wait(30)
        self._reader.join(30)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def restart(self) -> None:
        self.stop()
        self.start()


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []
    with tempfile.TemporaryDirectory(prefix="featurestore-client-test-", dir="/dev/shm") as directory:

        def started(**environment: str) -> Process:
            process = Process(Path(tempfile.mkdtemp(dir=directory)), environment)
            processes.append(process)
            return process

        yield started
        for process in processes:
            process.stop()


def test_a_restart_in_the_middle_of_an_ingest_is_survived(start: Callable[..., Process]) -> None:
    process = start()
    restarted = threading.Thread(target=process.restart)
    with featurestore_client.connect(process.address) as client:
        client.apply(DEFINITIONS)

        def data() -> Iterator[dict[str, Any]]:
            for batch in range(40):
                if batch == 20:
                    restarted.start()
                yield {"user": [batch], "f0": [float(batch)], "event_timestamp": [NOW]}

        counts = client.ingest("bulk", data(), window=4)
        restarted.join()
        assert counts.rows == 40
        assert client.get(["bulk:f0"], {"user": [39]}).to_dict() == {"f0": [39.0]}


def test_an_api_key_is_asked_for(start: Callable[..., Process], connect: Any) -> None:
    process = start(FEATURESTORE_API_KEYS="one,two")
    assert connect(process.address, api_key="two").list_projects() is not None
    for key in (None, "three"):
        with pytest.raises(UnauthenticatedError):
            connect(process.address, api_key=key).list_projects()


def test_the_readme_prints_what_it_shows(start: Callable[..., Process], capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text()
    blocks = re.findall(r"```(python|text)\n(.*?)```", text, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "text"] * 4
    names: dict[str, Any] = {}
    address = start().address
    for (_, code), (_, shown) in zip(blocks[::2], blocks[1::2], strict=True):
        exec(code.replace("grpc://127.0.0.1:7400", address), names)  # noqa: S102  our own page
        assert capsys.readouterr().out == shown
    names["client"].close()
