"""The walk over a write request is protobuf's reading of it, or none: whatever the bytes, the same fields or None."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from featurestore_client.tables.layout import RowLayout
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore import DataType, Entity, FeatureView
from featurestore.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError
from featurestore.server.columns import ARRAY_OF, read_event_timestamps, read_features, read_keys, readers_of
from featurestore.server.wire import featurestore_raw_pb2 as wire
from featurestore.server.write_wire import WriteFormat, WriteRequest, read_ingest_request, read_write_request
from featurestore.store import Limits, Store
from featurestore.store.table import schema_of
from featurestore.store.writer import Beginning

ARRAYS = ("bools", "int32s", "int64s", "float32s", "float64s", "data", "offsets", "validity")
names = st.sampled_from(["", "user", "f0", "x" * 200])
raw = st.binary(max_size=40)
columns = st.builds(wire.Column, name=names, **dict.fromkeys(ARRAYS, raw))
batches = st.builds(
    wire.WriteBatch, keys=st.lists(columns, max_size=3), features=st.lists(columns, max_size=4), event_timestamps_us=raw
)
writes = st.builds(wire.WriteFeaturesRequest, project=names, view=names, batch=batches)
ingests = st.builds(
    wire.IngestFeaturesRequest, project=names, view=names, batch=batches, sequence=st.integers(0, (1 << 63) - 1)
)


def fields_of(request) -> tuple:
    """All that a request holds, of either reading."""

    def of(column) -> tuple:
        return column.name, *(bytes(getattr(column, array)) for array in ARRAYS)

    batch = request.batch() if isinstance(request, WriteRequest) else request.batch
    held = [*map(of, batch.keys)], [*map(of, batch.features)], batch.event_timestamps_us
    return request.project, request.view, getattr(request, "sequence", 0), held


@given(writes)
def test_ordinary_write_is_read_as_protobuf_reads_it(message):
    assert fields_of(read_write_request(message.SerializeToString())) == fields_of(message)


@given(ingests)
def test_ordinary_ingest_message_is_read_as_protobuf_reads_it(message):
    assert fields_of(read_ingest_request(message.SerializeToString())) == fields_of(message)


@given(ingests, st.integers(0, 1 << 32))
def test_changed_message_is_read_as_protobuf_reads_it_or_left_to_it(message, seed):
    chance = random.Random(seed)
    data = bytearray(message.SerializeToString())
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0 if place < len(data):
                data[place] = chance.randrange(256)
            case 1:
                del data[place:]
            case 2:
                data[place:place] = chance.randbytes(chance.randrange(1, 4))
            case _:
                data += data[place:]
    found = read_ingest_request(bytes(data))
    if found is not None and found.batch() is not None:
        try:
            expected = wire.IngestFeaturesRequest.FromString(bytes(data))
        except DecodeError:
            raise AssertionError("the walk read what protobuf refuses") from None
        assert fields_of(found) == fields_of(expected)


def test_what_is_out_of_the_ordinary_is_left_to_protobuf():
    ordinary = wire.WriteFeaturesRequest(view="orders", batch=wire.WriteBatch(keys=[wire.Column(name="user")]))
    data = ordinary.SerializeToString()
    assert read_write_request(data) is not None
    assert read_write_request(data + ordinary.SerializeToString()) is None, "fields twice"
    assert read_write_request(data + b"\x7a\x00") is None, "an unknown field"
    assert read_write_request(data[:-1]) is None, "cut off"
    assert read_write_request(wire.WriteFeaturesRequest(view="Aufträge").SerializeToString()) is None


def test_a_features_numbers_stay_where_they_are_and_a_keys_are_copied():
    values = np.arange(1_000, dtype="<f4").tobytes()
    keys = np.arange(1_000, dtype="<i8").tobytes()
    batch = wire.WriteBatch(keys=[wire.Column(name="user", int64s=keys)], features=[wire.Column(name="f0", float32s=values)])
    data = wire.WriteFeaturesRequest(view="orders", batch=batch).SerializeToString()
    found = read_write_request(data)
    assert found is not None
    (feature,), (key,) = found.batch().features, found.batch().keys
    assert isinstance(feature.float32s, memoryview)
    assert feature.float32s.obj is data
    assert feature.float32s == values
    assert isinstance(key.int64s, bytes)
    assert key.int64s == keys


CLOCK_US = 77
TYPES = {"flag": "bool", "count": "int32", "at": "timestamp", "score": "float32", "pair": "float64[2]", "text": "string"}
VIEW = FeatureView.model_validate(
    {"name": "v", "entity": "user", "features": [{"name": name, "type": kind} for name, kind in TYPES.items()]}
)
USER = Entity.model_validate({"name": "user", "join_keys": [{"name": "user", "type": "int64"}]})
LAYOUT = RowLayout.of(schema_of(VIEW, USER))
FEATURES = {name: DataType.parse(kind) for name, kind in TYPES.items()}
KEYS = {"user": DataType.parse("int64")}
FORMAT = WriteFormat({"user": "int64s"}, {name: ARRAY_OF[kind.scalar] for name, kind in FEATURES.items()}, LAYOUT)


def judged(batch: wire.WriteBatch):
    """What columns.py reads of a batch, or None where it refuses it."""
    try:
        keys = read_keys(batch.keys, readers_of(KEYS), "keys")
        rows = len(keys[0])
        columns = read_features(batch.features, readers_of(FEATURES), rows, "features")
        return keys, read_event_timestamps(batch.event_timestamps_us, rows, CLOCK_US, "times"), columns
    except InvalidArgumentError:
        return None


def same(found, expected) -> bool:
    """Whether two readings hold the same values, bit by bit."""
    (keys, times, columns), (other_keys, other_times, other_columns) = found, expected
    return (
        [key.tolist() for key in keys] == [key.tolist() for key in other_keys]
        and times.tolist() == other_times.tolist()
        and columns.keys() == other_columns.keys()
        and all(
            columns[name].values.shape == values.shape
            and columns[name].values.tobytes() == values.tobytes()
            and (columns[name].validity is None) == (validity is None)
            and (validity is None or columns[name].validity.tobytes() == validity.tobytes())
            for name, (values, validity) in other_columns.items()
        )
    )


@st.composite
def fixed_batches(draw) -> wire.WriteBatch:
    """Batches that are mostly right, with mistakes of every kind among them."""
    rows = draw(st.integers(1, 20))
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    batch = wire.WriteBatch(keys=[wire.Column(name="user", int64s=chance.randbytes(8 * rows))])
    batch.event_timestamps_us = draw(st.sampled_from([b"", bytes(8), chance.randbytes(8 * rows)]))
    for name in draw(st.permutations([name for name in TYPES if name != "text"]))[: draw(st.integers(0, 5))]:
        kind = FEATURES[name]
        values = chance.randbytes(rows * kind.width_bytes) if name != "flag" else bytes(chance.choices((0, 1), k=rows))
        column = batch.features.add(name=name, **{ARRAY_OF[kind.scalar]: values})
        if chance.random() < 0.3:
            column.validity = chance.randbytes((rows + 7) // 8)
    match draw(st.integers(0, 15)):
        case 0:
            batch.features.add(name="nobody", float32s=bytes(4 * rows))
        case 1:
            batch.features.add(name="text", data=b"x" * rows, offsets=np.arange(rows + 1, dtype=np.int32).tobytes())
        case 2:
            batch.keys.add(name="user", int64s=bytes(8 * rows))
        case 3:
            batch.keys[0].validity = b"\xff"
        case 4:
            batch.event_timestamps_us = bytes(8 * rows + 8)
        case 5:
            batch.keys[0].name = "other"
        case 6:
            batch.keys[0].int64s += b"x"
        case mistake if mistake < 12 and batch.features:
            column = batch.features[chance.randrange(len(batch.features))]
            array = ARRAY_OF[FEATURES[column.name].scalar]
            match mistake:
                case 7:
                    setattr(column, array, getattr(column, array)[:-1])
                case 8:
                    column.offsets = b"1234"
                case 9:
                    column.validity = bytes((rows + 7) // 8 + 1)
                case 10:
                    batch.features.append(column)
                case _ if column.name == "flag":
                    column.bools = bytes([2] * rows)
    return batch


@given(fixed_batches())
def test_what_is_read_in_place_is_what_columns_read_and_mistakes_are_left_to_them(batch):
    request = read_write_request(wire.WriteFeaturesRequest(view="v", batch=batch).SerializeToString())
    assert request is not None
    found, expected = request.fixed_batch(FORMAT, CLOCK_US), judged(batch)
    if expected is None or "text" in expected[2]:
        assert found is None
    else:
        assert found is not None
        assert same(found.as_columns(), expected)


@given(fixed_batches(), st.integers(0, 1 << 32))
def test_a_changed_batch_is_read_in_place_as_protobuf_and_columns_read_it_or_not_at_all(batch, seed):
    chance = random.Random(seed)
    data = bytearray(wire.WriteFeaturesRequest(view="v", batch=batch).SerializeToString())
    for _ in range(chance.randrange(1, 4)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    request = read_write_request(bytes(data))
    found = request and request.fixed_batch(FORMAT, CLOCK_US)
    if found is not None:
        expected = judged(wire.WriteFeaturesRequest.FromString(bytes(data)).batch)
        assert expected is not None
        assert same(found.as_columns(), expected)


def counts_to_write(keys: np.ndarray, at_us: int, clock: WriteFormat):
    """A batch of one feature, which lies in its message."""
    batch = wire.WriteBatch(keys=[wire.Column(name="user", int64s=keys.astype("<i8").tobytes())])
    batch.features.add(name="count", int32s=np.full(len(keys), at_us, "<i4").tobytes())
    batch.event_timestamps_us = np.array([at_us], "<i8").tobytes()
    data = wire.WriteFeaturesRequest(view="v", batch=batch).SerializeToString()
    return read_write_request(data).fixed_batch(clock, CLOCK_US)


class Noted(Beginning):
    """Counts how often a write began."""

    times = 0

    def begin(self) -> int:
        self.times += 1
        return 0


class Failing(Beginning):
    def begin(self) -> int:
        raise ZeroDivisionError


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.integers(1, 9)), max_size=12))
def test_what_is_written_quickly_is_what_is_written(tmp_path, writes):
    with TemporaryDirectory(dir=tmp_path) as place, Store.open(Path(place), shards=2, limits=Limits(rows_max=50)) as store:
        tables = [store.create_table(view, USER) for view in (VIEW, VIEW.model_copy(update={"name": "other"}))]
        quick, slow = ((table, WriteFormat({"user": "int64s"}, {"count": "int32s"}, table.layout)) for table in tables)
        for keys, at_us in writes:
            outcomes = []
            for table, clock in (quick, slow):
                rows, beginning = counts_to_write(np.array(keys), at_us, clock), Noted()
                try:
                    if table is quick[0]:
                        found = table.quick_writer.write(table, rows, CLOCK_US, beginning)
                        assert beginning.times == (found is not None)
                    else:
                        found = None
                    outcomes.append(found or table.write_fixed(rows, now_us=CLOCK_US))
                except ResourceExhaustedError:
                    outcomes.append(None)
            assert outcomes[0] == outcomes[1]
        reads = [table.read([np.arange(61)], table.projection(["count"]), now_us=CLOCK_US).values for table in tables]
        assert bytes(reads[0]) == bytes(reads[1])


def test_what_would_wait_is_not_written_quickly(tmp_path):
    with Store.open(tmp_path) as store:
        table = store.create_table(VIEW, USER)
        clock = WriteFormat({"user": "int64s"}, {"count": "int32s"}, table.layout)
        few, many = counts_to_write(np.arange(10), 1, clock), counts_to_write(np.arange(10_000), 1, clock)
        table.write_fixed(few, now_us=CLOCK_US)  # which commits memory
        all_equal, write = (10, 0, 0, 10, 0), table.quick_writer.write
        assert write(table, few, CLOCK_US, Beginning()) == all_equal
        assert write(table, many, CLOCK_US, Beginning()) is None
        with table._write_lock:
            assert write(table, few, CLOCK_US, Beginning()) is None
        with pytest.raises(ZeroDivisionError):
            write(table, counts_to_write(np.arange(10), 2, clock), CLOCK_US, Failing())
        assert write(table, few, CLOCK_US, Beginning()) == all_equal  # nothing was written, and the table is free


def test_rows_read_before_the_schema_changed_go_by_the_new_one(tmp_path):
    batch = wire.WriteBatch(keys=[wire.Column(name="user", int64s=np.arange(3).tobytes())])
    batch.features.add(name="count", int32s=np.arange(3, dtype="<i4").tobytes())
    request = read_write_request(wire.WriteFeaturesRequest(view="v", batch=batch).SerializeToString())
    with Store.open(tmp_path) as store:
        table = store.create_table(VIEW, USER)
        format_before = WriteFormat({"user": "int64s"}, {"count": "int32s"}, table.layout)
        rows = request.fixed_batch(format_before, CLOCK_US)
        assert table.write_fixed(rows, now_us=CLOCK_US).inserted == 3
        only = {
            "name": "v",
            "entity": "user",
            "features": [{"name": "late", "type": "int64"}, {"name": "count", "type": "int32"}],
        }
        store.alter_table(FeatureView.model_validate(only), USER)
        assert table.write_fixed(rows, now_us=CLOCK_US).equal == 3
        found = table.read([np.arange(3)], table.projection(["count"]), now_us=CLOCK_US)
        assert np.frombuffer(found.values, "<i4").tolist() == [0, 1, 2]
        store.alter_table(FeatureView.model_validate({"name": "v", "entity": "user", "features": only["features"][:1]}), USER)
        with pytest.raises(NotFoundError, match="count"):
            table.write_fixed(rows, now_us=CLOCK_US)
