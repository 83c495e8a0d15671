"""How long a start takes, and what a snapshot does to those who write and read meanwhile.

A server with 1 M rows of 50 float32 in a snapshot, and a tenth of them once more in the journal behind it, is started again:
with its tables gone, as after a reboot (``cold``); after it was stopped in order, so that they are in memory and clean
(``warm``); and after it was killed, so that each row is looked at (``killed``). Taken is the time from the process's start
until it serves, and the part in which the store was opened; an ``empty`` store tells what the interpreter and its imports cost.
(Modules are compiled before, as they are where Python may write bytecode.)
Then one client writes a row at a time and another one reads one, in turns with a snapshot being taken and without: the longest
of their calls is the pause.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from featurestore_client import Client, connect

from bench import peers
from bench.dataset import Dataset
from bench.histogram import Histogram
from bench.report import Detail, Report, Result
from bench.server_process import COMMAND
from bench.settings import Settings

FILL_ROWS = 100_000
COLD_S, WARM_S, PAUSE_MS = 3.0, 0.2, 5.0


def run(settings: Settings, report: Report) -> None:
    """Fills a store, starts it again and again, and takes snapshots of it."""
    dataset = Dataset(settings.rows, seed=settings.seed)
    with (
        tempfile.TemporaryDirectory(prefix="bench-start-", dir=settings.disk or None) as disk,
        tempfile.TemporaryDirectory(prefix="bench-start-", dir=peers.memory_directory()) as memory,
    ):
        place = _Place(Path(disk), Path(memory))
        _fill(place, dataset)
        _measure_starts(place, settings, report)
        _measure_snapshots(place, dataset, settings, report)


class _Place:
    """One store, and the servers on it."""

    def __init__(self, disk: Path, memory: Path) -> None:
        self.data = disk / "data"
        self._environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(memory / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
        self.segments = memory / "segments"

    @contextmanager
    def server(
        self, data: Path | None = None, segments: Path | None = None, end: signal.Signals = signal.SIGTERM
    ) -> Iterator[tuple[str, float, float]]:
        """A server that is ended so: (its URL, seconds until it served, and of these to open the store)."""
        flags = {"directory": data or self.data, "segments": segments or self.segments, "listen": "127.0.0.1:0"}
        flags |= {"unix-socket": "off", "log-format": "json"}
        command = [COMMAND, "serve", *(f"--{name}={value}" for name, value in flags.items())]
        began_s = time.perf_counter()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=self._environment) as process:
            assert process.stderr is not None
            try:
                opened_s, text = 0.0, ""
                for line in process.stderr:
                    text += line
                    event: dict[str, Any] = json.loads(line) if line.startswith("{") else {"event": ""}
                    opened_s = event["seconds"] if event["event"] == "opened" else opened_s
                    if event["event"] == "serving":
                        served_s = time.perf_counter() - began_s
                        threading.Thread(target=process.stderr.read, daemon=True).start()
                        break
                else:
                    raise RuntimeError(f"featurestore serve ended: {text}")
                yield event["address"], served_s, opened_s
            finally:
                process.send_signal(end)
                process.wait()


def _fill(place: _Place, dataset: Dataset) -> None:
    with place.server() as (url, _, _), connect(url) as client:
        client.apply([dataset.entity, dataset.view])
        for start in range(0, dataset.rows, FILL_ROWS):
            _write(client, dataset, np.arange(start, min(start + FILL_ROWS, dataset.rows)), start=1)
        client.take_snapshot()
        _write(client, dataset, np.arange(dataset.rows // 10), start=2)


def _write(client: Client, dataset: Dataset, indices: Any, start: int) -> None:
    keys = {dataset.entity.join_keys[0].name: dataset.integer_keys(indices)}
    floats = np.ascontiguousarray(dataset.chunk(indices).floats.T)
    columns = {**keys, **dict(zip(dataset.feature_names, floats, strict=True))}
    client.ingest(dataset.view.name, {**columns, "event_timestamp": np.full(len(indices), start)})


def _measure_starts(place: _Place, settings: Settings, report: Report) -> None:
    def empty() -> tuple[float, float]:
        with ExitStack() as stack:
            other = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=place.segments.parent)))
            _, served_s, opened_s = stack.enter_context(place.server(other / "data", other / "segments"))
            return served_s, opened_s

    def again(end: signal.Signals = signal.SIGTERM) -> tuple[float, float]:
        with place.server(end=end) as (_, served_s, opened_s):
            return served_s, opened_s

    def cold() -> tuple[float, float]:
        shutil.rmtree(place.segments)
        return again()

    def killed() -> tuple[float, float]:
        again(signal.SIGKILL)
        return again()

    for name, start in {"cold": cold, "warm": again, "killed": killed, "empty": empty}.items():
        taken = [start() for _ in range(settings.disk_rounds)]
        for part, seconds in (("served", [each[0] for each in taken]), ("opened", [each[1] for each in taken])):
            _add(report, f"start_{name}", part, [1e6 * each for each in seconds])
    for name, goal in (("cold", COLD_S), ("warm", WARM_S)):
        for part in ("served", "opened"):
            found = report.value(f"start_{name}", part, "p50_us")
            what = "from the process's start until it serves" if part == "served" else "to open the store"
            report.goal(f"{name} start, {what}: at most {goal:g} s", found and found / 1e6, goal, unit=" s")


def _add(report: Report, case: str, subject: str, values_us: list[float]) -> None:
    median = statistics.median(values_us)
    report.add(
        Result(case, subject, p50_us=median, p99_us=max(values_us), ops_per_s=1e6 / median),
        Detail(case, subject, calls=len(values_us), rounds=[{"us": each} for each in values_us]),
    )


def _measure_snapshots(place: _Place, dataset: Dataset, settings: Settings, report: Report) -> None:
    """In each round a turn with a snapshot, and one as long without."""
    longest: dict[tuple[str, str], list[float]] = {}
    with place.server() as (url, _, _), connect(url) as client, connect(url) as writer, connect(url) as reader:
        one = np.arange(1)
        key = {dataset.entity.join_keys[0].name: dataset.integer_keys(one)}
        row = {**key, **{name: [1.0] for name in dataset.feature_names}}
        selected = [f"{dataset.view.name}:{name}" for name in dataset.feature_names]
        calls: dict[str, Callable[[], object]] = {
            "writer": lambda: writer.write(dataset.view.name, row),
            "reader": lambda: reader.get(selected, key),
        }
        for _ in range(settings.disk_rounds):
            began_s = time.monotonic()
            for name, histogram in _beside(calls, client.take_snapshot).items():
                longest.setdefault(("snapshot", name), []).append(histogram.percentiles_us((100,))["100"])
            seconds = time.monotonic() - began_s
            for name, histogram in _beside(calls, partial(time.sleep, seconds)).items():
                longest.setdefault(("quiet", name), []).append(histogram.percentiles_us((100,))["100"])
    for (case, name), values_us in longest.items():
        _add(report, f"longest_call_{case}", name, values_us)
    for name in calls:
        found, without = (report.value(f"longest_call_{case}", name, "p50_us") for case in ("snapshot", "quiet"))
        if found is not None and without is not None:
            text = f"the longest call of a {name} during a snapshot: at most {PAUSE_MS:g} ms longer than without"
            report.goal(text, (found - without) / 1e3, PAUSE_MS, unit=" ms")


def _beside(calls: dict[str, Callable[[], object]], work: Callable[[], object]) -> dict[str, Histogram]:
    """Makes each call again and again, in a thread of its own, while the work is done."""
    ended = threading.Event()
    histograms = {name: Histogram() for name in calls}

    def repeat(name: str) -> None:
        while not ended.is_set():
            began_ns = time.perf_counter_ns()
            calls[name]()
            histograms[name].record(time.perf_counter_ns() - began_ns)

    threads = [threading.Thread(target=repeat, args=(name,)) for name in calls]
    for thread in threads:
        thread.start()
    try:
        work()
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    return histograms
