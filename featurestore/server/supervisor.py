"""Keeps a server's processes running: forks them, starts again what dies, and ends them in order, the readers before the owner.

A plain process without event loop or threads that has imported everything, so that a child is there as soon as it is forked.
It sleeps in ``poll`` on its signals and on a pipe from each child. Invariants: a child has the only writing end of its pipe, so
that what comes through it is what the child says, and its end is the child's; no child lives on without the supervisor.
"""

import ctypes
import gc
import json
import logging
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from featurestore.errors import FailedPreconditionError, FeatureStoreError, InternalError
from featurestore.server.serving import SIGNALS, Ready, ignore_signals
from featurestore.server.status import BEAT_S, ProcessSlot, State

_log = logging.getLogger(__name__)

START_FAILURES_MAX = 5
"""So often in a row a process may end before it serves; then the server ends, with a sentence."""
RESTART_S = 0.02
RESTART_S_MAX = 0.5
"""Before a process is started again: doubled with each death within ``DEATHS_WINDOW_S``, up to this."""
DEATHS_WINDOW_S = 10.0
KILL_AFTER_S = 5.0
"""What a reader is given beyond the drain's timeout, before it is killed."""

_PR_SET_PDEATHSIG = 1


class Seat:
    """A place for one process. ``run`` is called in it, and calls what it is given once it serves."""

    def __init__(self, name: str, run: Callable[[Ready], None], slot: ProcessSlot) -> None:
        self.name = name
        self.run = run
        self.slot = slot
        self.pid = 0
        """0 while there is no process."""
        self.pipe = -1
        self.urls: list[str] = []
        """Where it serves; empty until it does."""
        self.engine = ""
        self.error = ""
        """The sentence that it ended with."""
        self.exit = ""
        """How it ended, where that was not in good order."""
        self.deaths: deque[float] = deque(maxlen=16)
        self.failures = 0
        self.due: float | None = None
        """When it is started again."""
        self.heard = b""


class Supervisor:
    """One owner and its readers."""

    def __init__(self, owner: Seat, readers: Sequence[Seat], slot: ProcessSlot, drain_timeout_s: float) -> None:
        self._owner = owner
        self._readers = readers
        self._seats = [owner, *readers]
        self._slot = slot
        self._drain_timeout_s = drain_timeout_s
        self._signals: list[int] = []
        self._begun = False
        self._draining = False

    def run(self, serving: Ready) -> None:
        """Runs until a signal. ``serving`` is called with what the first reader says once all serve.

        Raises FeatureStoreError when it cannot begin, or when a process cannot be kept running.
        """
        gc.collect()
        gc.freeze()  # else collections in the children would copy the pages that they share
        with self._signals_read() as wakeup:
            self._wakeup = wakeup
            try:
                if self._started([self._owner]) and self._started(self._readers):
                    self._begun = True
                    self._slot.turn(State.SERVING)
                    serving(self._readers[0].urls, self._readers[0].engine)
                    while not self._signals:
                        self._turn()
                self._drain()
            except FeatureStoreError:
                self._draining = True
                self._end_all()
                raise
            finally:
                self._kill()

    # ---------------------------------------------------------------------------------------------------- starting, keeping

    def _started(self, seats: Sequence[Seat]) -> bool:
        """Starts them and waits until they serve; False when a signal came first."""
        for seat in seats:
            self._fork(seat)
        while not self._signals and not all(seat.urls for seat in seats):
            self._turn()
        return not self._signals

    def _turn(self) -> None:
        """Sleeps until something happens, and does what is to be done then."""
        self._slot.beat()
        now = time.monotonic()
        pipes = {seat.pipe: seat for seat in self._seats if seat.pid}
        poll = select.poll()
        for file in (self._wakeup.fileno(), *pipes):
            poll.register(file, select.POLLIN)
        due_s = min((seat.due - now for seat in self._seats if seat.due is not None), default=BEAT_S)
        for file, _ in poll.poll(1_000 * max(0.0, min(due_s, BEAT_S)) + 1):
            if file in pipes:
                self._listen(pipes[file])
            else:
                self._signals.extend(self._wakeup.recv(64))
        for seat in self._seats:
            if seat.due is not None and seat.due <= time.monotonic() and not (self._signals or self._draining):
                seat.slot.count_restart()
                self._fork(seat)

    def _listen(self, seat: Seat) -> None:
        data = os.read(seat.pipe, 1 << 16)
        if not data:
            self._bury(seat)
            return
        *lines, seat.heard = (seat.heard + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            seat.error = said.get("error", "")
            seat.urls, seat.engine = said.get("urls", []), said.get("engine", "")
            if seat.urls:
                seat.failures = 0
                if self._begun:
                    _log.info("serving again", extra={"fields": {"name": seat.name, "pid": seat.pid}})

    def _bury(self, seat: Seat) -> None:
        """A process has ended: it is started again in a moment, unless all are to end."""
        os.close(seat.pipe)
        _, status = os.waitpid(seat.pid, 0)
        pid, seat.pid, seat.pipe, seat.heard = seat.pid, 0, -1, b""
        served, seat.urls = bool(seat.urls), []
        code = os.waitstatus_to_exitcode(status)
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        seat.exit = "" if code in (0, -signal.SIGTERM) else reason  # one that has not begun to serve does not catch it
        seat.slot.turn(State.GONE)
        if self._draining or self._signals:
            return
        if not self._begun:
            raise FailedPreconditionError(seat.error or f"the {seat.name} process ended before it served ({reason})")
        now = time.monotonic()
        seat.failures += not served
        if seat.failures >= START_FAILURES_MAX:
            raise FailedPreconditionError(
                f"the {seat.name} process ended {seat.failures} times in a row before it served, the last time with: "
                f"{seat.error or reason}; the server ends, because it cannot go on without it"
            )
        seat.deaths.append(now)
        recent = sum(now - death < DEATHS_WINDOW_S for death in seat.deaths)
        delay_s = min(RESTART_S * 2 ** (recent - 1), RESTART_S_MAX)
        seat.due = now + delay_s
        fields = {"name": seat.name, "pid": pid, "reason": seat.error or reason, "restart_in_s": delay_s}
        _log.warning("process ended", extra={"fields": fields})

    # ----------------------------------------------------------------------------------------------------------------- ending

    def _drain(self) -> None:
        """The readers first, whose calls the owner still answers; then the owner."""
        self._draining = True
        self._slot.turn(State.DRAINING)
        fields = {"signal": signal.Signals(self._signals[0]).name, "timeout_s": self._drain_timeout_s}
        _log.info("draining", extra={"fields": fields})
        self._end_all()
        if self._owner.exit and self._begun:
            raise InternalError(f"the owner process did not end in good order: {self._owner.exit}")
        _log.info("stopped")

    def _end_all(self) -> None:
        self._end(self._readers, self._drain_timeout_s + KILL_AFTER_S)
        self._end([self._owner], float("inf"))  # it may be at what must not be broken off

    def _end(self, seats: Sequence[Seat], patience_s: float) -> None:
        kills_at = time.monotonic() + patience_s
        told = len(self._signals)
        self._send(seats, signal.SIGTERM)
        while any(seat.pid for seat in seats):
            self._turn()
            if len(self._signals) > told:  # a person is impatient
                told = len(self._signals)
                self._send(seats, signal.SIGTERM)
            if time.monotonic() > kills_at:
                self._send(seats, signal.SIGKILL)

    @staticmethod
    def _send(seats: Sequence[Seat], number: int) -> None:
        for seat in seats:
            if seat.pid:
                os.kill(seat.pid, number)

    def _kill(self) -> None:
        """Whatever is left, however this ends."""
        self._send(self._seats, signal.SIGKILL)
        for seat in self._seats:
            if seat.pid:
                os.waitpid(seat.pid, 0)
                os.close(seat.pipe)
                seat.pid = 0

    # ---------------------------------------------------------------------------------------------------------------- forking

    @contextmanager
    def _signals_read(self) -> Iterator[socket.socket]:
        """A socket that gets a byte for each signal to end. In the end they are ignored."""
        reading, writing = socket.socketpair()
        with reading, writing:
            for each in (reading, writing):
                each.setblocking(False)
            for number in SIGNALS:
                signal.signal(number, lambda *_: None)
            # To warn of a full socket, a signal's handler would take a lock that it may have interrupted: a deadlock.
            signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
            try:
                yield reading
            finally:
                ignore_signals()
                signal.set_wakeup_fd(-1)

    def _fork(self, seat: Seat) -> None:
        seat.due, seat.error = None, ""
        reading, writing = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the child has handlers of its own
        supervisor = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._become(seat, writing, supervisor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.close(writing)
        seat.pid, seat.pipe = pid, reading
        seat.slot.started(pid)

    def _become(self, seat: Seat, pipe: int, supervisor: int) -> NoReturn:
        """In the child: runs what the seat is for, and ends the process."""

        def say(**said: object) -> None:
            os.write(pipe, json.dumps(said).encode() + b"\n")

        code = 1
        try:
            _die_with(supervisor)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the supervisor says what it means
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._wakeup.close()
            for other in self._seats:
                if other.pipe >= 0:
                    os.close(other.pipe)
            seat.run(lambda urls, engine: say(urls=urls, engine=engine))
            code = 0
        except FeatureStoreError as error:
            say(error=error.message)
        except BaseException as error:
            _log.exception("defect in the %s process", seat.name)
            say(error=f"a defect of the server: {type(error).__name__}; its log has more")
        finally:
            logging.shutdown()
            sys.stderr.flush()
            os._exit(code)


def _die_with(supervisor: int) -> None:
    """Has this process told to end when the supervisor is no more."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != supervisor:  # it was faster
        os._exit(1)
