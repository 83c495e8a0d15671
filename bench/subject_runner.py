"""What runs in a subject's own process: it loads its subject, and times its reads and writes one after the other.

Invariant: it imports the subject, NumPy and nothing that the environment of a peer would have to install for us.
"""

import gc
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench import footprint
from bench.dataset import Dataset, Floats, Indices
from bench.subjects import Listed, Read, UnavailableError

TOUCHED_ROWS = 20_000
CALLS_MAX = 200_000
KEYS_MAX = 2_000_000
WARM_CALLS = 50
SPARE = 1.2


@dataclass(frozen=True)
class Work:
    """One turn: reads of ``rows`` random rows a call (``threads`` at a time), or writes of batches of ``rows``, old or new."""

    kind: str  # read, write, insert
    rows: int
    seconds: float
    threads: int = 1
    rows_max: int = 0  # insert: stop after so many


class Turn(NamedTuple):
    """What one turn measured: each call's duration, and when the first began and the last ended (of the monotonic clock)."""

    durations_ns: npt.NDArray[np.int64]
    began_ns: int
    ended_ns: int


class SubjectRunner:
    """One subject, and how it is opened, loaded, read and written."""

    def __init__(
        self, name: str, listed: Listed, dataset: Dataset, memory_directory: Path, server_cores: frozenset[int]
    ) -> None:
        self._name = name
        self._kind = listed.kind()
        self._dataset = dataset
        self._directory = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=memory_directory))
        self._subject = self._kind(dataset, self._directory, server_cores)
        self._opened = False
        self._private_bytes = 0

    def open(self) -> str:
        """Opens the subject, without rows. What keeps it from that, as a sentence, or an empty string."""
        # What the first use of the libraries takes is not the rows'.
        self._dataset.slice(0, min(TOUCHED_ROWS, self._dataset.rows))
        self._private_bytes = footprint.private_bytes()
        # Each full collection looks at every list there is; who lives with a million of them turns it off, and so do we.
        gc.disable()
        try:
            self._subject.open()
        except UnavailableError as reason:
            return str(reason)
        self._opened = True
        return ""

    def load(self, start: int, stop: int) -> float:
        """Writes these rows of the dataset in one call. The seconds that it took; making the data is not in them."""
        chunk = self._dataset.slice(start, stop)
        began = time.perf_counter()
        self._subject.load(chunk)
        return time.perf_counter() - began

    def bytes_per_row(self) -> float:
        """What all rows of the dataset take, now that they are loaded, by row."""
        while self._subject.settle():
            pass
        taken = self._subject.outside_bytes()
        if self._subject.in_process:
            taken += footprint.private_bytes() - self._private_bytes
        gc.freeze()
        return taken / self._dataset.rows

    def rows(self, indices: Indices) -> tuple[Floats, list[list[str]]]:
        """The rows of these numbers, for comparison."""
        matrix, strings = self._subject.decode(self._subject.reader()(self._subject.keys(indices)))
        return np.array(matrix), [list(column) for column in strings]

    def turn(self, work: Work, seed: int) -> Turn:
        """Does one turn of work on keys drawn by ``seed``."""
        random = np.random.default_rng(seed)
        if work.kind == "read":
            return self._read(work, random)
        if work.kind == "write":
            return self._write(work, random)
        return self._insert(work)

    def close(self) -> None:
        """Closes the subject and removes its files."""
        if self._opened:
            self._subject.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _read(self, work: Work, random: np.random.Generator) -> Turn:
        # Keys are drawn for as many calls as the turn has time for, since one that repeats would be in the processor's cache.
        read = self._subject.reader()
        warm_up = timed(read, self._calls(work, WARM_CALLS, random), work.seconds / 10)
        call_s = float(np.median(warm_up.durations_ns)) / 1e9
        count = min(CALLS_MAX, KEYS_MAX // work.rows, int(work.seconds / call_s * SPARE) + 1)
        calls = self._calls(work, max(count, work.threads), random)
        return timed(read, calls, work.seconds) if work.threads == 1 else self._read_at_once(work, calls)

    def _calls(self, work: Work, count: int, random: np.random.Generator) -> list[Any]:
        return self._subject.calls(random.integers(0, self._dataset.rows, (count, work.rows)))

    def _read_at_once(self, work: Work, calls: list[Any]) -> Turn:
        readers = [self._subject.reader() for _ in range(work.threads)]
        start = threading.Barrier(work.threads)
        turns: list[Turn] = []

        def run(number: int) -> None:
            mine = calls[number :: work.threads]
            readers[number](mine[0])
            start.wait()
            turns.append(timed(readers[number], mine, work.seconds))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(work.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(turns) != work.threads:
            raise RuntimeError(f"{self._name}: {work.threads - len(turns)} of {work.threads} threads failed")
        durations_ns = np.concatenate([turn.durations_ns for turn in turns])
        return Turn(durations_ns, min(turn.began_ns for turn in turns), max(turn.ended_ns for turn in turns))

    def _write(self, work: Work, random: np.random.Generator) -> Turn:
        rows = min(work.rows, self._dataset.rows)
        batches = [
            self._subject.batch(self._dataset.chunk(random.choice(self._dataset.rows, rows, replace=False)))
            for _ in range(min(8, max(1, int(work.seconds * 40))))
        ]
        self._subject.write(batches[0])
        durations: list[int] = []
        end = time.perf_counter_ns() + int(work.seconds * 1e9)
        while True:
            # Each pass makes the batches anew in the subject's form, so that event times rise; that is not timed.
            turn = timed(self._subject.write, batches, work.seconds)
            durations.extend(turn.durations_ns.tolist())
            if sum(durations) >= work.seconds * 1e9 or time.perf_counter_ns() > end:
                return _turn(durations)

    def _insert(self, work: Work) -> Turn:
        fresh = self._kind(self._dataset, Path(tempfile.mkdtemp(prefix="insert-", dir=self._directory)))
        fresh.open()
        durations: list[int] = []
        try:
            # New rows, since no row number of the table's own dataset is as high; made a batch at a time, and not timed.
            for start in range(0, work.rows_max, work.rows):
                stop = min(start + work.rows, work.rows_max)
                batch = fresh.batch(self._dataset.chunk(np.arange(start, stop, dtype=np.int64)))
                began = time.perf_counter_ns()
                fresh.write(batch)
                durations.append(time.perf_counter_ns() - began)
                if sum(durations) > work.seconds * 1e9:
                    break
        finally:
            fresh.close()
            shutil.rmtree(fresh.directory, ignore_errors=True)
        return _turn(durations)


def _turn(durations: list[int]) -> Turn:
    return Turn(np.array(durations, np.int64), 0, sum(durations))


def timed(call: Read, arguments: list[Any], seconds: float) -> Turn:
    """Calls with one argument after the other for so long, or as long as there are any; each call's duration."""
    # Reading the clock twice a call is part of the figure: about 0.05 us.
    clock = time.perf_counter_ns
    durations: list[int] = []
    append = durations.append
    first = clock()
    end = first + int(seconds * 1e9)
    stop = first
    for argument in arguments:
        start = clock()
        call(argument)
        stop = clock()
        append(stop - start)
        if stop > end:
            break
    return Turn(np.array(durations, np.int64), first, stop)
