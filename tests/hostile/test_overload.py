"""More calls than the server can answer: it refuses what is too much, says so at once, and goes back to serving all."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.hostile import frames
from tests.hostile.peers import Answer, Caller

OVERLOADED = (
    8,
    "the server is overloaded: more calls come than it can answer, and this one was not begun; try again in 0.1 s, or "
    "elsewhere",
)
CALL = frames.message(b"x")
LOAD = frames.message(bytes(900_000))


@pytest.fixture
def served(attack):
    server = attack()
    yield server
    server.leave()


class Pressing:
    """A caller that has so many calls under way all the time, in a thread of its own. ``answers`` are those that it got."""

    def __init__(self, caller: Caller, calls: int, call: bytes = CALL) -> None:
        self.answers: list[Answer] = []
        self._caller, self._calls, self._call = caller, calls, call
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._press)
        self._thread.start()

    def _press(self) -> None:
        under_way = self._caller.answers
        while not self._over.is_set():
            while len(under_way) < self._calls:
                self._caller.begin("/t/Work", self._call)
            self._caller.pump()
            for stream in [stream for stream, answer in under_way.items() if answer.ended]:
                self.answers.append(under_way.pop(stream))
        for stream in list(under_way):
            self.answers.append(self._caller.answer(stream))

    def statuses(self, first: int = 0) -> list[int]:
        """Of the answers from the ``first`` one on."""
        return [answer.status for answer in self.answers[first:]]

    def end(self) -> None:
        """Waits for the calls under way."""
        self._over.set()
        self._thread.join()


@contextmanager
def pressed(served, *calls: int, call: bytes = CALL, before: bytes = CALL) -> Iterator[list[Pressing]]:
    """Callers with so many calls each, while the server refuses some; and another call each ``before``."""
    callers = [served.caller() for _ in calls]
    for caller in callers:
        assert caller.answer(caller.begin("/t/Echo", before)).status == 0
    pressing = [Pressing(caller, count, call) for caller, count in zip(callers, calls, strict=True)]
    try:
        wait_until(lambda: any(8 in each.statuses() for each in pressing))
        yield pressing
    finally:
        for each in pressing:
            each.end()


def wait_until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_what_is_too_much_is_refused_and_when_it_is_over_nothing_is(served):
    with pressed(served, 60, 60, 60, 60) as pressing:
        wait_until(lambda: all(set(each.statuses()) == {0, 8} for each in pressing))  # those that can be answered are
    refused = [answer for each in pressing for answer in each.answers if answer.status]
    assert {(answer.status, answer.message) for answer in refused} == {OVERLOADED}
    assert {answer.head["grpc-retry-pushback-ms"] for answer in refused} == {"100"}
    caller = served.caller()
    counted = caller.answer(caller.begin("/t/Refused", frames.message(b"")))
    assert counted.data == frames.message(b"%d" % len(refused))
    begun = [caller.begin("/t/Work", CALL) for _ in range(30)]
    assert [caller.answer(stream).status for stream in begun] == [0] * 30


@pytest.mark.parametrize("before", [CALL, LOAD], ids=["from the first on", "behind a load"])
def test_calls_that_come_as_much_at_a_time_as_a_load_are_refused_too(served, before: bytes):
    with pressed(served, 200, 200, 200, 200, call=frames.message(bytes(2_400)), before=before) as pressing:
        wait_until(lambda: all(set(each.statuses()) == {0, 8} for each in pressing))


def test_methods_that_do_not_come_by_the_thousand_are_answered_meanwhile(served):
    with pressed(served, 60, 60, 60, 60) as pressing:
        before = len(pressing[0].answers)
        other = served.caller()
        for _ in range(20):
            assert other.is_served()
        wait_until(lambda: 8 in pressing[0].statuses(before))


def test_each_connection_has_its_share(served):
    """One asks for hundreds at a time, the others for a few: theirs are answered."""
    with pressed(served, 250, 5, 5, 5) as (_, *modest):
        before = [len(each.answers) for each in modest]
        wait_until(lambda: all(len(each.answers) > first + 100 for each, first in zip(modest, before, strict=True)))
        statuses = [status for each, first in zip(modest, before, strict=True) for status in each.statuses(first)]
    assert statuses.count(0) > 4 * statuses.count(8)


def test_of_calls_that_come_together_the_last_are_taken_up(served):
    """They have waited least."""
    with pressed(served, 60, 60, 60, 60):
        caller = served.caller()
        assert caller.is_served()
        seen: set[int] = set()
        for _ in range(10):
            begun = caller.begin_together(100, "/t/Work", CALL)
            statuses = [caller.answer(stream).status for stream in begun]
            assert statuses == sorted(statuses, reverse=True)
            seen.update(statuses)
    assert seen == {0, 8}


def test_what_comes_of_calls_under_way_takes_nothing_of_the_share(served):
    with pressed(served, 60, 60, 60, 60):
        caller = served.caller()
        under_way = caller.begin_together(50, "/t/Hold", CALL, end=False)
        statuses = []
        for _ in range(40):
            for stream in under_way:
                caller.queue(stream, CALL)
            statuses.append(caller.call("/t/Work", CALL).status)
    # Some are refused: a turn that reads sockets many times over has less than a call for each read.
    assert statuses.count(0) > 2 * statuses.count(8)


def test_a_few_calls_are_no_overload_however_long_they_take(served):
    """30 at a time, without a pause: turns of the loop take 15 ms each."""
    pressing = [Pressing(served.caller(), 10) for _ in range(3)]
    wait_until(lambda: sum(len(each.answers) for each in pressing) > 2_000)  # a second
    for each in pressing:
        each.end()
        assert set(each.statuses()) == {0}
