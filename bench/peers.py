"""Subjects set up to be measured: workers started, the same data loaded, answers compared.

Invariant: a ``Peers`` that is handed out has been checked; what it measures is the same work done right by all.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from bench.cores import Cores
from bench.dataset import Dataset, texts
from bench.environments import ENVIRONMENTS
from bench.report import Report
from bench.rounds import Take, run
from bench.settings import Settings
from bench.subject_runner import Work
from bench.subjects import SUBJECTS, Listed
from bench.worker import Worker

CHECKED_ROWS = 1_000
LOAD_ROWS = 20_000
NOT_PINNED = Cores()
MEMORY_DIRECTORY = Path("/dev/shm")  # noqa: S108 (shared memory is what is wanted)


def memory_directory() -> Path:
    """Where subjects put files: tmpfs where there is one, so that no disk is measured."""
    return MEMORY_DIRECTORY if MEMORY_DIRECTORY.is_dir() else Path(tempfile.gettempdir())


class Peers:
    """Loaded, checked workers."""

    def __init__(self, dataset: Dataset, workers: list[Worker], settings: Settings, report: Report) -> None:
        self.dataset = dataset
        self.workers = workers
        self.bytes_per_row: dict[str, float] = {worker.name: worker.bytes_per_row() for worker in workers}
        self._settings = settings
        self._report = report

    def measure(self, case: str, work: Work, *, rounds: int = 0, units_per_call: int = 1, seed: int = 0) -> None:
        """Measures one case on all of them, in interleaved rounds."""

        def take(worker: Worker) -> Take:
            return lambda turn_seed: worker.turn(work, turn_seed)

        run(
            self._report,
            case,
            {worker.name: take(worker) for worker in self.workers},
            rounds=rounds or self._settings.rounds,
            seed=self._settings.seed + seed,
            units_per_call=units_per_call,
            bytes_per_row=self.bytes_per_row,
        )


@contextmanager
def started(
    listed: Mapping[str, Listed], dataset: Dataset, settings: Settings, report: Report, cores: Cores = NOT_PINNED
) -> Iterator[list[Worker]]:
    """A worker for each subject that the settings choose, open and empty. What cannot run here is left out, with a note."""
    with ExitStack() as stack:
        workers: list[Worker] = []
        for name, each in listed.items():
            if settings.subjects and name not in settings.subjects:
                continue
            reason = ENVIRONMENTS[each.environment].missing() if each.environment else ""
            if not reason:
                worker = Worker(name, each, dataset, memory_directory(), cores)
                stack.enter_context(worker)
                reason = worker.open()
            if reason:
                report.note(f"{name} is left out: {reason}")
            else:
                workers.append(worker)
        yield workers


@contextmanager
def loaded(
    dataset: Dataset, settings: Settings, report: Report, say: Callable[[str], None], names: tuple[str, ...] = tuple(SUBJECTS)
) -> Iterator[Peers]:
    """The kernel's subjects with the dataset in each, their answers compared with the data and so with each other."""
    listed = {name: SUBJECTS[name] for name in names if SUBJECTS[name].strings or not dataset.strings}
    with started(listed, dataset, settings, report) as workers:
        for worker in workers:
            parts = [(start, min(start + LOAD_ROWS, dataset.rows)) for start in range(0, dataset.rows, LOAD_ROWS)]
            seconds = sum(worker.load(*part).seconds for part in parts)
            say(f"{worker.name}: {dataset.rows:,} rows of {dataset.name} loaded in {seconds:.1f} s")
        peers = Peers(dataset, workers, settings, report)
        compare(dataset, workers, settings.seed)
        yield peers


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
