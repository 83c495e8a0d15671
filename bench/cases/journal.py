"""Which journal: SQLite, LMDB and a checksummed append-only file of our own, on the job that a server has for one.

Messages of 100 rows of 200 bytes and of one row, from four threads, in each of the three modes of ``--fsync``; on the disk that
holds the system's temporary files, or ``--disk``.
"""

import random
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from bench import journals, rounds
from bench.histogram import Histogram
from bench.report import Report
from bench.settings import Settings
from featurestore.durability import Fsync

WRITERS = 4
ROW_BYTES = 200
MESSAGES = {"batch_100": 100, "single": 1}
MODES: tuple[Fsync, ...] = ("always", "interval", "never")


def run(settings: Settings, report: Report) -> None:
    """Each candidate in turns, each turn in an empty directory."""
    for name, rows in MESSAGES.items():
        message = random.Random(settings.seed).randbytes(rows * ROW_BYTES)
        for fsync in MODES:
            takes = {
                candidate: partial(_take, candidate, fsync, message, settings.disk_seconds, settings.disk)
                for candidate in journals.CANDIDATES
            }
            case = f"{name}_{fsync}"
            rounds.run(report, case, takes, rounds=settings.disk_rounds, seed=settings.seed, units_per_call=rows)
            print(f"  {case} measured", flush=True)
            own = report.value(case, "own file", "ops_per_s")
            for library in ("SQLite", "LMDB"):
                rate = report.value(case, library, "ops_per_s")
                if own and rate:
                    report.note(f"{case}: {library} costs {own / rate:.1f}x what the own file does (a library wins below 2x)")


def _take(candidate: str, fsync: Fsync, message: bytes, seconds: float, disk: str, _: int) -> rounds.Measured:
    with tempfile.TemporaryDirectory(prefix="featurestore-bench-journal-", dir=disk or None) as directory:
        journal = journals.CANDIDATES[candidate](Path(directory), fsync)
        try:
            durations, taken_s = journals.append_for(journal, message, WRITERS, seconds)
        finally:
            journal.close()
    histogram = Histogram()
    histogram.record_all(np.array(durations, np.int64))
    return rounds.Measured(histogram, len(durations), taken_s)
