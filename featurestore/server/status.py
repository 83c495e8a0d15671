"""What each process of a server is at: one row of words a process, in memory that all of them map, and any other process may.

    segments/status:   | magic | rows | recovered: known | records | tables | cut bytes | us | 0 ... |
                       | role | state | pid | started_us | restarts | connections | ... | heard_us   |   a row a process

Each word is written by one process at a time, in one aligned store, and says something by itself: nobody who looks needs a
lock, and what one sees of a row is at worst a moment older here than there. Invariant: the file at that path is whole, and of a
server that holds the store; it is put there once that server serves, and taken away when it ends in good order.
"""

import mmap
import os
import time
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from featurestore.errors import NotFoundError
from featurestore.service import Recovered

FILE_NAME = "status"
BEAT_S = 1.0
"""Between two notes of a process that it is there."""
SILENT_S = 5.0
"""Without one, after which it is taken to hang or to be gone."""

_MAGIC = 0x5355_5441_5453_5346  # "FSSTATUS"
_WORDS = 16
_RECOVERED = 2
"""Where the words of the start begin, in the first row."""
_UNKNOWN = (1 << 64) - 1


class Role(IntEnum):
    """What a process is for."""

    SERVER = 1
    """All in one."""
    SUPERVISOR = 2
    OWNER = 3
    READER = 4


class State(IntEnum):
    """What it is at."""

    STARTING = 1
    SERVING = 2
    DRAINING = 3
    GONE = 4
    """Ended, and about to be started again."""


class _Word(IntEnum):
    ROLE = 0
    NUMBER = 1
    STATE = 2
    PID = 3
    STARTED_US = 4
    RESTARTS = 5
    CONNECTIONS = 6
    REQUESTS = 7
    RESIDENT_BYTES = 8
    SHARED_BYTES = 9
    HEARD_US = 10
    REFUSED = 11


class Counts(NamedTuple):
    """What an engine has to do, and has done since it was made."""

    connections: int | None
    """Open now; None where the engine does not tell."""
    requests: int
    """Calls that were begun."""
    refused: int
    """Of those: calls that were not taken up, since too many came at a time."""


class ProcessStatus(NamedTuple):
    """One process, as ``GetStatus`` tells it."""

    role: str
    number: int
    """Of readers, from 1; else 0."""
    state: str
    """That of ``State`` in lower case, or ``silent``."""
    pid: int
    uptime_s: float
    restarts: int
    connections: int | None
    """Open now; None where the engine does not tell."""
    requests: int
    """Calls that were begun since the process started."""
    refused: int
    """Of those: calls that were not taken up, since too many came at a time."""
    resident_bytes: int
    shared_bytes: int
    """Of those: segments, libraries and what else other processes may have mapped too."""


class ProcessSlot:
    """The row of one process."""

    def __init__(self, words: npt.NDArray[np.uint64]) -> None:
        self._words = words
        self.counts: Callable[[], Counts] = lambda: Counts(None, 0, 0)
        """Of the process; called in it."""

    def name(self, role: Role, number: int = 0) -> "ProcessSlot":
        """Whose row it is."""
        self._words[_Word.ROLE], self._words[_Word.NUMBER] = role, number
        self._words[_Word.STATE] = State.STARTING
        return self

    def started(self, pid: int) -> None:
        """There is a process now; the counts begin anew."""
        now_us = time.time_ns() // 1_000
        self._words[_Word.CONNECTIONS] = self._words[_Word.REQUESTS] = self._words[_Word.REFUSED] = 0
        self._words[_Word.STARTED_US] = self._words[_Word.HEARD_US] = now_us
        self._words[_Word.PID] = pid
        self._words[_Word.STATE] = State.STARTING

    def turn(self, state: State) -> None:
        """What the process is at from now on."""
        self._words[_Word.STATE] = state

    def count_restart(self) -> None:
        """The process is started once more."""
        self._words[_Word.RESTARTS] += np.uint64(1)

    def beat(self) -> None:
        """The process is there, and this is what it has done."""
        connections, requests, refused = self.counts()
        resident_bytes, shared_bytes = memory_of_this_process()
        self._words[_Word.CONNECTIONS] = _UNKNOWN if connections is None else connections
        self._words[_Word.REQUESTS], self._words[_Word.REFUSED] = requests, refused
        self._words[_Word.RESIDENT_BYTES], self._words[_Word.SHARED_BYTES] = resident_bytes, shared_bytes
        self._words[_Word.HEARD_US] = time.time_ns() // 1_000

    def read(self, now_us: int) -> ProcessStatus:
        """What it says now."""
        words = [int(word) for word in self._words]
        state = State(words[_Word.STATE])
        silent = state is not State.GONE and now_us - words[_Word.HEARD_US] > SILENT_S * 1e6
        connections = words[_Word.CONNECTIONS]
        return ProcessStatus(
            Role(words[_Word.ROLE]).name.lower(),
            words[_Word.NUMBER],
            "silent" if silent else state.name.lower(),
            words[_Word.PID],
            0.0 if state is State.GONE else max(0, now_us - words[_Word.STARTED_US]) / 1e6,
            words[_Word.RESTARTS],
            None if connections == _UNKNOWN else connections,
            words[_Word.REQUESTS],
            words[_Word.REFUSED],
            words[_Word.RESIDENT_BYTES],
            words[_Word.SHARED_BYTES],
        )


class StatusBoard:
    """The rows of one server's processes."""

    def __init__(self, memory: mmap.mmap, path: Path | None = None) -> None:
        words = np.frombuffer(memory, np.uint64).reshape(-1, _WORDS)
        self.slots = [ProcessSlot(row) for row in words[1 : 1 + int(words[0][1])]]
        self._recovered = words[0][_RECOVERED:]
        self._path = path

    @classmethod
    def create(cls, slots: int, segments: Path | None = None) -> "StatusBoard":
        """A board of so many rows, shared with processes that are forked later; with ``segments``, for ``publish``."""
        size = (1 + slots) * _WORDS * 8
        if segments is None:
            memory, path = mmap.mmap(-1, size), None
        else:
            segments.mkdir(parents=True, exist_ok=True)
            path = segments / f".{FILE_NAME}.{os.getpid()}"
            with path.open("w+b") as file:
                file.truncate(size)
                memory = mmap.mmap(file.fileno(), size)
        np.frombuffer(memory, np.uint64)[:2] = _MAGIC, slots
        return cls(memory, path)

    @classmethod
    def of_this_process(cls) -> "StatusBoard":
        """For a store without a server."""
        board = cls.create(1)
        board.slots[0].name(Role.SERVER).started(os.getpid())
        board.slots[0].turn(State.SERVING)
        return board

    @classmethod
    def attach(cls, segments: Path) -> "StatusBoard":
        """That of the server which holds these segments. NotFoundError when there is none."""
        path = segments / FILE_NAME
        try:
            with path.open("rb") as file:
                memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (FileNotFoundError, ValueError):  # an empty file cannot be mapped
            raise NotFoundError(f"{path} is not there: no server has these segments, or it does not serve yet") from None
        words = np.frombuffer(memory[: len(memory) // 8 * 8], np.uint64)
        if len(words) < _WORDS or words[0] != _MAGIC or len(words) < (1 + int(words[1])) * _WORDS:
            raise NotFoundError(f"{path} is not a server's status: expected the file that `featurestore serve` makes")
        return cls(memory)

    def publish(self) -> None:
        """Puts the board where ``attach`` finds it: this process's server holds the store."""
        assert self._path is not None
        self._path = self._path.replace(self._path.with_name(FILE_NAME))

    def remove(self) -> None:
        """Takes it away, published or not."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def note_recovered(self, recovered: Recovered | None) -> None:
        """What the start of the process that owns the store found and repaired."""
        if recovered is not None:
            words = (recovered.records, recovered.tables, recovered.cut_bytes, int(recovered.seconds * 1e6))
            self._recovered[1 : 1 + len(words)] = words
            self._recovered[0] = 1

    @property
    def recovered(self) -> Recovered | None:
        """The same; None where nothing was noted."""
        known, records, tables, cut_bytes, us = (int(word) for word in self._recovered[:5])
        return Recovered(records, tables, cut_bytes, us / 1e6) if known else None

    def read(self) -> list[ProcessStatus]:
        """Each process, in the order of the rows."""
        now_us = time.time_ns() // 1_000
        return [slot.read(now_us) for slot in self.slots]


def memory_of_this_process() -> tuple[int, int]:
    """(resident bytes, those of them that are shared)."""
    pages = Path("/proc/self/statm").read_text().split()
    return int(pages[1]) * mmap.PAGESIZE, int(pages[2]) * mmap.PAGESIZE
