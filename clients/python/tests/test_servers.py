"""The native client and real server processes: killed, stopped, restarted, drained, forked from, by TLS and by unix socket."""

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import featurestore_client
import numpy as np
import pytest
from featurestore_client import DeadlineExceededError, FeatureStoreError, RetryPolicy, UnavailableError, local_socket

pytest.importorskip("featurestore_client.http2")

ONCE = RetryPolicy(attempts_max=1)
PATIENT = RetryPolicy(attempts_max=1_000, backoff_max_s=0.1)
Connect = Callable[..., Any]

DEFINITIONS: dict[str, Any] = {
    "entities": [{"name": "user", "join_keys": [{"name": "user", "type": "int64"}]}],
    "feature_views": [{"name": "doubled", "entity": "user", "features": [{"name": "value", "type": "int64"}]}],
    "feature_services": [{"name": "m", "features": ["doubled:value"]}],
}
USERS = 1_000


def fill(client: Any) -> None:
    client.apply(DEFINITIONS)
    client.write("doubled", {"user": np.arange(USERS), "value": 2 * np.arange(USERS)}, event_timestamps=1)


def check(client: Any, user: int, **options: Any) -> None:
    """Reads a user, whose value nobody else's is."""
    batch = client.get("m", {"user": [user, user + 1]}, **options)
    assert batch["value"].tolist() == [2 * user, 2 * user + 2]


@pytest.fixture(scope="module")
def store(engine: str, start: Callable[..., Any]) -> Any:
    process = start(FEATURESTORE_GRPC_ENGINE=engine)
    with featurestore_client.connect(process.address, transport="native") as client:
        fill(client)
    return process


class Caller:
    """Threads that call without a pause until they are stopped; what went wrong is kept."""

    def __init__(self, threads: int, call: Callable[[int], Any]) -> None:
        self.errors: list[BaseException] = []
        self.slowest: tuple[float, object] = (0.0, None)
        """In seconds, and what it ended with."""
        self._ended = [0] * threads
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number, call)) for number in range(threads)]

    def _run(self, number: int, call: Callable[[int], Any]) -> None:
        user = number
        while not self._over.is_set():
            started_s = time.monotonic()
            outcome: object = None
            try:
                call(user % (USERS - 1))
            except BaseException as error:
                outcome = error
                self.errors.append(error)
            self.slowest = max(self.slowest, (time.monotonic() - started_s, outcome), key=lambda each: each[0])
            self._ended[number] += 1
            user += 7

    def __enter__(self) -> "Caller":
        for thread in self._threads:
            thread.start()
        return self

    def wait(self, calls: int, *, of_each: int = 0) -> None:
        """Until so many more calls have ended, and so many of each thread."""
        before = list(self._ended)
        deadline_s = time.monotonic() + 30
        while True:
            more = [now - then for now, then in zip(self._ended, before, strict=True)]
            if sum(more) >= calls and min(more) >= of_each:
                return
            assert time.monotonic() < deadline_s, f"{more} calls, waiting for {calls}, {of_each} of each"
            self._over.wait(0.005)

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a call hangs"


def test_a_killed_server_is_an_error_within_the_deadline_and_a_new_one_is_found(store: Any) -> None:
    with featurestore_client.connect(store.address, transport="native", retry=ONCE, timeout_s=3) as client:
        with Caller(4, lambda user: check(client, user)) as caller:
            caller.wait(200)
            assert caller.errors == []
            store.stop(signal.SIGKILL)
            caller.wait(50)
            assert caller.errors
            assert all(isinstance(error, UnavailableError) for error in caller.errors), caller.errors[:3]
            store.start()
            caller.wait(0, of_each=2)  # those that were under way are over
            failed = len(caller.errors)
            caller.wait(200)
            assert len(caller.errors) == failed
        assert caller.slowest[0] < 4, caller.slowest


async def test_a_killed_server_ends_all_calls_of_a_loop_in_time(store: Any) -> None:
    async with featurestore_client.connect_async(store.address, transport="native", retry=ONCE, timeout_s=3) as client:
        await client.get("m", {"user": [1]})
        store.send(signal.SIGSTOP)  # so that the calls are under way when it dies
        calls = [asyncio.create_task(client.get("m", {"user": [1]})) for _ in range(50)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        started_s = time.monotonic()
        await asyncio.to_thread(store.stop, signal.SIGKILL)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - started_s < 3
        assert {type(outcome) for outcome in outcomes} == {UnavailableError}
        await asyncio.to_thread(store.start)
        deadline_s = time.monotonic() + 10
        while True:
            try:
                await client.get("m", {"user": [1]})
                break
            except UnavailableError:  # until the next attempt to connect is due
                assert time.monotonic() < deadline_s


def test_a_stopped_server_costs_no_more_than_the_deadline(store: Any, connect_native: Connect) -> None:
    client = connect_native(store.address)
    check(client, 1)
    store.send(signal.SIGSTOP)
    try:
        for _ in range(2):
            started_s = time.monotonic()
            with pytest.raises((DeadlineExceededError, UnavailableError)):
                check(client, 1, timeout_s=0.3)
            assert 0.25 < time.monotonic() - started_s < 1.5
    finally:
        store.send(signal.SIGCONT)
    check(client, 1)


def test_a_server_that_drains_fails_no_call(store: Any) -> None:
    """The old server takes leave while the new one is not there yet: callers wait for it within their deadline."""
    with featurestore_client.connect(store.address, transport="native", retry=PATIENT, timeout_s=30) as client:
        with Caller(4, lambda user: check(client, user)) as caller:
            for _ in range(2):
                caller.wait(200)
                store.restart()
            caller.wait(200)
        assert caller.errors == []


@contextmanager
def looping(addresses: list[str]) -> Iterator[Callable[[int], None]]:
    """Reads and writes a user through an asyncio client, whose loop runs in a thread of its own, for callers in any thread."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        async def connected() -> Any:
            return await featurestore_client.connect_async(addresses, transport="native", timeout_s=10).__aenter__()  # type: ignore[arg-type]

        async def call(user: int) -> None:
            batch = await client.get("m", {"user": [user, user + 1]})
            assert batch["value"].tolist() == [2 * user, 2 * user + 2]
            await client.write("doubled", {"user": [user], "value": [2 * user]}, event_timestamps=1)

        try:
            client = asyncio.run_coroutine_threadsafe(connected(), loop).result(30)
            yield lambda user: asyncio.run_coroutine_threadsafe(call(user), loop).result(30)
            asyncio.run_coroutine_threadsafe(client.close(), loop).result(30)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


def test_two_servers_are_restarted_in_turn_and_no_call_fails(engine: str, start: Any) -> None:
    """Neither of a blocking client, nor of one in a loop, which also writes."""
    servers = [start(FEATURESTORE_GRPC_ENGINE=engine) for _ in range(2)]
    for server in servers:
        with featurestore_client.connect(server.address, transport="native") as client:
            fill(client)
    addresses = [server.address for server in servers]
    with featurestore_client.connect(addresses, transport="native", timeout_s=10) as client, looping(addresses) as call:
        with Caller(3, lambda user: check(client, user)) as blocking, Caller(3, call) as looped:
            for server in servers:
                for caller in (blocking, looped):
                    caller.wait(100)
                server.stop()
                for caller in (blocking, looped):
                    caller.wait(100)
                server.start()
                with featurestore_client.connect(server.address, transport="native") as other:
                    fill(other)
        assert blocking.errors == looped.errors == []


def test_threads_get_their_own_answers(store: Any) -> None:
    with featurestore_client.connect(store.address, transport="native") as client:
        with Caller(8, lambda user: check(client, user)) as caller:
            caller.wait(3_000)
        assert caller.errors == []
        assert len(client._transport._connections) <= 8  # type: ignore[attr-defined]


def test_a_forked_child_has_its_own_connection(store: Any) -> None:
    with featurestore_client.connect(store.address, transport="native") as client:
        check(client, 1)
        parents = {each.socket.getsockname() for each in client._transport._connections}  # type: ignore[attr-defined]
        children = []
        for number in range(3):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    for user in range(number, 900, 3):
                        check(client, user)
                    own = {each.socket.getsockname() for each in client._transport._connections}  # type: ignore[attr-defined]
                    status = 0 if own.isdisjoint(parents) and len(own) == 1 else 2
                finally:
                    os._exit(status)
            children.append(child)
        for user in range(300):  # at the same time
            check(client, user)
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
        assert {each.socket.getsockname() for each in client._transport._connections} == parents  # type: ignore[attr-defined]
        check(client, 2)


def test_a_forked_child_runs_its_own_loop(store: Any) -> None:
    async def parent() -> None:
        async with featurestore_client.connect_async(store.address, transport="native") as client:
            await client.get("m", {"user": [1]})
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    asyncio.set_event_loop(None)
                    asyncio._set_running_loop(None)
                    batch = asyncio.new_event_loop().run_until_complete(client.get("m", {"user": [7]}))
                    status = 0 if batch["value"].tolist() == [14] else 2
                finally:
                    os._exit(status)
            for _ in range(100):
                assert (await client.get("m", {"user": [3]}))["value"].tolist() == [6]
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert (await client.get("m", {"user": [3]}))["value"].tolist() == [6]

    asyncio.run(parent())


def test_a_stream_of_the_parent_is_refused_in_the_child(store: Any) -> None:
    with featurestore_client.connect(store.address, transport="native") as client:
        stream = client._transport.stream("/featurestore.v1.FeatureStore/IngestFeatures", iter([]), timeout_s=20)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                next(stream)
            except FeatureStoreError as error:
                status = 0 if "of the parent process" in str(error) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert list(stream) == []


# ------------------------------------------------------------------------------------------------------- unix sockets


@pytest.fixture(scope="module")
def place(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where sockets are looked for instead of the machine's own places."""
    directory = tmp_path_factory.mktemp(f"sockets-{engine}")
    directory.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_socket, "_directories", lambda: [directory])
        yield directory


def families(client: Any) -> set[socket.AddressFamily]:
    """Of the connections of a client."""
    transport = getattr(client, "_client", client)._transport
    if hasattr(transport, "_idle"):
        return {each.socket.family for each in transport._connections}
    return {each._transport.get_extra_info("socket").family for each in transport._connections if each.is_open}


@pytest.fixture(scope="module")
def local(engine: str, start: Callable[..., Any], place: Path) -> Any:
    """A server with a unix socket in ``place``, by the name of the address and port that it then gets."""
    process = start(FEATURESTORE_GRPC_ENGINE=engine, FEATURESTORE_UNIX_SOCKET=str(place / "server.sock"))
    (place / f"127.0.0.1-{process.port}.sock").symlink_to(place / "server.sock")
    with featurestore_client.connect(process.address, transport="native") as client:
        fill(client)
    return process


def test_a_unix_socket_is_named(local: Any, place: Path, connect_native: Connect) -> None:
    client = connect_native(f"unix://{place}/server.sock")
    check(client, 1)
    assert families(client) == {socket.AF_UNIX}


def test_the_unix_socket_is_taken_where_the_host_is_this_machine(local: Any, connect_native: Connect) -> None:
    client = connect_native(f"featurestore://127.0.0.1:{local.port}")
    check(client, 1)
    assert families(client) == {socket.AF_UNIX}
    client = connect_native(local.address)
    check(client, 1)
    assert families(client) == {socket.AF_INET}


def test_a_socket_that_others_could_have_put_there_is_not_taken(local: Any, place: Path, connect_native: Connect) -> None:
    place.chmod(0o777)
    try:
        client = connect_native(f"featurestore://localhost:{local.port}")
        check(client, 1)
    finally:
        place.chmod(0o755)
    assert families(client) == {socket.AF_INET}


def test_a_socket_that_nobody_listens_on_gives_way_to_tcp(local: Any, place: Path, connect_native: Connect) -> None:
    path = place / f"127.0.0.1-{local.port}.sock"
    path.unlink()
    try:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        client = connect_native(f"featurestore://localhost:{local.port}")
        check(client, 1)
    finally:
        path.unlink()
        path.symlink_to(place / "server.sock")
    assert families(client) == {socket.AF_INET}


# ---------------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def secured(engine: str, start: Callable[..., Any], certificates: Path) -> Any:
    return start(
        FEATURESTORE_GRPC_ENGINE=engine,
        FEATURESTORE_TLS_CERTIFICATE=str(certificates / "server.pem"),
        FEATURESTORE_TLS_KEY=str(certificates / "server.key"),
        FEATURESTORE_TLS_CLIENT_CA=str(certificates / "ca.pem"),
    )


def test_tls_with_certificates_on_both_sides(secured: Any, certificates: Path, connect_native: Connect) -> None:
    authority = {"ca_certificate": certificates / "ca.pem", "server_name": "store.test"}
    shown = {"client_certificate": (certificates / "client.pem").read_bytes(), "client_key": certificates / "client.key"}
    for scheme in ("grpcs", "featurestore"):
        client = connect_native(f"{scheme}://127.0.0.1:{secured.port}", **authority, **shown)
        fill(client)
        check(client, 1)
    rows = 20_000
    client.ingest("doubled", {"user": np.arange(rows), "value": 2 * np.arange(rows)})
    many = client.get("m", {"user": np.arange(10_000)})
    np.testing.assert_array_equal(many["value"], 2 * np.arange(10_000))
    address = f"grpcs://127.0.0.1:{secured.port}"
    for options in (authority, {**authority, "server_name": "other.test", **shown}, {"server_name": "store.test", **shown}):
        with pytest.raises(UnavailableError):
            connect_native(address, retry=ONCE, **options).list_tables()


def test_a_stalled_tls_call_ends_at_its_deadline(secured: Any, certificates: Path, connect_native: Connect) -> None:
    client = connect_native(
        f"grpcs://127.0.0.1:{secured.port}",
        ca_certificate=certificates / "ca.pem",
        server_name="store.test",
        client_certificate=certificates / "client.pem",
        client_key=certificates / "client.key",
    )
    client.list_tables()
    secured.send(signal.SIGSTOP)
    try:
        started_s = time.monotonic()
        with pytest.raises((DeadlineExceededError, UnavailableError)):
            client.list_tables(timeout_s=0.3)
        assert 0.25 < time.monotonic() - started_s < 1.5
    finally:
        secured.send(signal.SIGCONT)
    client.list_tables()


def test_a_tls_server_without_http2_is_refused(certificates: Path, connect_native: Connect) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            accepted, _ = listening.accept()
            with context.wrap_socket(accepted, server_side=True) as secured:
                secured.recv(1)

        thread = threading.Thread(target=accept)
        thread.start()
        address = f"grpcs://127.0.0.1:{listening.getsockname()[1]}"
        options = {"ca_certificate": certificates / "ca.pem", "server_name": "store.test", "retry": ONCE}
        with pytest.raises(UnavailableError, match="does not speak HTTP/2"):
            connect_native(address, **options).list_tables()
        thread.join(10)


# -------------------------------------------------------------------------------------------------------------- proxy


@pytest.fixture(scope="module")
def proxied(store: Any) -> Iterator[tuple[Any, str]]:
    """A server, and the address of an nghttpx before it."""
    program = shutil.which("nghttpx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("nghttpx is not there: Debian's nghttp2-proxy")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [program, f"--frontend=127.0.0.1,{port};no-tls", f"--backend=127.0.0.1,{store.port};;proto=h2", "--workers=1"]
    proxy = subprocess.Popen([*command, "--conf=/dev/null", "--log-level=ERROR"], stderr=subprocess.DEVNULL)
    try:
        yield store, f"grpc://127.0.0.1:{port}"
    finally:
        proxy.terminate()
        proxy.wait(30)


def test_a_proxy_in_between_changes_nothing(proxied: tuple[Any, str], connect_native: Connect) -> None:
    store, address = proxied
    client = connect_native(address, retry=PATIENT)
    for user in range(50):
        check(client, user)
    rows = 100_000
    counts = client.ingest("doubled", {"user": np.arange(rows), "value": 2 * np.arange(rows)})
    assert counts.rows == rows
    many = client.get("m", {"user": np.arange(10_000)})
    np.testing.assert_array_equal(many["value"], 2 * np.arange(10_000))
    with pytest.raises(featurestore_client.NotFoundError, match="does not exist"):
        client.get("m2", {"user": [1]})
    store.stop()
    try:
        with pytest.raises(UnavailableError, match=r"HTTP status 50[234]"):
            connect_native(address, retry=ONCE).list_tables()
    finally:
        store.start()
    check(client, 7, timeout_s=20)
