"""Bytes a row: 50 float32 under int64 keys, and with string keys and 1 feature in 10 a string.

Pages, not estimates: the growth of private memory of the subject's own process, plus blocks of its files in tmpfs (the kernel's
segments, LMDB's map) or the memory that redis-server reports as used.
"""

from bench import peers
from bench.cases.kernel import judge_memory
from bench.dataset import Dataset
from bench.report import Report, Result
from bench.settings import Settings


def run(settings: Settings, report: Report) -> None:
    """Loads each subject once, and measures nothing but its memory."""
    for strings, case in ((False, "memory"), (True, "memory_strings")):
        dataset = Dataset(settings.rows, strings=strings, seed=settings.seed)
        with peers.loaded(dataset, settings, report, lambda text: print(text, flush=True)) as subjects:
            for name, each in subjects.bytes_per_row.items():
                report.add(Result(case, name, bytes_per_row=each))
    judge_memory(report, "memory")
