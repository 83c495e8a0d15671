"""Long work beside a busy program on the same core: what the kernel shares out is kept, not given away at each yield."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from featurestore import Entity, FeatureView, Field, JoinKey
from featurestore.priority import step_back
from featurestore.store import Column, Store

ROWS = 20_000
YIELD_ROWS = 24  # as in writer.pyx


@pytest.fixture
def busy_core() -> Iterator[int]:
    """A core that a program wants throughout."""
    core = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, {{{core}}}); print(flush=True)\nwhile True: pass"
    busy = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert busy.stdout is not None
    with busy:
        busy.stdout.readline()
        yield core
        busy.kill()


def test_a_long_write_does_not_give_its_core_away_at_each_yield(busy_core: int, tmp_path: Path) -> None:
    def write() -> int:
        """How often the thread lost its core meanwhile."""
        step_back()
        os.sched_setaffinity(0, {busy_core})
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        table.write([np.arange(ROWS)], np.ones(1, np.int64), {"value": Column(np.zeros(ROWS, np.float32))}, now_us=0)
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw - before

    user = Entity(name="user", join_keys=[JoinKey(name="user_id")])
    view = FeatureView(name="v", entity="user", features=[Field(name="value", type="float32")])
    with Store.open(tmp_path, shards=4) as store, ThreadPoolExecutor(1) as threads:
        table = store.create_table(view, user)
        assert threads.submit(write).result() < ROWS / YIELD_ROWS / 4
