"""A client process: sends requests that were made before, in a closed or an open loop, and records how long each took.

Closed loop: so many requests in flight, the next one when one is answered; it finds the floor of latency and the most that a
server does. Open loop: requests are due at times drawn beforehand (a Poisson process) whether or not the server keeps up, and
latency counts from the time at which a request was due. So what waits behind a stall is counted as the caller would feel it.
"""

import asyncio
import ctypes
import gc
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import uvloop

from bench.dataset import Floats
from bench.histogram import Histogram
from bench.load.callers import Caller
from bench.remote import Remote
from bench.rounds import Measured

START_DELAY_S = 0.05
TURN_S_MIN = 0.05
TURNS_MAX = 10
SPIN_NS = 200_000  # a timer wakes a sleeping process 50 us late and more, which would be counted as the server's
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Stage:
    """One stretch of load. ``rate`` 0 is a closed loop of ``in_flight``; otherwise an open one of ``rate`` requests/s."""

    subject: str
    in_flight: int = 0
    rate: float = 0.0
    write_share: float = 0.0
    warmup_s: float = 0.0
    duration_s: float = 1.0
    timeout_s: float = 10.0
    waiting_max: int = 4_096
    seed: int = 1
    blocking: bool = False
    """One in flight from a blocking client, as most callers do it, instead of asyncio."""

    @classmethod
    def turn(cls, subject: str, in_flight: int, seconds: float, seed: int) -> "Stage":
        """A short closed loop, for comparing servers in turns."""
        length_s = max(seconds, TURN_S_MIN)
        return cls(subject, in_flight=in_flight, warmup_s=length_s / 5, duration_s=length_s, seed=seed, blocking=in_flight == 1)


Requests = Mapping[str, tuple[str, Sequence[Any]]]
"""For ``read`` and ``write`` the method's name and what to send, both in the caller's own form."""


class Outcome(NamedTuple):
    """What one process, or all of them, saw within the measured time."""

    histograms: dict[str, bytes]
    errors: dict[str, int]
    completed: int
    seconds: float

    def histogram(self, kind: str) -> Histogram:
        return Histogram([self.histograms[kind]] if kind in self.histograms else [])


class Client:
    """One process's side."""

    def __init__(self) -> None:
        self._prepared: dict[str, tuple[Caller, Requests]] = {}

    def prepare(self, subject: str, caller: Caller, requests: Requests) -> None:
        """Takes how to call a subject, and what to send to it."""
        self._prepared[subject] = caller, requests
        gc.collect()
        gc.freeze()

    def rows(self, subject: str, count: int, timeout_s: float = 10.0) -> list[Floats]:
        """What the first ``count`` reads answer, for checking."""
        caller, requests = self._prepared[subject]
        method, reads = requests["read"]
        with caller.blocking(timeout_s) as bind:
            return [caller.rows(bind(method)(request)) for request in reads[:count]]

    def run(self, stage: Stage, start_ns: int) -> Outcome:
        """Does one stage, beginning at ``start_ns`` of the monotonic clock."""
        recorder = _Recorder(stage, start_ns)
        gc.disable()  # its pauses would be counted as the server's
        try:
            if stage.blocking:
                self._block(stage, recorder)
            else:
                uvloop.run(self._run(stage, recorder))
        finally:
            gc.enable()
        return recorder.outcome()

    def _block(self, stage: Stage, recorder: "_Recorder") -> None:
        caller, requests = self._prepared[stage.subject]
        with caller.blocking(stage.timeout_s) as bind:
            calls = {kind: bind(method) for kind, (method, _) in requests.items()}
            next_request = _source(requests, stage)
            time.sleep(recorder.begin_in_s())
            while (began := time.monotonic_ns()) < recorder.end_ns:
                kind, request = next_request()
                try:
                    calls[kind](request)
                    recorder.record(kind, began)
                except caller.failures as error:
                    recorder.fail(caller.code(error))

    async def _run(self, stage: Stage, recorder: "_Recorder") -> None:
        caller, requests = self._prepared[stage.subject]
        async with caller.concurrent(stage.timeout_s) as bind:
            calls = {kind: bind(method) for kind, (method, _) in requests.items()}
            next_request = _source(requests, stage)

            async def send(due_ns: int) -> None:
                kind, request = next_request()
                try:
                    await calls[kind](request)
                    recorder.record(kind, due_ns)
                except caller.failures as error:
                    recorder.fail(caller.code(error))

            await asyncio.sleep(recorder.begin_in_s())
            if stage.rate:
                await self._open(stage, recorder, send)
            else:
                await self._closed(stage, recorder, send)

    async def _closed(self, stage: Stage, recorder: "_Recorder", send: "_Send") -> None:
        async def loop() -> None:
            while (now := time.monotonic_ns()) < recorder.end_ns:
                await send(now)

        await asyncio.gather(*(loop() for _ in range(stage.in_flight)))

    async def _open(self, stage: Stage, recorder: "_Recorder", send: "_Send") -> None:
        random = np.random.default_rng(stage.seed)
        total_s = stage.warmup_s + stage.duration_s
        gaps = random.exponential(1 / stage.rate, int(total_s * stage.rate * 1.2) + 100)
        times = recorder.start_ns + np.cumsum(gaps * NANOSECONDS).astype(np.int64)
        arrivals = deque(times[times < recorder.end_ns].tolist())
        late: deque[int] = deque()
        running: set[asyncio.Task[None]] = set()
        done = asyncio.Event()

        def begin(due_ns: int) -> None:
            task = asyncio.create_task(send(due_ns))
            running.add(task)
            task.add_done_callback(finish)

        def finish(task: asyncio.Task[None]) -> None:
            running.discard(task)
            task.result()
            if late:
                begin(late.popleft())
            elif not arrivals and not running:
                done.set()

        def fired() -> None:
            timer.clear()
            due()

        def due() -> None:
            now = time.monotonic_ns()
            while arrivals and arrivals[0] <= now:
                due_ns = arrivals.popleft()
                if len(running) < stage.waiting_max:
                    begin(due_ns)
                else:
                    late.append(due_ns)
            if arrivals and arrivals[0] - now < SPIN_NS:
                loop.call_soon(due)
            elif arrivals:
                timer.set(arrivals[0])
            elif not running and not late:
                done.set()

        timer = Timer()
        loop = asyncio.get_running_loop()
        loop.add_reader(timer.descriptor, fired)
        try:
            due()
            # What is still unanswered at the end has its deadline to be answered in; then the stage is over.
            await asyncio.wait_for(done.wait(), total_s + 2 * stage.timeout_s)
        except TimeoutError:
            recorder.give_up(len(running) + len(late))
        finally:
            loop.remove_reader(timer.descriptor)
            timer.close()


_Send = Callable[[int], Coroutine[Any, Any, None]]


def _source(all_requests: Requests, stage: Stage) -> Callable[[], tuple[str, Any]]:
    random = np.random.default_rng(stage.seed)
    kinds = np.where(random.random(4_096) < stage.write_share, "write", "read").tolist()
    places = {kind: int(random.integers(0, len(requests))) for kind, (_, requests) in all_requests.items()}
    count = 0

    def next_request() -> tuple[str, Any]:
        nonlocal count
        kind = kinds[count % len(kinds)]
        count += 1
        requests = all_requests[kind][1]
        places[kind] = place = (places[kind] + 1) % len(requests)
        return kind, requests[place]

    return next_request


class _Recorder:
    """Counts what is answered between the end of the warm-up and the end of the stage."""

    def __init__(self, stage: Stage, start_ns: int) -> None:
        self._stage = stage
        self.start_ns = start_ns
        self._from_ns = self.end_ns = 0
        self._histograms = {"read": Histogram(), "write": Histogram()}
        self._errors: Counter[str] = Counter()
        self._completed = 0

    def begin_in_s(self) -> float:
        """Fixes when the stage begins, now that the connection is up, and says in how many seconds that is."""
        now = time.monotonic_ns()
        self.start_ns = max(self.start_ns, now)
        self._from_ns = self.start_ns + int(self._stage.warmup_s * NANOSECONDS)
        self.end_ns = self._from_ns + int(self._stage.duration_s * NANOSECONDS)
        return (self.start_ns - now) / NANOSECONDS

    def record(self, kind: str, due_ns: int) -> None:
        now = time.monotonic_ns()
        if due_ns >= self._from_ns:
            # The last requests count even if they are answered after the end: leaving the slow ones out would flatter.
            self._histograms[kind].record(now - due_ns)
        if self._from_ns <= now < self.end_ns:
            self._completed += 1

    def fail(self, code: str) -> None:
        self._errors[code] += 1

    def give_up(self, count: int) -> None:
        self._errors["UNANSWERED"] += count

    def outcome(self) -> Outcome:
        histograms = {kind: each.encode() for kind, each in self._histograms.items() if each.count}
        return Outcome(histograms, dict(self._errors), self._completed, self._stage.duration_s)


class _TimeSpec(ctypes.Structure):
    _fields_ = (("interval_s", ctypes.c_long), ("interval_ns", ctypes.c_long), ("s", ctypes.c_long), ("ns", ctypes.c_long))


class Timer:
    """A timerfd: wakes an event loop at a nanosecond, where uvloop's own timers have milliseconds."""

    _ABSOLUTE = 1
    _libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self) -> None:
        self.descriptor = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")

    def set(self, at_ns: int) -> None:
        at = _TimeSpec(0, 0, *divmod(at_ns, NANOSECONDS))
        if self._libc.timerfd_settime(self.descriptor, self._ABSOLUTE, ctypes.byref(at), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def clear(self) -> None:
        with suppress(BlockingIOError):  # it has been set again since it fired
            os.read(self.descriptor, 8)

    def close(self) -> None:
        os.close(self.descriptor)


def drive(clients: Sequence[Remote], stage: Stage) -> Outcome:
    """Runs one stage on several client processes at once, its load shared among them, and adds up what they saw."""
    start_ns = time.monotonic_ns() + int(START_DELAY_S * NANOSECONDS)
    began = []
    for number, client in enumerate(clients):
        share = stage.in_flight // len(clients) + (number < stage.in_flight % len(clients))
        if not stage.rate and not share:
            continue
        part = replace(stage, in_flight=share, rate=stage.rate / len(clients), seed=stage.seed * 1_000 + number)
        client.begin("run", part, start_ns)
        began.append(client)
    outcomes: list[Outcome] = [client.answer() for client in began]
    errors: Counter[str] = Counter()
    for each in outcomes:
        errors.update(each.errors)
    kinds = {kind for each in outcomes for kind in each.histograms}
    merged = {kind: Histogram(each.histograms[kind] for each in outcomes if kind in each.histograms).encode() for kind in kinds}
    return Outcome(merged, dict(errors), sum(each.completed for each in outcomes), stage.duration_s)


def together(clients: Sequence[Remote], stage: Stage, kind: str = "read") -> Measured:
    """``drive`` for comparing servers in turns, by one kind of calls: an error ends the run, as what failed fast looks fast."""
    # A machine that stands still for a whole turn gives no figure at all: then the turn is taken again.
    for _ in range(TURNS_MAX):
        outcome = drive(clients, stage)
        if outcome.errors:
            raise RuntimeError(f"requests failed while they were timed: {outcome.errors}")
        if outcome.completed and outcome.histograms:
            return Measured(outcome.histogram(kind), outcome.completed, outcome.seconds)
    raise RuntimeError(f"no request was answered in {TURNS_MAX} turns of {stage.duration_s} s")
