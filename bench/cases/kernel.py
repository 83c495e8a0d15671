"""The store kernel, called in the process, beside what people use instead: reads, writes, memory, and the goals of it.

1 M rows x 50 float32 under random int64 keys; then the same with string keys and 1 feature in 10 a string. ``write`` overwrites
random rows with newer ones, ``write_insert`` fills an empty table; both count rows. ``throughput`` cases have 16 threads.
"""

from bench import peers
from bench.dataset import Dataset
from bench.report import Report
from bench.settings import Settings
from bench.subject_runner import Work

READ_ROWS = (1, 100, 1_000)
OURS = "featurestore"


def run(settings: Settings, report: Report) -> None:
    """Measures, and judges the goals."""
    with peers.loaded(Dataset(settings.rows, seed=settings.seed), settings, report, _say) as subjects:
        for rows in READ_ROWS:
            subjects.measure(f"read_{rows}x50", Work("read", rows, settings.seconds))
        for rows in READ_ROWS[:2]:
            subjects.measure(f"throughput_{rows}x50", Work("read", rows, settings.seconds, threads=settings.in_flight))
        batch = min(settings.batch_rows, settings.rows)
        subjects.measure("write", Work("write", batch, settings.seconds), units_per_call=batch)
        insert = Work("insert", batch, settings.seconds, rows_max=max(batch, settings.insert_rows // batch * batch))
        subjects.measure("write_insert", insert, units_per_call=batch)
    with peers.loaded(Dataset(settings.rows, strings=True, seed=settings.seed), settings, report, _say) as subjects:
        for rows in READ_ROWS:
            subjects.measure(f"read_{rows}x50_strings", Work("read", rows, settings.seconds))
    judge(report)


def judge(report: Report) -> None:
    """The kernel's goals, as the issue sets them."""

    def p50(case: str, subject: str = OURS) -> float | None:
        return report.value(case, subject, "p50_us")

    def times(case: str, peer: str) -> float | None:
        ours, theirs = p50(case), p50(case, peer)
        return theirs / ours if ours and theirs else None

    report.goal("one row of 50: at most 1.5 us", p50("read_1x50"), 1.5, unit=" us")
    report.goal("100 rows x 50: at most 10 us", p50("read_100x50"), 10, unit=" us")
    report.goal("100 rows x 50: at least 10x faster than lmdb", times("read_100x50", "lmdb"), 10, least=True, unit="x")
    report.goal(
        "100 rows x 50: at least 4x faster than dict_numpy", times("read_100x50", "dict_numpy"), 4, least=True, unit="x"
    )
    report.goal("1,000 rows x 50: at most 100 us", p50("read_1000x50"), 100, unit=" us")
    for case, what in (("write", "overwrites"), ("write_insert", "inserts")):
        rate = report.value(case, OURS, "ops_per_s")
        report.goal(f"batch writes, {what}: at least 3 M rows/s", rate and rate / 1e6, 3, least=True, unit=" M rows/s")
    judge_memory(report, "read_1x50")
    for rows in READ_ROWS:
        ours, strings = p50(f"read_{rows}x50"), p50(f"read_{rows}x50_strings")
        ratio = strings / ours if ours and strings else None
        report.goal(f"string keys and strings, {rows:,} x 50: within 3x of int64 and floats", ratio, 3, unit="x")


def judge_memory(report: Report, case: str) -> None:
    """The goals of memory, from the results of ``case``."""
    ours, lists = report.value(case, OURS, "bytes_per_row"), report.value(case, "dict_lists", "bytes_per_row")
    report.goal("memory: at most 260 B a row", ours, 260, unit=" B", digits=1)
    saved = 100 * (1 - ours / lists) if ours and lists else None
    report.goal("memory: at least 85 % less than dict_lists", saved, 85, least=True, unit=" %", digits=1)


def _say(text: str) -> None:
    print(text, flush=True)
