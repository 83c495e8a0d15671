"""Subjects set up to be measured: workers started, the same data loaded, answers compared.

Invariant: a ``Peers`` that is handed out has been checked; what it measures is the same work done right by all.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from bench import rounds
from bench.dataset import Dataset, texts
from bench.report import Report
from bench.settings import Settings
from bench.subjects import SUBJECTS, subject
from bench.worker import Loaded, Work, Worker

CHECKED_ROWS = 1_000
MEMORY_DIRECTORY = Path("/dev/shm")  # noqa: S108 (shared memory is what is wanted)


def memory_directory() -> Path:
    """Where subjects put files: tmpfs where there is one, so that no disk is measured."""
    return MEMORY_DIRECTORY if MEMORY_DIRECTORY.is_dir() else Path(tempfile.gettempdir())


class Peers:
    """Loaded, checked workers."""

    def __init__(
        self, dataset: Dataset, workers: list[Worker], loaded: dict[str, Loaded], settings: Settings, report: Report
    ) -> None:
        self.dataset = dataset
        self.workers = workers
        self.loaded = loaded
        self._settings = settings
        self._report = report

    @property
    def bytes_per_row(self) -> dict[str, float]:
        return {name: each.bytes_per_row for name, each in self.loaded.items()}

    def measure(self, case: str, work: Work, *, units_per_call: int = 1, seed: int = 0) -> None:
        """Measures one case on all of them, in interleaved rounds."""

        def take(worker: Worker) -> rounds.Take:
            return lambda turn_seed: worker.turn(work, turn_seed).measured()

        rounds.run(
            self._report,
            case,
            {worker.name: take(worker) for worker in self.workers},
            rounds=self._settings.rounds,
            seed=self._settings.seed + seed,
            units_per_call=units_per_call,
            bytes_per_row=self.bytes_per_row,
        )


@contextmanager
def loaded(
    dataset: Dataset, settings: Settings, report: Report, say: Callable[[str], None], names: tuple[str, ...] = ()
) -> Iterator[Peers]:
    """Starts a worker for each subject, loads the dataset, and compares their answers with the data and so with each other."""
    wanted = [name for name in (names or tuple(SUBJECTS)) if not settings.subjects or name in settings.subjects]
    with ExitStack() as stack:
        workers: list[Worker] = []
        for name in wanted:
            kind = subject(name)
            if dataset.strings and not kind.has_strings:
                continue
            if reason := kind.missing():
                report.note(f"{name} is left out: {reason}")
                continue
            worker = Worker(name, dataset, memory_directory())
            stack.enter_context(worker)
            workers.append(worker)
        footprints: dict[str, Loaded] = {}
        for worker in workers:
            footprints[worker.name] = worker.load()
            say(f"{worker.name}: {dataset.rows:,} rows of {dataset.name} loaded in {footprints[worker.name].seconds:.1f} s")
        compare(dataset, workers, settings.seed)
        yield Peers(dataset, workers, footprints, settings, report)


def compare(dataset: Dataset, workers: list[Worker], seed: int) -> None:
    """Raises RuntimeError unless each worker answers the dataset's own values."""
    random = np.random.default_rng(seed)
    for rows in (1, min(CHECKED_ROWS, dataset.rows)):
        indices = random.choice(dataset.rows, rows, replace=False)
        expected = dataset.chunk(indices)
        strings = [texts(column) for column in expected.strings]
        for worker in workers:
            matrix, columns = worker.rows(indices)
            if not np.array_equal(matrix, expected.floats) or columns != strings:
                raise RuntimeError(
                    f"{worker.name} answers {rows} rows of {dataset.name} wrongly: got {matrix}, expected {expected.floats}"
                )
