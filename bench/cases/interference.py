"""Reads while rows are loaded at full speed: through our client over the network, and through shared memory.

One process reads, one call in flight; another streams batches of random rows, made before, to the server as fast as they are
acknowledged, and gives way to all else as ``featurestore ingest`` does. Nothing is pinned: with two cores, server, its writing
thread, reader and loader share them. What that alone costs is measured beside it: reads while two processes keep two cores
busy, and while two wake up now and then, and nothing is loaded.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import featurestore_client
import numpy as np

from bench import peers, rounds
from bench.background import Background, Burner, Waker
from bench.cases.shared_memory import Reader
from bench.dataset import Dataset
from bench.histogram import Histogram
from bench.load.target import own_server
from bench.remote import Remote
from bench.report import Report
from bench.rounds import Measured, Take
from bench.settings import Settings
from featurestore.priority import give_way

READ_ROWS = (1, 100)
IDLE, LOADING, BUSY, WAKING = "idle", "while loading", "busy cores", "waking programs"
BATCHES = 16
BATCH_ROWS_MAX = 12_000  # as `featurestore ingest` cuts them
UNDER_WAY_S = 0.2
SLOWER_MAX = 3.0
WAKING_SLOWER_MAX = 1.5


class Loader(Background):
    """Streams batches over and over."""

    def __init__(self, dataset: Dataset, url: str, batch_rows: int) -> None:
        give_way()
        random = np.random.default_rng(dataset.seed)
        self._client = featurestore_client.connect(url)
        self._view, self._batch_rows = dataset.view.name, batch_rows
        self._batches: list[dict[str, Any]] = []
        for _ in range(BATCHES):
            chunk = dataset.chunk(random.integers(0, dataset.rows, batch_rows))
            columns = dict(zip(dataset.float_names, np.ascontiguousarray(chunk.floats.T), strict=True))
            self._batches.append({"user": chunk.keys, **columns})

    def begin(self) -> None:
        self._began, self._sent = time.monotonic(), 0
        super().begin()

    def work(self) -> None:
        self._client.ingest(self._view, self._source())

    def _source(self) -> Iterator[dict[str, Any]]:
        while not self.is_over:
            yield self._batches[self._sent % BATCHES]
            self._sent += 1

    def end(self) -> float:
        """Rows a second since ``begin``."""
        super().end()
        return self._sent * self._batch_rows / (time.monotonic() - self._began)

    def close(self) -> None:
        """Closes the client."""
        self._client.close()


def reader_of(dataset: Dataset, url: str) -> Reader:
    """A reader through our client."""
    return Reader(dataset, featurestore_client.connect(url))


def run(settings: Settings, report: Report) -> None:
    """Measures, and judges the goals."""
    dataset = Dataset(settings.rows, seed=settings.seed)
    batch_rows = min(settings.batch_rows, BATCH_ROWS_MAX)
    with own_server(dataset, peers.memory_directory()) as own:
        url, address = own.server.url, own.target.address
        with (
            Remote("loader", Loader, dataset, url, batch_rows) as loader,
            Remote("first burner", Burner) as first,
            Remote("second burner", Burner) as second,
            Remote("first waker", Waker) as first_waker,
            Remote("second waker", Waker) as second_waker,
            Remote("network reader", reader_of, dataset, url) as network,
            Remote("shared memory reader", reader_of, dataset, f"shm://{address}") as shared,
        ):
            for way, reader in (("network", network), ("shm", shared)):
                for rows in READ_ROWS:
                    case = f"{way}_{rows}x50"
                    takes = {
                        IDLE: _idle(reader, rows, settings),
                        LOADING: _loading(reader, loader, rows, settings, report),
                        BUSY: _busy(reader, (first, second), rows, settings),
                        WAKING: _busy(reader, (first_waker, second_waker), rows, settings),
                    }
                    rounds.run(report, case, takes, rounds=settings.rounds, seed=settings.seed)
                    print(f"  {case} measured", flush=True)
    judge(report)


def judge(report: Report) -> None:
    """The goals, as the issue sets them; and whether the machine alone would miss them."""
    for case in report.cases():
        idle, loading = (report.value(case, subject, "p99_us") for subject in (IDLE, LOADING))
        text = f"{case}: p99 while rows are loaded at most {SLOWER_MAX:g}x of it idle"
        report.goal(text, idle and loading and loading / idle, SLOWER_MAX, unit="x")
        busy = report.value(case, BUSY, "p99_us")
        if case.startswith("network"):
            text = f"{case}: p99 while rows are loaded at most that beside busy cores"
            report.goal(text, busy and loading and loading / busy, 1, unit="x")
            idle, waking = (report.value(case, subject, "p50_us") for subject in (IDLE, WAKING))
            text = f"{case}: p50 beside programs that wake up now and then at most {WAKING_SLOWER_MAX:g}x of it idle"
            report.goal(text, idle and waking and waking / idle, WAKING_SLOWER_MAX, unit="x")


def _idle(reader: Remote, rows: int, settings: Settings) -> Take:
    def take(seed: int) -> Measured:
        turn = reader.ask("turn", rows, settings.seconds, seed)
        histogram = Histogram()
        histogram.record_all(turn.durations_ns)
        return Measured(histogram, histogram.count, (turn.ended_ns - turn.began_ns) / 1e9)

    return take


def _loading(reader: Remote, loader: Remote, rows: int, settings: Settings, report: Report) -> Take:
    read = _idle(reader, rows, settings)

    def take(seed: int) -> Measured:
        loader.ask("begin")
        time.sleep(UNDER_WAY_S)
        measured = read(seed)
        report.settings["loaded_rows_per_s"] = round(loader.ask("end"))
        return measured

    return take


def _busy(reader: Remote, burners: Sequence[Remote], rows: int, settings: Settings) -> Take:
    read = _idle(reader, rows, settings)

    def take(seed: int) -> Measured:
        for each in burners:
            each.ask("begin")
        measured = read(seed)
        for each in burners:
            each.ask("end")
        return measured

    return take
