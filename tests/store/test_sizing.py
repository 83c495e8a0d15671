"""What is said of a table beforehand, beside what a real one takes."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from featurestore import Entity, FeatureView, Field, JoinKey
from featurestore.store import Column, Store, Table
from featurestore.store.sizing import TABLE_BYTES, TableSize, size_of_table
from featurestore.store.table import schema_of
from tests.store.oracle import var_column

BY_NUMBER = Entity(name="e", join_keys=[JoinKey(name="k")])
BY_NAME = Entity(name="e", join_keys=[JoinKey(name="k", type="string")])
BY_BOTH = Entity(name="e", join_keys=[JoinKey(name="k"), JoinKey(name="name", type="string")])
STRING_BYTES = {"k": 12, "name": 12, "s0": 24, "s1": 50}
SCHEMAS = {
    "wide": (BY_NUMBER, {f"f{i}": "float32" for i in range(50)}),
    "narrow": (BY_NUMBER, {"f": "float32"}),
    "strings": (BY_NAME, {"s0": "string", "f": "float64", "s1": "bytes"}),
    "vector and a composite key": (BY_BOTH, {"v": "float32[64]", "b": "bool"}),
}


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


def fill(table: Table, rows: int, at_once: int) -> None:
    """Random keys, strings of the lengths above."""
    numbers = np.random.default_rng(1).permutation(rows).astype(np.int64)
    for start in range(0, rows, at_once):
        part = np.ascontiguousarray(numbers[start : start + at_once])
        names = var_column([b"%012d" % number for number in part.tolist()])
        keys = [part if str(key.type) == "int64" else names for key in table.entity.join_keys]
        columns = {}
        for feature in table.definition.features:
            if feature.type.is_variable:
                columns[feature.name] = Column(var_column([b"x" * STRING_BYTES[feature.name]] * len(part)))
            else:
                shape = (len(part),) if feature.type.length is None else (len(part), feature.type.length)
                columns[feature.name] = Column(np.zeros(shape, feature.type.numpy))
        table.write(keys, np.array([1]), columns, now_us=1)


def measured(directory: Path, schema: str, rows: int, shards: int, at_once: int) -> tuple[TableSize, int, int]:
    """What is said, what the table says, and the pages that its files have."""
    entity, features = SCHEMAS[schema]
    view = FeatureView(name="v", entity="e", features=[Field(name=name, type=text) for name, text in features.items()])
    with Store.open(directory, shards=shards) as store:
        table = store.create_table(view, entity)
        fill(table, rows, at_once)
        pages = sum(path.stat().st_blocks * 512 for path in (directory / "segments" / "default.v").iterdir())
        return size_of_table(schema_of(view, entity), rows, shards, STRING_BYTES), table.stats().memory_bytes, pages


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize(("rows", "shards"), [(3_000, 1), (60_000, 4), (100_000, 16)])
def test_a_table_takes_what_its_size_says(directory: Path, schema: str, rows: int, shards: int) -> None:
    size, memory_bytes, pages = measured(directory, schema, rows, shards, at_once=500)
    few_percent = 0.15 if schema == "narrow" else 0.04  # beside 36 bytes a row, whether an index has doubled yet is felt
    assert abs(size.memory_bytes / memory_bytes - 1) < few_percent
    assert size.memory_least_bytes <= memory_bytes <= size.memory_most_bytes
    assert abs((size.memory_bytes + TABLE_BYTES) / pages - 1) < few_percent


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_load_of_large_batches_takes_no_more_than_the_most(directory: Path, schema: str) -> None:
    size, memory_bytes, pages = measured(directory, schema, rows=200_000, shards=8, at_once=100_000)
    assert size.memory_bytes < memory_bytes <= size.memory_most_bytes
    assert pages <= size.memory_most_bytes + TABLE_BYTES
    assert size.memory_most_bytes < 1.5 * memory_bytes


def test_an_empty_table_takes_its_indexes_and_heads(directory: Path) -> None:
    size, memory_bytes, pages = measured(directory, "strings", rows=0, shards=16, at_once=1)
    assert size.memory_least_bytes == size.memory_bytes == memory_bytes
    assert pages == memory_bytes + TABLE_BYTES


def test_more_shards_are_wanted_where_one_would_be_copied_to_grow() -> None:
    entity, features = SCHEMAS["wide"]
    view = FeatureView(name="v", entity="e", features=[Field(name=name, type=text) for name, text in features.items()])
    schema = schema_of(view, entity)
    assert size_of_table(schema, 1_000_000, 16, {}).shards_wanted == 16
    row_bytes = size_of_table(schema, 1, 16, {}).row_bytes
    full = 16 * ((1 << 30) // row_bytes)
    assert size_of_table(schema, full, 16, {}).shards_wanted == 16
    assert size_of_table(schema, full + 16, 16, {}).shards_wanted == 32
