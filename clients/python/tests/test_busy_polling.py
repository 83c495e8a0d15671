"""Looking for an answer before the thread sleeps: bounded, only while it is worth it, and with a core to spare."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import featurestore_client
import pytest
from featurestore_client import InvalidArgumentError, busy_polling
from featurestore_client.errors import DeadlineExceededError
from featurestore_client.grpc_framing import frame

pytest.importorskip("featurestore_client.http2", reason="built without libnghttp2's headers", exc_type=ImportError)

from featurestore_client import blocking_connection, http2
from featurestore_client.http2.busy_receive import busy_receive
from featurestore_client.http2.event_loop import BusyPolling

HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]


def test_with_one_core_it_is_off_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert busy_polling.bound_us(None) == busy_polling.BUSY_POLL_US
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1})
    assert (busy_polling.bound_us(None), busy_polling.bound_us(50)) == (0, 50)


class Turns:
    """How often a loop has looked in vain. In the first ``late`` of these somebody else had the core for 11 ms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, late: int = 0) -> None:
        self.count = 0
        self._late = late
        monkeypatch.setattr(os, "sched_yield", self._turn)

    def _turn(self) -> None:
        self.count += 1
        if self.count <= self._late:
            time.sleep(0.011)


async def test_a_loop_looks_for_as_long_as_the_bound_and_then_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(monkeypatch)
    polling = BusyPolling(asyncio.get_running_loop(), 10_000)
    polling.wait()
    await asyncio.sleep(0)
    assert turns.count == 0  # nothing is known of the other end yet
    polling.heard()
    polling.wait()
    await asyncio.sleep(0.05)
    in_vain = turns.count
    assert in_vain > 5
    await asyncio.sleep(0.05)
    assert turns.count == in_vain  # it sleeps
    polling.heard()
    polling.wait()
    await asyncio.sleep(0)
    assert turns.count == in_vain  # what it waited for came late: the next wait is spent asleep


async def test_a_loop_stops_looking_when_nothing_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(monkeypatch)
    polling = BusyPolling(asyncio.get_running_loop(), 10_000)
    for _ in range(2):
        polling.wait()
        polling.heard()
    await asyncio.sleep(0.005)
    assert turns.count <= 1


async def wait_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy_polling, "REST_S", 60.0)
    polling = BusyPolling(asyncio.get_running_loop(), 10_000)
    for _ in range(20):
        polling.wait()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        polling.heard()


async def test_a_loop_does_not_look_where_others_want_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(monkeypatch, late=20)
    await wait_often(monkeypatch)
    assert turns.count == 2  # once may be anything


async def test_a_loop_goes_on_looking_where_something_ran_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(monkeypatch, late=1)
    await wait_often(monkeypatch)
    assert turns.count > 5


@pytest.mark.parametrize("wrong", [-1, 10_001, 1.5])
def test_a_bound_that_is_none_is_refused(wrong: Any) -> None:
    expected = rf"busy_poll_us: got {wrong}, expected microseconds, at most 10000; 0 turns it off"
    with pytest.raises(InvalidArgumentError, match=expected):
        featurestore_client.connect("grpc://127.0.0.1:1", transport="native", busy_poll_us=wrong)


def test_it_receives_what_comes_in_time_and_else_gives_up_after_the_bound() -> None:
    ours, theirs = socket.socketpair()
    buffer = bytearray(10)
    with ours, theirs:
        began_s = time.monotonic()
        assert busy_receive(ours.fileno(), buffer, 0.02, 0) == -1
        assert 0.02 <= time.monotonic() - began_s < 2
        later = threading.Timer(0.02, theirs.send, (b"late",))
        later.start()
        assert busy_receive(ours.fileno(), buffer, 60, 0) == 4  # which the other thread could not send if this one held the GIL
        assert buffer[:4] == b"late"
        later.join()
        theirs.close()
        assert busy_receive(ours.fileno(), buffer, 60, 0) == 0
    assert busy_receive(ours.fileno(), buffer, 60, 0) == -1  # closed: whoever blocks is told why


def looking_threads(count: int, file: int) -> list[threading.Thread]:
    threads = [threading.Thread(target=busy_receive, args=(file, bytearray(1), 60, 0)) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_one_core_is_left_to_threads_that_have_something_to_do() -> None:
    quiet, ender = socket.socketpair()
    ready, theirs = socket.socketpair()
    with quiet, ready, theirs:
        theirs.send(b"there")
        threads = looking_threads(max(1, len(os.sched_getaffinity(0)) - 1), quiet.fileno())
        assert busy_receive(ready.fileno(), bytearray(5), 60, 0) == -1
        ender.close()  # ends those threads
        for thread in threads:
            thread.join()
        assert busy_receive(ready.fileno(), bytearray(5), 60, 0) == 5


FORK = """
import os, socket, threading
from featurestore_client.http2.busy_receive import busy_receive
from featurestore_client.http2.event_loop import BusyPolling
quiet, ender = socket.socketpair()
for _ in range(max(1, len(os.sched_getaffinity(0)) - 1)):
    threading.Thread(target=busy_receive, args=(quiet.fileno(), bytearray(1), 60, 0)).start()
ready, theirs = socket.socketpair()
theirs.send(b"there")
child = os.fork()
if child == 0:
    os._exit(busy_receive(ready.fileno(), bytearray(5), 60, 0))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
ender.close()
"""


def test_a_forked_child_does_not_count_its_parents_threads() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, check=True)
    assert done.stdout == "5\n"


CROWDED = """
import os, socket, subprocess, sys
from featurestore_client.http2.busy_receive import busy_receive
from featurestore_client.http2.event_loop import BusyPolling
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
quiet, ender = socket.socketpair()
ready, theirs = socket.socketpair()
theirs.send(b"there")
with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
    while busy_receive(ready.fileno(), bytearray(1), 60, 0) == 1:
        busy_receive(quiet.fileno(), bytearray(1), 0.0005, 60)
        theirs.send(b"t")
    busy.kill()
"""


def test_it_does_not_look_where_others_want_the_core() -> None:
    subprocess.run([sys.executable, "-c", CROWDED], check=True, timeout=60)


class Looks:
    """Stands before ``busy_receive`` and notes the bound of each use."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bounds_s: list[float] = []
        monkeypatch.setattr(blocking_connection, "busy_receive", self._look)

    def _look(self, file: int, buffer: bytearray, bound_s: float, rest_s: float) -> int:
        self.bounds_s.append(bound_s)
        return busy_receive(file, buffer, bound_s, rest_s)


def answer(connection: Any, stream_id: int) -> None:
    connection.session.respond(stream_id, http2.Headers(HEAD), frame(b""), http2.Headers([(b"grpc-status", b"0")]))
    connection.flush()


def test_it_looks_only_after_an_answer_that_came_within_the_bound(http2_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch)
    late = threading.Event()

    def script(connection: Any) -> None:
        for number, (stream_id, _, _) in enumerate(connection.requests()):
            if number == 2:
                late.wait(0.1)
            answer(connection, stream_id)

    server = http2_server(script)
    with featurestore_client.connect(server.address, transport="native", busy_poll_us=10_000) as client:
        looked = []
        for _ in range(4):
            client.list_tables()
            looked.append(len(looks.bounds_s))
    assert looked[0] == 0  # nothing is known of the server yet
    assert looked[2] == looked[3]  # the third came too late for the fourth to look


def test_without_a_bound_it_never_looks(http2_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch)

    def script(connection: Any) -> None:
        for stream_id, _, _ in connection.requests():
            answer(connection, stream_id)

    server = http2_server(script)
    with featurestore_client.connect(server.address, transport="native", busy_poll_us=0) as client:
        for _ in range(5):
            client.list_tables()
    assert looks.bounds_s == []


def test_a_deadline_holds_while_it_looks(http2_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch)
    answered = 20

    def script(connection: Any) -> None:
        for number, (stream_id, _, _) in enumerate(connection.requests()):
            if number < answered:
                answer(connection, stream_id)  # and then nothing any more

    server = http2_server(script)
    with featurestore_client.connect(server.address, transport="native", busy_poll_us=10_000) as client:
        for _ in range(answered):
            client.list_tables()
        # As it would be after an answer in time, of which a slow machine may have had none.
        connection = client._transport._idle[-1]  # type: ignore[attr-defined]
        connection._is_prompt = True
        looks.bounds_s.clear()
        began_s = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            client.list_tables(timeout_s=0.004)
        assert time.monotonic() - began_s < 2
    assert len(looks.bounds_s) == 1
    assert looks.bounds_s[0] <= 0.004
