"""How long a start takes, and what a snapshot does to those who write and read meanwhile.

A server with 1 M rows of 50 float32 in a snapshot, and a tenth of them once more in the journal behind it, is started again:
with its tables gone, as after a reboot (``cold``); after it was stopped in order, so that they are in memory and clean
(``warm``); and after it was killed, so that each row is looked at (``killed``). Taken is the time from the process's start
until it serves, and the part in which the store was opened; an ``empty`` store tells what the interpreter and its imports cost.
(Modules are compiled before: where Python may not keep their bytecode, in a place of this run's own.)
Then one process writes a row at a time and another one reads one, in turns with a snapshot being taken, without, and beside a
process that keeps a core busy and gives way as the snapshot's does: the longest of their calls is the pause. A virtual machine
whose cores are all in use, or that writes much, may be stopped by its host for longer than that: ``stolen_ms`` says how long.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
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
from bench.background import Background, Burner
from bench.dataset import Dataset
from bench.remote import Remote
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
        self._environment = dict(os.environ)
        if sys.dont_write_bytecode:
            self._environment |= {"PYTHONPYCACHEPREFIX": str(memory / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
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


class _Repeater(Background):
    """Writes one row, or reads it, again and again, and notes its longest call."""

    def __init__(self, dataset: Dataset, url: str, kind: str) -> None:
        client = self._client = connect(url)
        key = {dataset.entity.join_keys[0].name: dataset.integer_keys(np.arange(1))}
        row = {**key, **{name: [1.0] for name in dataset.feature_names}}
        selected = [f"{dataset.view.name}:{name}" for name in dataset.feature_names]
        calls: dict[str, Callable[[], object]] = {
            "writer": lambda: client.write(dataset.view.name, row),
            "reader": lambda: client.get(selected, key),
        }
        self._call = calls[kind]

    def begin(self) -> None:
        self._longest_ns = 0
        super().begin()

    def work(self) -> None:
        while not self.is_over:
            began_ns = time.perf_counter_ns()
            self._call()
            self._longest_ns = max(self._longest_ns, time.perf_counter_ns() - began_ns)

    def end(self) -> float:
        """The longest call since ``begin``, in microseconds."""
        super().end()
        return self._longest_ns / 1e3

    def close(self) -> None:
        """Closes the client."""
        self._client.close()


def _measure_snapshots(place: _Place, dataset: Dataset, settings: Settings, report: Report) -> None:
    """In each round a turn with a snapshot, and two as long without."""
    longest: dict[tuple[str, str], list[float]] = {}
    stolen_ms: dict[str, list[float]] = {}
    with place.server() as (url, _, _), connect(url) as client, ExitStack() as stack:
        burner = stack.enter_context(Remote("burner", Burner, True))
        repeaters = {kind: stack.enter_context(Remote(kind, _Repeater, dataset, url, kind)) for kind in ("writer", "reader")}

        def burn(seconds: float) -> None:
            burner.ask("begin")
            time.sleep(seconds)
            burner.ask("end")

        def beside(case: str, work: Callable[[], object]) -> None:
            """Has each repeat its call while the work is done."""
            for each in repeaters.values():
                each.ask("begin")
            before_ms = _stolen_ms()
            work()
            stolen_ms.setdefault(case, []).append(_stolen_ms() - before_ms)
            for kind, each in repeaters.items():
                longest.setdefault((case, kind), []).append(each.ask("end"))

        for _ in range(settings.disk_rounds):
            began_s = time.monotonic()
            beside("snapshot", client.take_snapshot)
            seconds = time.monotonic() - began_s
            beside("busy_core", partial(burn, seconds))
            beside("quiet", partial(time.sleep, seconds))
    for (case, kind), values_us in longest.items():
        _add(report, f"longest_call_{case}", kind, values_us)
    report.settings["stolen_ms"] = {case: statistics.median(each) for case, each in stolen_ms.items()}
    for kind in repeaters:
        found, without = (report.value(f"longest_call_{case}", kind, "p50_us") for case in ("snapshot", "busy_core"))
        if found is not None and without is not None:
            text = f"the longest call of a {kind} during a snapshot: at most {PAUSE_MS:g} ms longer than beside a busy core"
            report.goal(text, (found - without) / 1e3, PAUSE_MS, unit=" ms")


def _stolen_ms() -> float:
    """For how long the host has kept this machine's cores to itself while it wanted them, by ``/proc/stat``."""
    steal = Path("/proc/stat").read_text().split(maxsplit=9)[8]
    return 1e3 * int(steal) / os.sysconf("SC_CLK_TCK")
