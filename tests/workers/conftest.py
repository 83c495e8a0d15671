"""A server of several processes, and what its tests need to know of them."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from featurestore_client import Client, RetryPolicy, connect

from tests.conftest import RunningServer, StartServer

ONCE = RetryPolicy(attempts_max=1)
CONNECTIONS = 24
"""So many, and it does not happen that one reader has them all: 2 to the power of -23."""

ENTITIES = [{"name": "user", "join_keys": [{"name": "user", "type": "int64"}]}]


def view_of(*features: str, name: str = "users") -> dict[str, Any]:
    """Definitions with one view of numbers."""
    return {
        "entities": ENTITIES,
        "feature_views": [
            {"name": name, "entity": "user", "features": [{"name": each, "type": "int64"} for each in features]},
        ],
    }


def processes(client: Client, role: str) -> list[dict[str, Any]]:
    """Those of a role."""
    return [process for process in client.status()["processes"] if process["role"] == role]


def reader_of(client: Client) -> dict[str, Any]:
    """The reader that serves a client's connection: the one whose count of calls moves by one with each that it answers."""
    seen = [{process["pid"]: process for process in processes(client, "reader")} for _ in range(4)]
    (found,) = (
        pid
        for pid in seen[0]
        if [round_[pid]["requests"] - seen[0][pid]["requests"] for round_ in seen if pid in round_] == [0, 1, 2, 3]
    )
    return seen[-1][found]


@contextmanager
def ended(pids: list[int]) -> Iterator[None]:
    """Waits, on leaving, until these processes have ended."""
    files = [os.pidfd_open(pid) for pid in pids]
    try:
        yield
        for file in files:
            assert select.select([file], [], [], 30)[0], "a process goes on"
    finally:
        for file in files:
            os.close(file)


class Workers:
    """A running server and clients of it, one connection each."""

    def __init__(self, server: RunningServer, ends: ExitStack) -> None:
        self.server = server
        self._ends = ends

    def connect(self, **options: Any) -> Client:
        """One more client."""
        client = connect(self.server.url, **options)
        self._ends.callback(client.close)
        return client

    def connect_all(self, **options: Any) -> dict[int, list[Client]]:
        """Many clients, by the process that each is connected to."""
        clients: dict[int, list[Client]] = {}
        for _ in range(CONNECTIONS):
            client = self.connect(**options)
            clients.setdefault(reader_of(client)["pid"], []).append(client)
        return clients

    def kill(self, pid: int) -> dict[str, Any]:
        """Kills a process of the server, and waits until there is another in its place."""
        os.kill(pid, signal.SIGKILL)
        ended = self.server.wait_for("process ended")
        assert (ended["pid"], ended["reason"]) == (pid, "killed by SIGKILL")
        again = self.server.wait_for("serving again")
        assert again["name"] == ended["name"]
        return ended


@pytest.fixture(scope="module")
def workers(start_server: StartServer) -> Iterator[Workers]:
    """A server with two readers."""
    with ExitStack() as ends:
        yield Workers(start_server("--workers", "2", "--shards", "2"), ends)
