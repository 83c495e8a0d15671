"""More calls than the server can answer: it refuses what is too much, says so at once, and goes back to serving all."""

import time

import pytest

from tests.hostile import frames
from tests.hostile.peers import Caller

OVERLOADED = (
    8,
    "the server is overloaded: more calls come than it can answer, and this one was not begun; try again in 0.1 s, or "
    "elsewhere",
)
CALL = frames.message(b"x")


@pytest.fixture
def served(attack):
    server = attack()
    yield server
    server.leave()


def turn(callers: list[Caller], calls: int) -> list[tuple[int, str]]:
    """So many calls of each at once; what each of them came to that was not answered."""
    begun = [(caller, caller.begin("/t/Work", CALL)) for _ in range(calls) for caller in callers]
    answers = [caller.answer(stream) for caller, stream in begun]
    for answer in answers:
        assert answer.status or answer.data == CALL
    return [(answer.status, answer.message) for answer in answers if answer.status]


def overload(callers: list[Caller]) -> list[tuple[int, str]]:
    """Calls until some are refused."""
    ends = time.monotonic() + 30
    while not (refused := turn(callers, 30)):
        assert time.monotonic() < ends, "nothing is refused"
    return refused


def test_what_is_too_much_is_refused_and_when_it_is_over_nothing_is(served):
    callers, other = [served.caller() for _ in range(4)], served.caller()
    refused = overload(callers)
    assert set(refused) == {OVERLOADED}
    assert len(refused) < 4 * 30, "those that can be answered are"
    heads = [answer.head for caller in callers for answer in caller.answers.values() if answer.status == 8]
    assert {head["grpc-retry-pushback-ms"] for head in heads} == {"100"}
    ends = time.monotonic() + 30
    while turn(callers, 10):
        assert time.monotonic() < ends, "it goes on refusing"
    assert other.is_served()


def test_methods_that_do_not_come_by_the_thousand_are_answered_meanwhile(served):
    callers, other = [served.caller() for _ in range(4)], served.caller()
    overload(callers)
    for _ in range(5):
        begun = [(caller, caller.begin("/t/Work", CALL)) for _ in range(30) for caller in callers]
        assert other.is_served()
        for caller, stream in begun:
            caller.answer(stream)


def test_each_connection_has_its_share(served):
    """One asks for a hundred at a time, the others for a few: theirs are answered."""
    greedy, modest = served.caller(), [served.caller() for _ in range(3)]
    overload([greedy, *modest])
    answered = refused = 0
    for _ in range(10):
        begun = [greedy.begin("/t/Work", CALL) for _ in range(100)]
        few = [(caller, caller.begin("/t/Work", CALL)) for _ in range(2) for caller in modest]
        statuses = [caller.answer(stream).status for caller, stream in few]
        answered, refused = answered + statuses.count(0), refused + statuses.count(8)
        for stream in begun:
            greedy.answer(stream)
    assert answered > 4 * refused


def test_a_few_long_calls_are_no_overload(served):
    """A turn of 30 calls takes 60 ms, again and again: longer than any that should wait, and nobody is refused."""
    callers = [served.caller() for _ in range(3)]
    ends = time.monotonic() + 1
    while time.monotonic() < ends:
        assert turn(callers, 10) == []
