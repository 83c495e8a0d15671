"""``memory_bytes_max``: what would go beyond it is refused before it happens, and what is counted is what the kernel gives."""

import itertools
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurestore import Entity, FeatureView, Field, JoinKey
from featurestore.errors import ResourceExhaustedError
from featurestore.memory_size import bytes_of, machine_bytes
from featurestore.store import Column, Limits, Store, Table, VarColumn
from tests.store.oracle import var_column

USER = Entity(name="user", join_keys=[JoinKey(name="user_id")])
NAMED = Entity(name="named", join_keys=[JoinKey(name="name", type="string")])
NOW = np.array([1_000], np.int64)
MIB = 1 << 20


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        yield Path(path)


def view(*features: str, entity: str = "user") -> FeatureView:
    return FeatureView(name="v", entity=entity, features=[Field(name=f"f{i}", type=kind) for i, kind in enumerate(features)])


def kernel_bytes(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.name != "LOCK")


def until_refused(call: Callable[[int], object]) -> int:
    """Calls with 0, 1 and so on until that is refused for the memory it takes; which one was."""
    for number in itertools.count():
        try:
            call(number)
        except ResourceExhaustedError as error:
            refusal = error.message
            break
    assert re.match(r"max_memory: the tables take \d+ bytes of memory, \d+ more were needed, at most", refusal)
    return number


def fill(table: Table, rows: int = 1_000) -> int:
    """Writes new rows until that is refused; how many there are then."""
    values = Column(np.ones((rows, 50), np.float32))

    def write(number: int) -> None:
        table.write([np.arange(number * rows, (number + 1) * rows)], NOW, {"f0": values}, now_us=0)

    return rows * until_refused(write)


def check_counted(store: Store, directory: Path) -> None:
    reported = sum(table.stats().memory_bytes for table in store.tables())
    assert store.memory.used == reported
    assert abs(kernel_bytes(directory) / reported - 1) < 0.05


@pytest.mark.parametrize("rows", [1, 30, 1_000, 20_000], ids=str)
def test_at_the_limit_new_rows_are_refused_and_others_overwritten(directory: Path, rows: int) -> None:
    limit = 20 * MIB
    with Store.open(directory, shards=4, limits=Limits(memory_bytes_max=limit)) as store:
        table = store.create_table(view("float32[50]"), USER)
        full = fill(table, rows if rows > 30 else 1_000)
        assert kernel_bytes(directory) <= limit * 1.01
        assert store.memory.used > limit * (0.8 if rows <= 1_000 else 0.5), "no more is kept free than a batch takes"
        for batch in range(20):  # whichever keys: also many more of one shard than it has room for
            keys = np.random.default_rng(batch).permutation(full)[:rows]
            values = Column(np.full((len(keys), 50), batch, np.float32))
            assert table.write([keys], NOW, {"f0": values}, now_us=0).equal == len(keys)
            found = table.read([keys], table.projection(["f0"]), now_us=1_000)
            assert (np.frombuffer(found.values, np.float32) == batch).all()
        check_counted(store, directory)


def test_what_a_refused_schema_change_would_have_taken_is_not_taken(directory: Path) -> None:
    with Store.open(directory, shards=4, limits=Limits(memory_bytes_max=20 * MIB)) as store:
        table = store.create_table(view("float32[50]"), USER)
        rows = fill(table)
        before = store.memory.used
        with pytest.raises(ResourceExhaustedError, match="max_memory"):
            store.alter_table(view("float32[50]", "int64"), USER)
        assert (store.memory.used, table.stats().rows) == (before, rows)
        check_counted(store, directory)
        table.delete([np.arange(rows)], NOW + 1, now_us=1_001)
        while table.reclaim(now_us=10**15, rows_max=10**9):
            pass
        store.alter_table(view("float32[50]", "int64"), USER)  # there is room now
        check_counted(store, directory)
        fields = [Field(name="f0", type="float32")]
        until_refused(lambda number: store.create_table(FeatureView(name=f"v{number}", entity="user", features=fields), USER))
        check_counted(store, directory)
        for table in store.tables():
            store.drop_table(table.view.project, table.view.view)
        assert store.memory.used == 0


def test_strings_are_counted(directory: Path) -> None:
    with Store.open(directory, shards=2, limits=Limits(memory_bytes_max=8 * MIB)) as store:
        table = store.create_table(view("string", entity="named"), NAMED)

        def write(first: int, length: int, rows: int = 200) -> Any:
            keys = var_column([b"key %d" % (first + number) for number in range(rows)])
            assert isinstance(keys, VarColumn)
            return table.write([keys], NOW, {"f0": Column(var_column([b"x" * length] * rows))}, now_us=0)

        until_refused(lambda number: write(200 * number, 1_000))
        assert write(0, 1_000).equal == 200
        until_refused(lambda number: write(0, 2_000 + 1_000 * number))
        check_counted(store, directory)


def test_tables_that_are_there_come_back_whatever_the_limit(directory: Path) -> None:
    with Store.open(directory, shards=4) as store:
        rows = 10_000
        table = store.create_table(view("float32[50]"), USER)
        table.write([np.arange(rows)], NOW, {}, now_us=0)
        used = store.memory.used
    with Store.open(directory, shards=4, limits=Limits(memory_bytes_max=MIB)) as store:
        (table,) = store.tables()
        assert (store.memory.used, table.stats().rows) == (used, rows)
        assert table.write([np.arange(rows)], NOW, {}, now_us=0).equal == rows
        with pytest.raises(ResourceExhaustedError, match="max_memory"):
            table.write([np.arange(rows, 9 * rows)], NOW, {}, now_us=0)


@pytest.mark.parametrize(
    ("text", "count"), [("8GB", 8 * 10**9), ("512MiB", 512 << 20), ("1.5 gib", 3 << 29), ("1000", 1_000), ("7kb", 7_000)]
)
def test_sizes(text: str, count: int) -> None:
    assert bytes_of(text) == count


def test_shares_are_of_this_machine() -> None:
    assert bytes_of("50%") == machine_bytes() // 2


@pytest.mark.parametrize("text", ["", "GB", "8 elephants", "-1", "120%", "0%"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected bytes such as 8GB or 512MiB, or a share"):
        bytes_of(text)
