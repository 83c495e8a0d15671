"""Cost of a read as the table grows, from 10^4 to 10^7 rows: it should rise with cache misses and with nothing else.

Subjects are those whose memory allows it; a table that would not fit in two thirds of the free memory is left out and said so.
"""

from bench import machine, peers
from bench.dataset import Dataset
from bench.report import Report
from bench.settings import Settings
from bench.subject_runner import Work

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
QUICK_SIZES = (1_000, 3_000)
READ_ROWS = (1, 100)
BYTES_PER_ROW = {"featurestore": 520, "lmdb": 600, "dict_numpy": 420}
"""About what a row takes while it is loaded, to know beforehand whether a table fits."""


def run(settings: Settings, report: Report) -> None:
    """Measures the subjects at each size."""
    for rows in QUICK_SIZES if settings.quick else SIZES:
        if rows > settings.rows_max:
            report.note(f"{rows:,} rows are left out: rows_max is {settings.rows_max:,}")
            continue
        names = _fitting(rows, report)
        with peers.loaded(
            Dataset(rows, seed=settings.seed), settings, report, lambda text: print(text, flush=True), names
        ) as subjects:
            for each in READ_ROWS:
                subjects.measure(f"read_{each}x50_of_{rows}", Work("read", each, settings.seconds))


def _fitting(rows: int, report: Report) -> tuple[str, ...]:
    free = machine.memory_available_bytes() * 2 // 3
    names = []
    for name, each in BYTES_PER_ROW.items():
        if rows * each <= free:
            names.append(name)
            free -= rows * each
        else:
            report.note(
                f"{name} with {rows:,} rows is left out: needs about {rows * each / 1e9:.1f} GB, {free / 1e9:.1f} GB are left"
            )
    return tuple(names)
