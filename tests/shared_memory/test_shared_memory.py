"""Reads through shared memory: that they need no server, follow whatever it does, and end when it does.

What is answered, and how mistakes are told, is asked of this way as of every other one: ``tests/conformance``.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from featurestore_client import (
    CancelledError,
    Client,
    DeadlineExceededError,
    FailedPreconditionError,
    NotFoundError,
    UnavailableError,
    connect,
)
from featurestore_client.reads import Selection
from featurestore_client.shared_reads import LocalReads
from featurestore_client.tables.table import TableReader
from featurestore_client.transport import GET_FEATURES, GET_SHARED_MEMORY

from tests.conftest import RunningServer, StartServer

ROWS = 1_000
FEATURES = ("a", "b")
NOBODY = 65_534

if not Path("/proc/self/maps").exists():
    pytest.skip("shared memory is read on Linux", allow_module_level=True)


def definitions(*features: str) -> dict[str, list[dict[str, Any]]]:
    return {
        "entities": [{"name": "user", "join_keys": [{"name": "user", "type": "int64"}]}],
        "feature_views": [
            {"name": "users", "entity": "user", "features": [{"name": each, "type": "float32"} for each in features]}
        ],
        "feature_services": [{"name": "model", "features": [f"users:{each}" for each in features]}],
    }


def address(server: RunningServer, scheme: str = "shm") -> str:
    return server.url.replace("grpc://", f"{scheme}://")


def fill(client: Client, rows: int = ROWS, *, first: int = 0, value: float = 0.0) -> None:
    users = np.arange(first, first + rows)
    client.write("users", {"user": users, "a": (users + value).astype(np.float32), "b": np.full(rows, value, np.float32)})


def is_local(client: Client, selection: Any = "model") -> bool:
    """Whether the next read of a selection asks nobody."""
    return client._selections.find(selection, "default", False, False).local is not None


def read_until_it_fails(client: Client) -> None:
    while True:
        client.get("model", {"user": [1]}, timeout_s=1)


@pytest.fixture
def served(start_server: StartServer) -> RunningServer:
    """A server of this test's own, with a filled view."""
    server = start_server("--shards", "2")
    with connect(server.url) as client:
        client.apply(definitions(*FEATURES))
        fill(client)
    return server


@pytest.fixture
def client(served: RunningServer) -> Iterator[Client]:
    """A client that reads its memory, and has read once."""
    with connect(address(served), timeout_s=5) as client:
        client.get("model", {"user": [1]})
        assert is_local(client)
        yield client


# -------------------------------------------------------------------------------------------------------- without a server


def test_reads_need_no_server(served: RunningServer, client: Client) -> None:
    os.kill(served.process.pid, signal.SIGSTOP)
    try:
        assert client.get("model", {"user": [7, 8]}).to_numpy().tolist() == [[7, 0], [8, 0]]
        assert client.get("model", {"user": np.arange(3)}).to_numpy()[:, 0].tolist() == [0, 1, 2]
        assert client.get("model", {"user": 9}).to_numpy().tolist() == [[9, 0]]
        found = client.get("model", {"user": [1, ROWS]})
        assert found.statuses.tolist() == [[0, 0], [2, 2]]
    finally:
        os.kill(served.process.pid, signal.SIGCONT)


def test_what_is_read_is_as_over_the_network(served: RunningServer, client: Client) -> None:
    client.write("users", {"user": [1, 2], "a": [None, 5.0]})
    options: list[dict[str, Any]] = [{}, {"event_timestamps": True}, {"expired_values": True}]
    keys: list[Any] = [[1], [1, 2, ROWS + 5], np.arange(400), 3]
    with connect(served.url) as network:
        for each in options:
            for users in keys:
                client.get("model", {"user": users}, **each)
                local, remote = client.get("model", {"user": users}, **each), network.get("model", {"user": users}, **each)
                assert np.array_equal(local.to_numpy(), remote.to_numpy(), equal_nan=True)
                assert local.statuses.tolist() == remote.statuses.tolist()
                times = [batch.event_timestamps for batch in (local, remote)]
                assert times[0] is times[1] is None or times[0].tolist() == times[1].tolist()
                assert not local.to_numpy().flags.writeable


def test_what_was_read_can_be_pickled(client: Client) -> None:
    # By the shortest way, by the server, and by the longer way, whose matrix is a view.
    for options in ({}, {"event_timestamps": True}, {"event_timestamps": True}):
        batch = client.get("model", {"user": [1, ROWS]}, **options)
        again = pickle.loads(pickle.dumps(batch))  # noqa: S301  it is our own
        assert np.array_equal(again.to_numpy(), batch.to_numpy(), equal_nan=True)
        assert again.to_dict() == batch.to_dict()


def test_the_memory_is_mapped_for_reading_alone(served: RunningServer, client: Client) -> None:
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(served.directory) in line]
    assert maps
    assert {line[1] for line in maps} == {"r--s"}


# ----------------------------------------------------------------------------------------------------------- what it follows


def test_a_write_that_was_acknowledged_is_read(served: RunningServer, client: Client) -> None:
    with connect(served.url) as writer:
        for value in range(1, 200):
            fill(writer, 1, first=5, value=value)
            assert client.get("model", {"user": [5]}).to_numpy().tolist() == [[5 + value, value]]


def test_growth_is_followed(served: RunningServer, client: Client) -> None:
    with connect(served.url) as writer:
        fill(writer, 50_000, first=ROWS)
    layout = client._shared.local._tables("default", "users")._snapshot.layout
    users = np.random.default_rng(1).integers(0, ROWS + 50_000, 2_000)
    assert is_local(client)
    assert (client.get("model", {"user": users}).to_numpy()[:, 0] == users).all()
    assert client._shared.local._tables("default", "users")._snapshot.layout is layout  # else each read compiles again


def test_changed_definitions_are_followed(served: RunningServer, client: Client) -> None:
    with connect(served.url) as other:
        other.apply(definitions("a", "c"))
        assert client.get("model", {"user": [3]}).names == ("a", "c")
        found = client.get("model", {"user": [3]})
        assert (found.names, found.to_dict()) == (("a", "c"), {"a": [3.0], "c": [None]})
        other.apply({**definitions("a", "c"), "feature_services": []}, prune=True)
        with pytest.raises(NotFoundError, match="model"):
            client.get("model", {"user": [3]})


def test_what_is_learned_is_of_the_answer_and_not_of_an_older_one_that_came_late(
    served: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = LocalReads.learn

    def learn_after_another_thread(reads: LocalReads, selection: Selection, *rest: Any) -> None:
        selection.answer(older, None)
        learn(reads, selection, *rest)

    with connect(served.url) as other, connect(address(served), timeout_s=5) as client:
        request, _ = client._selections.find("model", "default", False, False).request({"user": [3]})
        older = client._unary(GET_FEATURES, request, 5, repeatable=True)
        other.apply(definitions("b", "a"))
        monkeypatch.setattr(LocalReads, "learn", learn_after_another_thread)
        for _ in range(2):  # by the server, and then by ourselves
            assert client.get("model", {"user": [3]}).names == ("b", "a")
        assert is_local(client)


def test_a_view_that_is_dropped_and_made_again_is_another_one(served: RunningServer, client: Client) -> None:
    with connect(served.url) as other:
        other.apply({"projects": [{"name": "default"}]}, prune=True)
        other.apply(definitions(*FEATURES))
        fill(other, 1, first=3, value=0.5)
    for _ in range(2):  # by the server, and then by ourselves
        assert client.get("model", {"user": [3, 4]}).statuses.tolist() == [[0, 0], [2, 2]]
    assert is_local(client)


def test_threads_read_through_growth_and_schema_changes(served: RunningServer, client: Client) -> None:
    ends = threading.Event()
    wrong: list[Any] = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            while not ends.is_set():
                users = rng.integers(0, ROWS, 50)
                batch = client.get(["users:a"], {"user": users})
                if not (batch.to_numpy()[:, 0] == users).all():
                    wrong.append(users)
        except Exception as error:  # shown by the test
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    with connect(served.url) as writer:
        for number in range(6):
            writer.apply(definitions("a", "b", *(f"extra_{each}" for each in range(number % 3))))
            fill(writer, 10_000, first=ROWS * (1 + 10 * number))
    ends.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_child_process_reads_on(client: Client) -> None:
    child = os.fork()
    if child == 0:
        found = client.get("model", {"user": [7]}).to_numpy().tolist()
        os._exit(0 if found == [[7, 0]] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_child_of_a_process_that_was_mapping_a_table_reads_on(
    served: RunningServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = TableReader._map
    inside, go_on = threading.Event(), threading.Event()

    def map_slowly(table: TableReader, *, writable: bool) -> None:
        if threading.current_thread() is reading:
            inside.set()
            go_on.wait(30)
        maps(table, writable=writable)

    monkeypatch.setattr(TableReader, "_map", map_slowly)
    with connect(served.url) as other:
        fill(other, 20 * ROWS)  # another snapshot
    reading = threading.Thread(target=client.get, args=("model", {"user": [1]}))
    reading.start()
    try:
        assert inside.wait(30)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # not the test runner's
            signal.alarm(30)
            found = client.get("model", {"user": [7, 19 * ROWS]}).to_numpy().tolist()
            os._exit(0 if found == [[7, 0], [19 * ROWS, 0]] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        go_on.set()
        reading.join()


# ----------------------------------------------------------------------------------------------------------- when it ends


def test_a_closed_client_says_so_and_keeps_no_memory(served: RunningServer, client: Client) -> None:
    client.close()
    for selection in ("model", ["users:b"]):
        with pytest.raises(CancelledError, match="is closed: connect again"):
            client.get(selection, {"user": [1]})
    assert str(served.directory) not in Path("/proc/self/maps").read_text()


def test_a_server_that_stopped_is_an_error_at_once(served: RunningServer, client: Client) -> None:
    assert served.stop() == 0
    with pytest.raises(UnavailableError):
        client.get("model", {"user": [1]}, timeout_s=1)


def test_a_server_that_was_killed_is_noticed(served: RunningServer, client: Client) -> None:
    served.stop(signal.SIGKILL)
    assert client.get("model", {"user": [1]}).to_numpy().tolist() == [[1, 0]]  # one that starts again at once is not missed
    with pytest.raises(UnavailableError):
        read_until_it_fails(client)


def test_a_server_that_is_back_is_read_again(start_server: StartServer, served: RunningServer, client: Client) -> None:
    port = served.url.rpartition(":")[2]
    for number in (signal.SIGTERM, signal.SIGKILL):
        served.stop(number)
        served = start_server("--shards", "2", "--listen", f"127.0.0.1:{port}", directory=served.directory)
        with connect(served.url) as writer:
            fill(writer, 1, first=2, value=number)
        for _ in range(2):
            assert client.get("model", {"user": [1, 2]}).to_numpy().tolist() == [[1, 0], [2 + number, number]]
        assert is_local(client)


# ------------------------------------------------------------------------------------------------------------- who may read


def run_as(user: int, group: int, server: RunningServer, program: str) -> str:
    """What a program prints as another user of the machine. ``shm`` in it is the server's address, ``segments`` its memory."""
    values = f"shm, segments = {address(server)!r}, {str(server.directory / 'segments')!r}\n"
    command = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", sys.executable, "-c", values + program]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "HOME": "/"}).stdout.strip()


READ = """
import featurestore_client
try:
    with featurestore_client.connect(shm) as client:
        for _ in range(2):
            print(client.get("model", {"user": [7]}).to_numpy().tolist())
        assert client._selections.find("model", "default", False, False).local is not None
except featurestore_client.FeatureStoreError as error:
    print(type(error).__name__, error)
"""
HARM = """
import fcntl, glob, os
for path in [segments, *glob.glob(segments + "/*"), *glob.glob(segments + "/*/*")]:
    for flags in (os.O_WRONLY, os.O_RDWR):
        try:
            os.open(path, flags)
            print("opened for writing:", path)
        except (PermissionError, IsADirectoryError):
            pass
try:
    fcntl.flock(os.open(segments + "/LOCK", os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)
    print("the owner's lock can be opened")
except PermissionError:
    print("no harm done")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")
class TestOtherUsers:
    @pytest.fixture
    def shared(self, start_server: StartServer, request: pytest.FixtureRequest) -> RunningServer:
        server = start_server("--shared-memory", request.param)
        server.directory.chmod(0o755)
        with connect(server.url) as client:
            client.apply(definitions(*FEATURES))
            fill(client)
        return server

    @pytest.mark.parametrize("shared", ["group"], indirect=True)
    def test_the_owners_group_may_read_and_can_do_no_harm(self, shared: RunningServer) -> None:
        assert run_as(NOBODY, os.getegid(), shared, READ) == "[[7.0, 0.0]]\n[[7.0, 0.0]]"
        assert run_as(NOBODY, os.getegid(), shared, HARM) == "no harm done"

    @pytest.mark.parametrize("shared", ["group", "owner"], indirect=True)
    def test_others_may_not(self, shared: RunningServer) -> None:
        group = NOBODY if "group" in shared.process.args else os.getegid()
        said = run_as(NOBODY, group, shared, READ)
        assert said.startswith("PermissionDeniedError")
        assert "--shared-memory all" in said
        over_the_network = READ.replace("(shm)", "(shm.replace('shm:', 'featurestore:'))").replace("assert", "#")
        assert run_as(NOBODY, group, shared, over_the_network) == "[[7.0, 0.0]]\n[[7.0, 0.0]]"

    @pytest.mark.parametrize("shared", ["all"], indirect=True)
    def test_all_may_where_it_is_said(self, shared: RunningServer) -> None:
        assert run_as(NOBODY, NOBODY, shared, READ) == "[[7.0, 0.0]]\n[[7.0, 0.0]]"
        assert run_as(NOBODY, NOBODY, shared, HARM) == "no harm done"


# --------------------------------------------------------------------------------------------------------------- addresses


def test_featurestore_addresses_take_it_where_it_is_there(start_server: StartServer, tmp_path: Path) -> None:
    for shared in ("group", "off"):
        server = start_server("--shared-memory", shared)
        with connect(address(server, "featurestore")) as client:
            client.apply(definitions(*FEATURES))
            fill(client)
            for _ in range(2):
                assert client.get("model", {"user": [7]}).to_numpy().tolist() == [[7, 0]]
            assert is_local(client) == (shared == "group")


def test_where_it_cannot_be_had_shm_says_why(start_server: StartServer) -> None:
    server = start_server("--shared-memory", "off")
    with (
        connect(address(server)) as client,
        pytest.raises(FailedPreconditionError, match="does not share its memory: start it with --shared-memory"),
    ):
        client.get("model", {"user": [1]})


class Unanswered:
    """A transport whose server does not say in time where its memory is, and answers all else."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.asked_s: list[float] = []

    def unary(self, method_path: str, request: bytes, *, timeout_s: float) -> bytes:
        if method_path == GET_SHARED_MEMORY:
            self.asked_s.append(timeout_s)
            raise DeadlineExceededError("not in time")
        answer: bytes = self._transport.unary(method_path, request, timeout_s=timeout_s)
        return answer

    def close(self) -> None:
        self._transport.close()


def test_memory_that_is_not_had_in_time_is_done_without_where_it_is_only_preferred(served: RunningServer) -> None:
    with connect(address(served, "featurestore")) as client:
        transport = client._transport = Unanswered(client._transport)  # type: ignore[assignment]
        for _ in range(3):
            assert client.get("model", {"user": [1]}, timeout_s=2).rows == 1
        assert len(transport.asked_s) == 1, "it is not asked by each read"
        assert transport.asked_s[0] <= 0.2
        assert not is_local(client)
    with connect(address(served)) as client:
        transport = client._transport = Unanswered(client._transport)  # type: ignore[assignment]
        with pytest.raises(DeadlineExceededError, match="not in time"):
            client.get("model", {"user": [1]}, timeout_s=2)
        assert transport.asked_s[0] > 1


async def test_a_name_server_that_takes_its_time_does_not_hold_the_loop(
    served: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("featurestore_client.http2")
    import featurestore_client

    resolve = socket.getaddrinfo
    asked_in: set[threading.Thread] = set()
    answers = threading.Event()

    def resolve_late(*arguments: Any, **options: Any) -> Any:
        asked_in.add(threading.current_thread())
        answers.wait(20)
        return resolve(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_late)
    url = address(served, "featurestore")
    async with featurestore_client.connect_async(url, transport="native") as client:
        try:
            with pytest.raises((UnavailableError, DeadlineExceededError)):
                await client.get("model", {"user": [1]}, timeout_s=0.5)
        finally:
            answers.set()
        assert threading.current_thread() not in asked_in
        assert (await client.get("model", {"user": [7]})).to_numpy().tolist() == [[7, 0]]


async def test_asyncio_reads_it_too(served: RunningServer) -> None:
    import featurestore_client

    async with featurestore_client.connect_async(address(served)) as client:
        await client.get("model", {"user": [1]})
        os.kill(served.process.pid, signal.SIGSTOP)
        try:
            assert (await client.get("model", {"user": [7]})).to_numpy().tolist() == [[7, 0]]
        finally:
            os.kill(served.process.pid, signal.SIGCONT)
    with pytest.raises(CancelledError, match="is closed: connect again"):
        await client.get("model", {"user": [1]})
