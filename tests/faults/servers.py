"""Servers that are killed and started again on one directory, many times a minute."""

import atexit
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

WAIT_S = 60


@cache
def note_syncs() -> Path:
    """``note_syncs.c`` as a library to preload, built once a process."""
    directory = Path(tempfile.mkdtemp(prefix="note-syncs-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    library = directory / "note_syncs.so"
    source = Path(__file__).with_name("note_syncs.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source], check=True)
    return library


def noting_syncs(notes: Path | None = None) -> dict[str, str]:
    """The environment of a process that keeps in that file what it has synced."""
    preloaded = " ".join(filter(None, (os.environ.get("LD_PRELOAD"), str(note_syncs()))))
    return {**os.environ, "LD_PRELOAD": preloaded, **({} if notes is None else {"SYNCED_NOTES": str(notes)})}


def lose_unsynced(directory: Path, notes: Path) -> None:
    """Takes away what a loss of power would: what files hold that was not synced, and what they are called.

    What was removed stays so, as the disk may have it.
    """
    sizes: dict[int, int] = {}
    names: dict[int, dict[str, int]] = {}
    for line in notes.read_text().splitlines() if notes.exists() else []:
        inode, *rest = line.split(" ")
        if inode.endswith("/"):
            names[int(inode[:-1])] = {name: int(of) for name, _, of in (each.rpartition("=") for each in rest)}
        else:
            sizes[int(inode)] = int(rest[0])

    def lose_names(parent: Path) -> None:
        synced = names.get(parent.stat().st_ino, {})
        for path in [*parent.iterdir()]:
            if synced.get(path.name) != path.stat().st_ino:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                if path.name in synced:  # something else had that name
                    os.link(f"{notes}.d/{synced[path.name]}", path)
            elif path.is_dir():
                lose_names(path)

    lose_names(directory)
    for path in directory.rglob("*"):
        if path.is_file():
            status = path.stat()
            os.truncate(path, min(sizes.get(status.st_ino, 0), status.st_size))


class Servers:
    """One server at a time on ``directory``."""

    def __init__(self, directory: Path, **flags: str) -> None:
        self.move(directory)
        self._flags = {"fsync": "interval", **flags}
        self._host = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=noting_syncs(),
        )
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.pid = 0
        self.url = ""

    def move(self, directory: Path) -> None:
        """The servers that are started from here on have another directory."""
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.segments = directory / "segments"
        self.data = directory / "data"
        self._synced = directory / "synced"

    def _read(self) -> None:
        assert self._host.stderr is not None
        for line in self._host.stderr:
            self.lines.append(line)
            try:
                self._events.put(json.loads(line))
            except ValueError:
                self._events.put({"event": line})
        self._events.put(None)

    def begin(self, **flags: str) -> None:
        """Starts a server, and does not wait for it."""
        assert self._host.stdin is not None
        assert self._host.stdout is not None
        fixed = {
            "directory": str(self.data),
            "segments": str(self.segments),
            "listen": "127.0.0.1:0",
            "unix_socket": "off",
            "synced": str(self._synced),
        }
        self._host.stdin.write(json.dumps({**fixed, **self._flags, **flags}) + "\n")
        self._host.stdin.flush()
        self.pid = int(self._host.stdout.readline())

    def wait_for(self, *names: str) -> dict[str, Any]:
        """The next event of one of these names; fails when the server ends before it."""
        while True:
            event = self._events.get(timeout=WAIT_S)
            if event is None or event["event"] == "ended":
                self.pid = 0
            if event is None or (event["event"] == "ended" and "ended" not in names):
                raise AssertionError("the server ended:\n" + "".join(self.lines[-40:]))
            if event["event"] in names:
                return event

    def start(self, **flags: str) -> dict[str, Any]:
        """Starts a server that serves. Returns what it recovered; nothing where it says nothing."""
        self.begin(**flags)
        event = self.wait_for("recovered", "serving")
        serving = event if event["event"] == "serving" else self.wait_for("serving")
        self.url = serving["address"]
        return {} if event is serving else event

    def refused(self, **flags: str) -> str:
        """Starts a server that refuses to start. Returns its sentence."""
        self.begin(**flags)
        message: str = self.wait_for("refused")["message"]
        self.wait_for("ended")
        return message

    def kill(self) -> None:
        """As the system does it: at once."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.wait_for("ended")

    def stop(self) -> None:
        """In good order."""
        os.kill(self.pid, signal.SIGTERM)
        assert self.wait_for("ended")["code"] == 0

    def lose_memory(self) -> None:
        """The tables are gone, as after a reboot; the journal is as the system had it."""
        shutil.rmtree(self.segments)

    def lose_power(self) -> None:
        """The tables are gone, and of the directory everything that was not synced."""
        self.lose_memory()
        lose_unsynced(self.data, self._synced)

    def close(self) -> None:
        """Ends the host, and what it runs."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        assert self._host.stdin is not None
        self._host.stdin.close()
        self._host.wait(WAIT_S)
        for pipe in (self._host.stdout, self._host.stderr):
            assert pipe is not None
            pipe.close()


@contextmanager
def servers(directory: Path, **flags: str) -> Iterator[Servers]:
    """Servers on a directory, all ended on leaving."""
    each = Servers(directory, **flags)
    try:
        yield each
    finally:
        each.close()
