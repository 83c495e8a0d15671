"""The walk over a write request is protobuf's reading of it, or none: whatever the bytes, the same fields or None."""

import random

import numpy as np
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from featurestore.server.wire import featurestore_raw_pb2 as wire
from featurestore.server.write_wire import read_ingest_request, read_write_request

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

    batch = request.batch
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
    if found is not None:
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
    (feature,), (key,) = found.batch.features, found.batch.keys
    assert isinstance(feature.float32s, memoryview)
    assert feature.float32s.obj is data
    assert feature.float32s == values
    assert isinstance(key.int64s, bytes)
    assert key.int64s == keys
