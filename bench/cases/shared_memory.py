"""Reads without a server on the way: through shared memory, and in process; one reader, two at once, and beside a writer.

The rows are those of ``kernel``; a call is a whole ``Client.get`` of one feature service, from a list of keys to a
FeatureBatch. A real ``featurestore serve`` holds the rows that ``featurestore_shm`` reads from processes of their own;
``featurestore_in_process`` is ``featurestore.open`` in the process that owns them. The writer of the last case is such an owner
that overwrites random rows in batches as fast as it can, and the reader has its directory open read-only; they have a core
each, where there are two.
"""

import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import featurestore_client
import numpy as np

import featurestore
from bench import peers
from bench.cores import Cores
from bench.dataset import Dataset
from bench.histogram import Histogram
from bench.load.target import SERVICE, own_server
from bench.remote import Remote
from bench.report import Report
from bench.rounds import Measured, Take
from bench.rounds import run as run_rounds
from bench.settings import Settings
from bench.subject_runner import CALLS_MAX, KEYS_MAX, SPARE, WARM_CALLS, Turn, timed

READ_ROWS = (1, 100, 1_000)
KEY = "user"
LOAD_ROWS = 100_000
SETTLE_S = 8.0
"""After a load: upkeep gathers pages into huge ones, a shard at a time, four times a second."""
SHM, IN_PROCESS = "featurestore_shm", "featurestore_in_process"
READERS = "readers_100x50"
BESIDE = "read_100x50_beside_a_writer"


class Reader:
    """A process that reads through a client."""

    def __init__(self, dataset: Dataset, client: featurestore_client.Client) -> None:
        self._dataset = dataset
        self._client = client

    @classmethod
    def of_server(cls, dataset: Dataset, address: str) -> "Reader":
        """From the memory of a server."""
        return cls(dataset, featurestore_client.connect(f"shm://{address}"))

    @classmethod
    def of_directory(cls, dataset: Dataset, directory: Path) -> "Reader":
        """From the directory of an owner."""
        return cls(dataset, featurestore.open(directory / "data", segments=directory / "segments", read_only=True))

    def turn(self, rows: int, seconds: float, seed: int) -> Turn:
        """Reads random keys, so many a call, for so long."""
        random = np.random.default_rng(seed)
        get = self._client.get

        def calls(count: int) -> list[Any]:
            drawn = self._dataset.integer_keys(random.integers(0, self._dataset.rows, (count * rows))).reshape(count, rows)
            return [{KEY: each} for each in drawn.tolist()]

        warm_up = timed(lambda keys: get(SERVICE, keys), calls(WARM_CALLS), seconds / 10)
        call_s = float(np.median(warm_up.durations_ns)) / 1e9
        count = min(CALLS_MAX, KEYS_MAX // rows, int(seconds / call_s * SPARE) + 1)
        return timed(lambda keys: get(SERVICE, keys), calls(count), seconds)

    def close(self) -> None:
        """Closes the client."""
        self._client.close()


class Owner(Reader):
    """A process that has the rows in a store of its own."""

    def __init__(self, dataset: Dataset, directory: Path) -> None:
        super().__init__(dataset, featurestore.open(directory / "data", segments=directory / "segments"))
        view, entity = dataset.view, dataset.entity
        self._view = view.name
        self._client.apply(
            [
                entity,
                view,
                featurestore.FeatureService(name=SERVICE, features=[f"{view.name}:{name}" for name in dataset.float_names]),
            ]
        )
        for start in range(0, dataset.rows, LOAD_ROWS):
            chunk = dataset.slice(start, min(start + LOAD_ROWS, dataset.rows))
            self._client.write(self._view, self._batch(chunk))
        self._ends = threading.Event()
        self._writing: threading.Thread | None = None
        self._written = 0

    def _batch(self, chunk: Any) -> dict[str, Any]:
        columns = zip(self._dataset.float_names, np.ascontiguousarray(chunk.floats.T), strict=True)
        return {KEY: chunk.keys, **dict(columns)}

    def settled(self) -> None:
        """Returns once all rows are in."""

    def begin_writing(self, rows: int) -> None:
        """Overwrites random rows, so many a batch, until told to end."""
        random = np.random.default_rng(0)
        batches = [self._batch(self._dataset.chunk(random.choice(self._dataset.rows, rows, replace=False))) for _ in range(8)]
        self._ends.clear()
        self._written = 0

        def write() -> None:
            while not self._ends.is_set():
                self._client.write(self._view, batches[self._written % len(batches)])
                self._written += 1

        self._writing = threading.Thread(target=write)
        self._writing.start()

    def end_writing(self) -> int:
        """How many batches were written."""
        assert self._writing is not None
        self._ends.set()
        self._writing.join()
        return self._written


def run(settings: Settings, report: Report) -> None:
    """Measures, and judges the goals."""
    cores = Cores.split() if settings.pin == "auto" else Cores()
    report.settings |= {"server_cores": sorted(cores.servers), "client_cores": sorted(cores.clients)}
    dataset = Dataset(settings.rows, seed=settings.seed)
    with (
        own_server(dataset, peers.memory_directory(), cores=cores.servers) as own,
        TemporaryDirectory(dir=peers.memory_directory()) as folder,
    ):
        directory, address = Path(folder), own.target.address
        with (
            Remote("first reader", Reader.of_server, dataset, address, cores=cores.clients) as first,
            Remote("second reader", Reader.of_server, dataset, address, cores=cores.servers) as second,
            Remote("owner", Owner, dataset, directory, cores=cores.servers) as owner,
        ):
            owner.ask("settled")
            time.sleep(SETTLE_S)
            for rows in READ_ROWS:
                _measure(
                    report,
                    settings,
                    f"read_{rows}x50",
                    {SHM: _alone(first, rows, settings), IN_PROCESS: _alone(owner, rows, settings)},
                )
            _measure(
                report,
                settings,
                READERS,
                {"1 process": _alone(first, 100, settings), "2 processes": _both(first, second, settings)},
            )
            with Remote("reader", Reader.of_directory, dataset, directory, cores=cores.clients) as reader:
                _measure(
                    report,
                    settings,
                    BESIDE,
                    {"alone": _alone(reader, 100, settings), "beside a writer": _beside(reader, owner, settings, report)},
                )
    judge(report)


def _measure(report: Report, settings: Settings, case: str, subjects: dict[str, Take]) -> None:
    run_rounds(report, case, subjects, rounds=settings.rounds, seed=settings.seed)
    print(f"  {case} measured", flush=True)


def _measured(turn: Turn) -> Measured:
    histogram = Histogram()
    histogram.record_all(turn.durations_ns)
    return Measured(histogram, histogram.count, (turn.ended_ns - turn.began_ns) / 1e9)


def _alone(reader: Remote, rows: int, settings: Settings) -> Take:
    return lambda seed: _measured(reader.ask("turn", rows, settings.seconds, seed))


def _both(first: Remote, second: Remote, settings: Settings) -> Take:
    def take(seed: int) -> Measured:
        for number, reader in enumerate((first, second)):
            reader.begin("turn", 100, settings.seconds, 2 * seed + number)
        turns = [_measured(reader.answer()) for reader in (first, second)]
        histogram = turns[0].histogram
        histogram.add(turns[1].histogram)
        # Each reads for the same time: their rates add up.
        rate = sum(turn.calls / turn.seconds for turn in turns)
        return Measured(histogram, histogram.count, histogram.count / rate)

    return take


def _beside(reader: Remote, owner: Remote, settings: Settings, report: Report) -> Take:
    batch_rows = min(settings.batch_rows, settings.rows)

    def take(seed: int) -> Measured:
        owner.ask("begin_writing", batch_rows)
        turn = _measured(reader.ask("turn", 100, settings.seconds, seed))
        batches = owner.ask("end_writing")
        report.note(
            f"the writer overwrote {batches * batch_rows / turn.seconds / 1e6:.1f} M rows/s or more in a round of {BESIDE}"
        )
        return turn

    return take


def judge(report: Report) -> None:
    """The goals, as the issue sets them."""
    for rows, most in ((1, 2), (100, 10)):
        for subject in (SHM, IN_PROCESS):
            found = report.value(f"read_{rows}x50", subject, "p50_us")
            report.goal(f"{rows}x50, {subject}: at most {most} us a call", found, most, unit=" us")
    one, two = (report.value(READERS, subject, "ops_per_s") for subject in ("1 process", "2 processes"))
    report.goal("two readers: at least 1.8x the calls/s of one", two / one if one and two else None, 1.8, least=True, unit="x")
    alone, beside = (report.value(BESIDE, subject, "p99_us") for subject in ("alone", "beside a writer"))
    report.goal("p99 beside a writer: at most 2x of it alone", beside / alone if alone and beside else None, 2, unit="x")
