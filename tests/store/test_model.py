"""The store against a dict: every operation, all types, growth, schema change, reopening."""

import os
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from featurestore import DataType, Entity, FeatureView, Field, JoinKey
from featurestore.model import Scalar
from featurestore.store import Store, Table, TableReader
from tests.store.oracle import Key, Oracle, feature_column, key_values

TYPES = ["bool", "int32", "int64", "float32", "float64", "timestamp", "string", "bytes", "float32[3]", "float64[2]", "int64[2]"]
KEYS = [("int64",), ("string",), ("int64", "int64"), ("string", "int64"), ("int64", "string", "string")]
TTL_US, RETENTION_US, WINDOW_US = 1_000_000, 3_000_000, 2_000_000
KEYS_PER_TABLE = 400


def value_of(kind: DataType, seed: int) -> Any:
    """A value made from a number, None for some: cheap to make many of, and different for each."""
    if seed % 7 == 0:
        return None
    if kind.is_variable:
        return (f"{seed}é" * (seed % 11)).encode() + b"x" * (seed % 300 if seed % 5 == 0 else 0)
    one = {Scalar.BOOL: bool(seed % 2), Scalar.INT32: seed % 2**31 - 2**30}.get(kind.scalar, seed * 3 - 10**6)
    return one if kind.length is None else [one + i for i in range(kind.length)]


class StoreMachine(RuleBasedStateMachine):
    @initialize(
        key_types=st.sampled_from(KEYS),
        types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=40),
        ttl=st.booleans(),
        retention=st.booleans(),
        shards=st.sampled_from([1, 4]),
    )
    def create(self, key_types: tuple[str, ...], types: list[str], ttl: bool, retention: bool, shards: int) -> None:
        self.directory = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.shards = shards
        self.now = 10_000_000
        self.feature_number = len(types)
        self.entity = Entity(name="e", join_keys=[JoinKey(name=f"k{i}", type=kind) for i, kind in enumerate(key_types)])
        self.view = FeatureView(
            name="v",
            entity="e",
            features=[Field(name=f"f{i}", type=kind) for i, kind in enumerate(types)],
            ttl=timedelta(microseconds=TTL_US) if ttl else None,
            retention=timedelta(microseconds=RETENTION_US) if retention else None,
        )
        self.open()
        self.store.create_table(self.view, self.entity)
        self.oracle = Oracle(TTL_US if ttl else 0, RETENTION_US if retention else 0, WINDOW_US)
        self.reader = TableReader.attach(self.directory / "default.v")

    def open(self) -> None:
        self.store = Store.open(self.directory, segments=self.directory, shards=self.shards, delete_window_us=WINDOW_US)

    @property
    def table(self) -> Table:
        return self.store.table("default", "v")

    def keys(self, numbers: list[int]) -> list[Key]:
        return [
            tuple(
                number if key.type.scalar is Scalar.INT64 else f"key-{number}" * (number % 4) + str(number)
                for key in self.entity.join_keys
            )
            for number in numbers
        ]

    def columns(self, keys: list[Key]) -> Any:
        return key_values(tuple(key.type.scalar for key in self.entity.join_keys), keys)

    @rule(
        first=st.integers(0, KEYS_PER_TABLE),
        rows=st.sampled_from([1, 2, 7, 64, 65, 300]),
        age=st.integers(-RETENTION_US - 10, 10),
        spread=st.sampled_from([0, 1, 1000]),
        one_event=st.booleans(),
        which=st.integers(0),
        seed=st.integers(0, 10**6),
    )
    def write(self, first: int, rows: int, age: int, spread: int, one_event: bool, which: int, seed: int) -> None:
        self.now += 1_000
        rng = np.random.default_rng(seed)
        keys = self.keys([int(number) for number in rng.integers(first, first + rows, rows)])
        events = [self.now + age] * rows if one_event else [self.now + age + int(e) for e in rng.integers(0, spread + 1, rows)]
        # Every third write is of all features, the others of some of them.
        fields = [f for i, f in enumerate(self.view.features) if which % 3 == 0 or (which >> i % 8) % 2]
        values = {f.name: [value_of(f.type, int(s)) for s in rng.integers(0, 10**6, rows)] for f in fields}
        counts = self.table.write(
            self.columns(keys),
            np.array(events[:1] if one_event else events, np.int64),
            {f.name: feature_column(f.type, values[f.name]) for f in fields},
            now_us=self.now,
        )
        assert counts == (rows, *self.oracle.write(keys, events, values, self.now))

    @rule(first=st.integers(0, 400), rows=st.sampled_from([1, 5, 100]), age=st.integers(-2_000, 10), seed=st.integers(0, 10**6))
    def delete(self, first: int, rows: int, age: int, seed: int) -> None:
        self.now += 1_000
        keys = self.keys([int(n) for n in np.random.default_rng(seed).integers(first, first + rows, rows)])
        events = [self.now + age] * rows
        counts = self.table.delete(self.columns(keys), np.array(events, np.int64), now_us=self.now)
        assert counts == self.oracle.delete(keys, events, self.now)

    @rule(hours=st.sampled_from([100, 500_000, 2_500_000]))
    def let_time_pass(self, hours: int) -> None:
        self.now += hours

    @rule()
    def reclaim(self) -> None:
        freed = 0
        for _ in range(2 * self.shards + 2):
            freed += self.table.reclaim(now_us=self.now, rows_max=10_000)
        assert freed == self.oracle.reclaim(self.now)

    @rule(kind=st.sampled_from(TYPES), position=st.integers(0))
    def add_feature(self, kind: str, position: int) -> None:
        self.feature_number += 1
        features = list(self.view.features)
        features.insert(position % (len(features) + 1), Field(name=f"f{self.feature_number}", type=kind))
        self.alter(features)

    @precondition(lambda self: len(self.view.features) > 1)
    @rule(position=st.integers(0))
    def drop_feature(self, position: int) -> None:
        features = list(self.view.features)
        gone = features.pop(position % len(features))
        for row in self.oracle.rows.values():
            row.values.pop(gone.name, None)
        self.alter(features)

    def alter(self, features: list[Field]) -> None:
        self.view = FeatureView.model_validate({**self.view.model_dump(), "features": features})
        self.store.alter_table(self.view, self.entity)

    @rule(clean=st.booleans())
    def reopen(self, clean: bool) -> None:
        if clean:
            self.store.close()
        else:  # as if the owner had died: the lock goes, the clean mark is missing
            os.close(self.store._lock)
        self.open()

    @rule(seed=st.integers(0, 10**6), columnar=st.booleans(), expired_values=st.booleans(), elsewhere=st.booleans())
    def read(self, seed: int, columnar: bool, expired_values: bool, elsewhere: bool) -> None:
        rng = np.random.default_rng(seed)
        table = self.reader if elsewhere else self.table
        numbers = [int(n) for n in rng.integers(0, KEYS_PER_TABLE + 400, int(rng.integers(1, 150)))]
        features = [self.view.features[i] for i in rng.permutation(len(self.view.features))[: int(rng.integers(1, 41))]]
        self.check(table, numbers, features, columnar, expired_values)

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "oracle"):
            stats = self.table.stats()
            dead = sum(row.dead for row in self.oracle.rows.values())
            assert (stats.rows, stats.deleted_rows) == (len(self.oracle.rows) - dead, dead)

    def check(self, table: TableReader, numbers: list[int], features: list[Field], columnar: bool, expired: bool) -> None:
        keys = self.keys(numbers)
        projection = table.projection([f.name for f in features], columnar=columnar)
        batch = table.read(self.columns(keys), projection, now_us=self.now, expired_values=expired, event_timestamps=True)
        statuses = batch.statuses or bytes(len(keys))
        assert batch.event_timestamps_us is not None
        events = np.frombuffer(batch.event_timestamps_us, np.int64)
        nulls = batch.nulls or bytes(len(keys) * projection.null_row_bytes)
        wanted = [self.oracle.read(key, self.now, expired) for key in keys]
        assert [(status, event) for status, event, _ in wanted] == list(zip(statuses, events.tolist(), strict=True))
        fixed = [f for f in features if not f.type.is_variable]
        for position, feature in enumerate(features):
            got = self.decode(batch, projection, features, fixed, feature, len(keys))
            for i, (_, _, values) in enumerate(wanted):
                value = None if values is None else values.get(feature.name)
                null = nulls[i * projection.null_row_bytes + position // 8] >> (position % 8) & 1
                assert null == (values is not None and value is None)
                expected = feature_column(feature.type, [value]).values if value is not None else None
                if feature.type.is_variable:
                    assert got[i] == (value or b"")
                elif expected is not None:
                    assert got[i].tobytes() == expected.tobytes()
                elif feature.type.scalar in (Scalar.FLOAT32, Scalar.FLOAT64):
                    assert np.isnan(got[i]).all()
                else:
                    assert not got[i].any()

    @staticmethod
    def decode(batch: Any, projection: Any, features: list[Field], fixed: list[Field], feature: Field, rows: int) -> Any:
        if feature.type.is_variable:
            data, offsets = batch.var[[f for f in features if f.type.is_variable].index(feature)]
            ends = np.frombuffer(offsets, np.int32)
            return [data[ends[i] : ends[i + 1]] for i in range(rows)]
        offset, width = projection.offsets[fixed.index(feature)], feature.type.width_bytes
        raw = np.frombuffer(batch.values, np.uint8)
        if projection.columnar:
            cells = raw[rows * offset : rows * (offset + width)].reshape(rows, width)
        else:
            cells = raw.reshape(rows, projection.row_bytes)[:, offset : offset + width]
        return np.ascontiguousarray(cells).view(feature.type.numpy)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.check(self.table, list(range(KEYS_PER_TABLE + 350)), list(self.view.features), False, True)
            self.store.close()
            shutil.rmtree(self.directory)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards start so small that growth, compaction and full heaps come all the time."""
    monkeypatch.setattr("featurestore.store.table.FIRST_ROWS", 16)
    monkeypatch.setattr("featurestore.store.table.HEAP_HOLES_MIN_UNITS", 16)


@pytest.mark.timeout(300)
class TestStoreAgainstDict(StoreMachine.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
