"""What a server of several processes promises: as one server to its callers, and more than that when one of them dies."""

import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from featurestore_client import (
    Client,
    FeatureStoreError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
    WriteCounts,
    connect,
)

from tests.conftest import ENGINES, RunningServer, StartServer, require_engine
from tests.workers.conftest import CONNECTIONS, ONCE, Workers, ended, processes, reader_of, view_of
from tests.workers.kills import Kills

VIEW = view_of("value")


class Busy:
    """A thread that does something over and over, until ``stop``; an error ends it and is raised there."""

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self.steps = 0
        self._stepped = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._step()
                with self._stepped:
                    self.steps += 1
                    self._stepped.notify_all()
        except BaseException as error:
            self._error = error

    def wait(self, steps: int) -> None:
        """Until it has gone so many steps on."""
        with self._stepped:
            goal = self.steps + steps
            assert self._stepped.wait_for(lambda: self.steps >= goal or self._error is not None, 60)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error


class WriteInFlight:
    """A write that a reader has begun to forward, and that is not answered: the owner is stopped until ``SIGCONT``."""

    rows = 10_000

    def __init__(self, server: RunningServer) -> None:
        self._ends = ExitStack()
        client = self._ends.enter_context(connect(server.url, retry=ONCE))
        client.apply(VIEW)
        client.write("users", {"user": [1], "value": [1]})
        self.reader, self.owner = reader_of(client)["pid"], processes(client, "owner")[0]["pid"]
        probe = self._ends.enter_context(connect(server.url))
        while reader_of(probe)["pid"] != self.reader:
            probe = self._ends.enter_context(connect(server.url))
        os.kill(self.owner, signal.SIGSTOP)
        self._ends.callback(self.resume)
        self._outcome: queue.Queue[WriteCounts | FeatureStoreError] = queue.Queue()
        calls = reader_of(probe)["requests"]
        self._writing = threading.Thread(target=self._write, args=(client,))
        self._writing.start()
        while self._requests(probe) == (calls := calls + 1):
            pass  # none but our own asking

    def _write(self, client: Client) -> None:
        users = np.arange(self.rows)
        try:
            self._outcome.put(client.write("users", {"user": users, "value": users}, timeout_s=60))
        except FeatureStoreError as error:
            self._outcome.put(error)

    def _requests(self, probe: Client) -> int:
        (requests,) = (process["requests"] for process in processes(probe, "reader") if process["pid"] == self.reader)
        return int(requests)

    def resume(self) -> None:
        """Lets the owner go on."""
        with suppress(ProcessLookupError):
            os.kill(self.owner, signal.SIGCONT)

    def outcome(self) -> WriteCounts | FeatureStoreError:
        """What the writer was told."""
        return self._outcome.get(timeout=60)

    def __enter__(self) -> "WriteInFlight":
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()
        self._writing.join(60)


def value_of(client: Client, user: int) -> int | None:
    """A user's value now."""
    value = client.get(["users:value"], {"user": [user]}).to_dict()["value"][0]
    return None if value is None else int(value)


# ------------------------------------------------------------------------------------------------------------ as one server


def test_connections_are_spread_over_the_readers(workers: Workers) -> None:
    clients = workers.connect_all()
    assert sorted(clients) == sorted(process["pid"] for process in processes(workers.connect(), "reader"))


def test_a_write_is_read_at_once_on_every_connection(workers: Workers) -> None:
    writer = workers.connect()
    writer.apply(VIEW)
    readers = [client for clients in workers.connect_all().values() for client in clients]
    assert len(readers) == CONNECTIONS
    for value in range(50):
        writer.write("users", {"user": [7], "value": [value]})
        assert [value_of(client, 7) for client in (writer, *readers)] == [value] * (CONNECTIONS + 1)
    writer.delete("users", {"user": [7]})
    assert {value_of(client, 7) for client in readers} == {None}


def test_definitions_hold_on_every_connection_once_apply_returns(workers: Workers) -> None:
    writer = workers.connect()
    readers = [client for clients in workers.connect_all().values() for client in clients]
    for number in range(10):
        new, old = f"feature_{number}", f"feature_{number - 1}"
        writer.apply(view_of("value", new, name="changing"), prune=False)
        writer.write("changing", {"user": [1], new: [number]})
        for client in readers:
            assert client.get([f"changing:{new}"], {"user": [1]}).to_dict()[new] == [number]
            if number:
                with pytest.raises(NotFoundError, match=f"{old}.*does not exist"):
                    client.get([f"changing:{old}"], {"user": [1]})


def test_a_view_that_is_dropped_and_made_again_is_empty_on_every_connection(workers: Workers) -> None:
    writer = workers.connect()
    writer.apply(VIEW)
    readers = [client for clients in workers.connect_all().values() for client in clients]
    project = {"projects": [{"name": "again"}]}
    named = {kind: [{**each, "project": "again"} for each in objects] for kind, objects in VIEW.items()}
    for value in range(3):
        writer.apply({**project, **named})
        empty = [client.get(["users:value"], {"user": [1]}, project="again").to_dict()["value"] for client in readers]
        assert empty == [[None]] * len(readers)
        writer.write("users", {"user": [1], "value": [value]}, project="again")
        found = [client.get(["users:value"], {"user": [1]}, project="again").to_dict()["value"] for client in readers]
        assert found == [[value]] * len(readers)
        writer.apply(project, prune=True)
        for client in readers:
            with pytest.raises(NotFoundError):
                client.get(["users:value"], {"user": [1]}, project="again")


def test_an_ingestion_goes_through_a_reader(workers: Workers) -> None:
    client = workers.connect()
    client.apply(VIEW)
    rows = 100_000
    users = np.arange(rows, dtype=np.int64)
    counts = client.ingest("users", {"user": users + 1_000_000, "value": users}, batch_rows=2_000)
    assert counts.rows == rows
    for reader in workers.connect_all().values():
        found = reader[0].get(["users:value"], {"user": [1_000_000, 1_050_000, 1_099_999]}).to_dict()["value"]
        assert found == [0, 50_000, 99_999]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_unix_socket_outlives_a_reader_and_ends_with_the_server(
    start_server: StartServer, tmp_path: Path, engine: str, end: signal.Signals
) -> None:
    require_engine(engine)
    path = tmp_path / "s.sock"
    server = start_server("--workers", "2", "--unix-socket", str(path), "--grpc-engine", engine)
    with connect(f"unix://{path}") as client:
        os.kill(reader_of(client)["pid"], end)
        server.wait_for("serving again")
        for _ in range(4):
            with connect(f"unix://{path}") as another:
                assert another.list_projects()
    assert server.stop() == 0
    assert not path.exists()


def test_api_keys_are_asked_for_and_tls_is_spoken_by_every_reader(
    start_server: StartServer, certificates: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("secret\n")
    tls = ("--tls-certificate", f"{certificates}/server.pem", "--tls-key", f"{certificates}/server.key")
    server = start_server("--workers", "2", *tls, "--api-keys-file", str(keys))
    pids = set()
    for _ in range(CONNECTIONS):
        with connect(server.url, api_key="secret", ca_certificate=certificates / "ca.pem") as client:
            client.apply(VIEW)
            client.write("users", {"user": [1], "value": [1]})
            assert value_of(client, 1) == 1
            pids.add(reader_of(client)["pid"])
        with connect(server.url, api_key="other", ca_certificate=certificates / "ca.pem", retry=ONCE) as stranger:
            for call in (lambda: value_of(stranger, 1), stranger.list_tables, stranger.status):
                with pytest.raises(UnauthenticatedError):
                    call()
    assert len(pids) == 2
    assert "secret" not in server.log


# ------------------------------------------------------------------------------------------------------- when one dies


def test_a_reader_that_is_killed_costs_its_own_connections_alone(workers: Workers) -> None:
    writer = workers.connect()
    writer.apply(VIEW)
    writer.write("users", {"user": [1], "value": [1]})
    (pid, lost), (_, kept) = workers.connect_all(retry=ONCE).items()
    idle = kept.pop()

    def read() -> None:
        for client in kept:
            assert value_of(client, 1) == 1

    busy = Busy(read)
    busy.wait(2)
    ended = workers.kill(pid)
    assert ended["restart_in_s"] < 1
    busy.wait(2)
    busy.stop()
    assert value_of(idle, 1) == 1
    for client in lost:  # they connect anew, to whoever is there
        assert value_of(client, 1) == 1
    assert {process["restarts"] for process in processes(writer, "reader")} >= {0}
    assert sum(process["restarts"] for process in processes(writer, "reader")) >= 1


def test_a_call_in_flight_ends_with_the_reader_that_is_killed(workers: Workers) -> None:
    with WriteInFlight(workers.server) as write:
        workers.kill(write.reader)
        assert isinstance(write.outcome(), UnavailableError)
    assert value_of(workers.connect(), 1) is not None


def test_an_ingestion_goes_on_when_its_reader_is_killed(workers: Workers) -> None:
    client, users = workers.connect(), range(3_000_000, 3_000_020)
    client.apply(VIEW)
    reader = reader_of(client)["pid"]

    def parts() -> Iterator[dict[str, list[int]]]:
        for user in users:
            yield {"user": [user], "value": [user], "at": [datetime(2026, 1, 1, tzinfo=UTC)]}
            if user == users[10]:
                workers.kill(reader)

    counts = client.ingest("users", parts(), timestamp_column="at", batch_rows=1)
    assert counts.rows == 20
    assert [value_of(client, user) for user in users] == [*users]


def test_the_owner_is_killed_during_writes_and_nothing_acknowledged_is_lost(workers: Workers) -> None:
    writer, reader = workers.connect(), workers.connect(retry=ONCE)
    writer.apply(VIEW)
    acknowledged: list[int] = []
    numbers = count(2_000_000, 100)

    def write() -> None:
        first = next(numbers)
        users = np.arange(first, first + 100)
        writer.write("users", {"user": users, "value": users}, event_timestamps=1_700_000_000_000_000)
        acknowledged.append(first)

    def read() -> None:
        if acknowledged:
            first = acknowledged[-1]
            users = np.arange(first, first + 100)
            assert reader.get(["users:value"], {"user": users}).to_dict()["value"] == users.tolist()

    writing, reading = Busy(write), Busy(read)
    for _ in range(3):
        writing.wait(20)
        (owner,) = processes(reader, "owner")
        workers.kill(owner["pid"])
        reading.wait(20)
    writing.wait(20)
    writing.stop()
    reading.stop()
    for clients in workers.connect_all().values():
        users = np.concatenate([np.arange(first, first + 100) for first in acknowledged])
        for part in np.array_split(users, len(users) // 5_000 + 1):
            assert clients[0].get(["users:value"], {"user": part}).to_dict()["value"] == part.tolist()


def test_definitions_of_the_next_owner_hold_on_every_connection(workers: Workers) -> None:
    writer = workers.connect()
    writer.apply(view_of("value", name="inherited"))
    readers = [client for clients in workers.connect_all().values() for client in clients]
    for client in readers:
        assert client.get(["inherited:value"], {"user": [1]}).to_dict()["value"] == [None]
    workers.kill(processes(writer, "owner")[0]["pid"])
    writer.apply(view_of("value", "more", name="inherited"))
    writer.write("inherited", {"user": [1], "more": [3]})
    for client in readers:
        assert client.get(["inherited:more"], {"user": [1]}).to_dict()["more"] == [3]


def test_reads_go_on_and_writes_wait_while_the_owner_is_away(workers: Workers) -> None:
    client = workers.connect(retry=ONCE)
    client.apply(VIEW)
    client.write("users", {"user": [5], "value": [5]})
    (owner,) = processes(client, "owner")
    os.kill(owner["pid"], signal.SIGSTOP)
    try:
        outcome: list[object] = []
        writing = threading.Thread(target=lambda: outcome.append(client.write("users", {"user": [5], "value": [6]})))
        writing.start()
        for scheme in ("grpc", "shm"):
            with connect(workers.server.url.replace("grpc", scheme)) as other:
                assert [value_of(other, 5) for _ in range(3)] == [5, 5, 5]
        assert not outcome
    finally:
        os.kill(owner["pid"], signal.SIGCONT)
    writing.join(30)
    assert value_of(client, 5) == 6


def test_a_client_with_mapped_memory_goes_on_when_the_owner_is_killed(workers: Workers) -> None:
    with connect(workers.server.url.replace("grpc://", "shm://"), retry=ONCE) as client:
        client.apply(VIEW)
        client.write("users", {"user": [9], "value": [9]})
        assert [value_of(client, 9) for _ in range(3)] == [9, 9, 9]
        workers.kill(processes(client, "owner")[0]["pid"])
        assert [value_of(client, 9) for _ in range(3)] == [9, 9, 9]
        client.write("users", {"user": [9], "value": [10]})
        assert [value_of(client, 9) for _ in range(3)] == [10, 10, 10]


def test_a_reader_that_nobody_asks_lets_go_of_rows_that_were_replaced(workers: Workers) -> None:
    client = workers.connect()
    client.apply(VIEW)
    client.replace("users", {"user": [1], "value": [1]})
    clients = workers.connect_all()
    for pid, connected in clients.items():
        assert value_of(connected[0], 1) == 1
        assert not has_removed_tables(pid)
    client.replace("users", {"user": [1], "value": [2]})
    for pid in clients:
        wait_until(lambda pid=pid: not has_removed_tables(pid))
    assert value_of(client, 1) == 2


def has_removed_tables(pid: int) -> bool:
    """Whether a process has a table's file mapped whose name is gone."""
    return any("/arena-" in line and "(deleted)" in line for line in Path(f"/proc/{pid}/maps").read_text().splitlines())


def wait_until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_nobody_lives_on_without_the_supervisor(start_server: StartServer) -> None:
    server = start_server("--workers", "2")
    with connect(server.url) as client:
        pids = [process["pid"] for process in client.status()["processes"]]
    assert pids[0] == server.process.pid
    with ended(pids[1:]):
        server.process.kill()
    server.wait()
    again = start_server("--workers", "2", directory=server.directory)
    assert again.stop() == 0


def test_a_reader_that_cannot_start_ends_the_server_with_a_sentence(start_server: StartServer) -> None:
    server = start_server("--workers", "2")
    with connect(server.url) as client:
        client.apply(VIEW)
        pids = [process["pid"] for process in client.status()["processes"]]
        pid = reader_of(client)["pid"]
    (server.directory / "registry.json").write_text("{")
    with ended(pids):
        os.kill(pid, signal.SIGKILL)
        assert server.wait() == 1
    last = server.lines[-1]
    assert last.startswith("error: the reader ")
    assert "process ended 5 times in a row before it served, the last time with: " in last
    assert "registry.json: got a damaged file" in last


# -------------------------------------------------------------------------------------------------------- starting and ending


def test_the_line_that_it_serves_comes_once_and_it_exits_0(start_server: StartServer) -> None:
    server = start_server("--workers", "3")
    serving = [event for event in server.events if event["event"] == "serving"]
    assert [event["workers"] for event in serving] == [3]
    with connect(server.url) as client:
        pids = [process["pid"] for process in client.status()["processes"]]
    with ended(pids):
        assert server.stop() == 0
    names = [event.get("process") for event in server.events if event["event"] == "stopped"]
    assert sorted(names[:3]) == ["reader 1", "reader 2", "reader 3"]
    assert names[3:] == ["owner", None]


def test_calls_in_flight_are_finished_when_it_drains(start_server: StartServer) -> None:
    server = start_server("--workers", "2")
    with WriteInFlight(server) as write:
        server.process.terminate()
        server.wait_for("draining")
        write.resume()
        assert write.outcome() == WriteCounts(write.rows, write.rows - 1, 1, 0, 0)
    assert server.wait() == 0


def test_says_that_a_port_is_taken(start_server: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start_server("--workers", "2", "--listen", f"127.0.0.1:{port}", ready=False)
        assert server.wait() == 1
    assert server.log.startswith(f"error: cannot listen on 127.0.0.1:{port}: port {port} is taken by another process;")


@pytest.mark.parametrize("second_workers", ["0", "2"])
def test_no_other_server_shares_its_port_or_its_store(workers: Workers, start_server: StartServer, second_workers: str) -> None:
    second = start_server("--workers", second_workers, "--listen", workers.server.target, ready=False)
    assert second.wait() == 1
    assert "is taken by another process" in second.log
    third = start_server("--workers", second_workers, directory=workers.server.directory, ready=False)
    assert third.wait() == 1
    assert "is held by process" in third.log
    assert "Traceback" not in third.log
    with connect(workers.server.url) as client:
        assert len(client.status()["processes"]) == 4


def test_an_owner_that_is_killed_at_any_moment_leaves_what_was_acknowledged(start_server: StartServer) -> None:
    kills = Kills(start_server("--workers", "2", "--shards", "4"), seed=1)
    kills.run(5)
    kills.close()
    assert kills.errors == []
    assert kills.reads > 0
    assert kills.acknowledged_rows > 0
