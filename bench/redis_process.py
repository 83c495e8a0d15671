"""A real redis-server for the length of a run: on a unix socket, and over TCP if asked; in memory only, stopped at the end."""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import redis

from bench.cores import ANY, started_on
from bench.ports import free_port

START_S = 10.0
STOP_S = 10.0


class RedisProcess:
    """redis-server, listening on a unix socket in ``directory``; with ``tcp`` on ``port`` too.

    Persistence is off, unless ``appendfsync`` is given: then it keeps an append-only file there, synced as that says.
    """

    def __init__(self, directory: Path, *, tcp: bool = False, cores: frozenset[int] = ANY, appendfsync: str = "") -> None:
        self.socket = directory / "redis.sock"
        self.port = free_port() if tcp else 0
        self._log = directory / "redis.log"
        command = [
            *("redis-server", "--port", str(self.port), "--unixsocket", str(self.socket), "--save", ""),
            *("--appendonly", "yes" if appendfsync else "no", "--appendfsync", appendfsync or "no"),
            *("--dir", str(directory), "--logfile", str(self._log), "--maxmemory-policy", "noeviction"),
        ]
        with started_on(cores):
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._await_ready()

    @staticmethod
    def missing() -> str:
        """What this machine lacks to start one; empty when nothing."""
        return "" if shutil.which("redis-server") else "redis-server is not installed"

    def client(self) -> Any:
        """A redis-py client with one connection (hiredis parses): over TCP where that was asked for."""
        if self.port:
            return redis.Redis("127.0.0.1", self.port, single_connection_client=True)
        return redis.Redis(unix_socket_path=str(self.socket), single_connection_client=True)

    def stop(self) -> None:
        """Ends the process, and waits until it has."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.client().ping()
                return
            except redis.ConnectionError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = self._log.read_text() if self._log.exists() else "no log"
                    self.stop()
                    raise RuntimeError(f"redis-server did not start within {START_S:g} s: {log[-2_000:]}") from None
                time.sleep(0.01)
