"""A reader in another process, while the writer runs at full speed through growth and schema changes."""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from featurestore import Entity, FeatureView, Field, JoinKey
from featurestore.errors import UnavailableError
from featurestore.store import Column, Store, Table
from tests.store.oracle import var_column

SECONDS = 11
KEYS = 60_000
PRESENT = 10_000
STUCK_MAX = 100
"""Reads one after the other that meet a row in the middle of a change: each waits for many turns of the processor."""
ENTITY = Entity(name="e", join_keys=[JoinKey(name="k")])


def view(extra: int) -> FeatureView:
    """The view with some more features around the checked ones, so that their offsets move with each schema change."""
    checked = [
        Field(name="a", type="int64"),
        Field(name="text", type="string"),
        Field(name="vector", type="float64[20]"),
        Field(name="b", type="int64"),
        Field(name="checksum", type="int64"),
    ]
    before = [Field(name=f"before_{i}", type="string" if i % 2 else "int32") for i in range(extra)]
    return FeatureView(name="v", entity="e", features=[*before, *checked])


def write(table: Table, numbers: np.ndarray, event: int, rng: np.random.Generator) -> None:
    a = rng.integers(0, 10**12, len(numbers))
    b = rng.integers(0, 10**12, len(numbers))
    columns = {
        "a": Column(a),
        "b": Column(b),
        "checksum": Column(a * 31 + b * 17 + numbers),
        "vector": Column(np.ascontiguousarray(a[:, None] + np.arange(20.0))),
        "text": Column(var_column([str(value).encode() * (value % 23) for value in a.tolist()])),
    }
    table.write([numbers], np.array([event]), columns, now_us=event)


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


def test_reader_in_another_process_never_sees_a_torn_row(directory: Path) -> None:
    with Store.open(directory, segments=directory, shards=4, delete_window_us=50) as store:
        table = store.create_table(view(0), ENTITY)
        watcher = subprocess.Popen(
            [sys.executable, "-m", "tests.store.watcher", directory / "default.v", str(SECONDS), str(KEYS), str(PRESENT)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "ready\n"
        rng = np.random.default_rng(2)
        event = 1
        done = threading.Event()
        threading.Thread(target=lambda: (watcher.wait(), done.set()), daemon=True).start()
        while not done.is_set():
            # The range of keys widens, so that shards grow; a tenth of the writes goes to few keys, so that rows are hot.
            reach = min(KEYS, 1_000 + event * 40)
            write(table, rng.integers(0, 20 if event % 10 == 0 else reach, 200), event, rng)
            if event % 7 == 0:
                table.delete([rng.integers(0, reach, 20)], np.array([event]), now_us=event)
            if event % 11 == 0:
                table.reclaim(now_us=event, rows_max=2_000)
            if event % 150 == 0:
                store.alter_table(view(event // 150 % 4), ENTITY)
            if event % 170 == 0:
                staged = store.stage_table("default", "v")
                write(staged, np.arange(reach), event, rng)
                table.exchange(staged, table.version + 1)
                store.discard_table(staged)
            event += 1
        out, errors = watcher.communicate()
        assert watcher.returncode == 0, errors
        seen = json.loads(out)
        assert seen["present"] > PRESENT
        assert seen["schemas"] > 3
        assert seen["generations"] > 3
        assert table.stats().rows > 10_000


def test_readers_in_threads_go_on_while_the_schema_changes(directory: Path) -> None:
    with Store.open(directory, segments=directory, shards=4) as store:
        table = store.create_table(view(0), ENTITY)
        numbers = np.arange(20_000)
        rng = np.random.default_rng(3)
        write(table, numbers, 1, rng)
        projection = table.projection(["a", "b", "checksum"])
        failures: list[BaseException] = []
        stop = threading.Event()

        def read() -> None:
            stuck = 0
            try:
                while not stop.is_set():
                    try:
                        batch = table.read([numbers], projection, now_us=0)
                    except UnavailableError:  # the writer got no processor time in the middle of a row: slow, and nothing wrong
                        stuck += 1
                        assert stuck < STUCK_MAX, "a row stays half-written"
                        continue
                    stuck = 0
                    cells = np.frombuffer(batch.values or b"", np.int64).reshape(-1, 3)
                    assert (cells[:, 2] == cells[:, 0] * 31 + cells[:, 1] * 17 + numbers).all()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for event in range(2, 12):
            store.alter_table(view(event % 4), ENTITY)
            write(table, numbers[:5_000], event, rng)
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
