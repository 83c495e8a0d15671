"""The short version of ``make soak``: one process and two workers, at the same time."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.soak import GROWTH_MAX, MORE_FILES_MAX, soak

SECONDS, WARMUP_S = 32, 14
SEED = random.SystemRandom().randrange(1 << 32)


def test_mixed_work_is_answered_rightly_and_takes_no_more_with_time(tmp_path: Path) -> None:
    def run(workers: int) -> None:
        directory = tmp_path / str(workers)
        directory.mkdir()
        done = soak(directory, SECONDS, WARMUP_S, workers=workers, seed=SEED)
        assert done.growth < GROWTH_MAX
        assert done.more_files <= MORE_FILES_MAX
        assert min(done.connections, done.schemas) > 10

    with ThreadPoolExecutor() as threads:
        list(threads.map(run, (0, 2)))
