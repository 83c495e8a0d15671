"""The short way of GetFeatures is the long way: whatever the request, the same answer or the same refusal, byte for byte."""

import random

import numpy as np
import pytest
from featurestore_client.tables.columns import VarColumn
from featurestore_client.tables.lookups import ColumnSource

from featurestore.errors import FeatureStoreError
from featurestore.server import feature_methods
from featurestore.server.context import CallContext
from featurestore.server.methods import PREFIX
from featurestore.server.read_wire import AnswerFormat, KeyFormat, read_request
from featurestore.server.wire import featurestore_pb2 as public
from featurestore.server.wire import featurestore_raw_pb2 as wire

REQUESTS = 6_000
PLACES = ["", "a", "ORD", "x" * 200, "Zürich", "名前"]
TYPES = ["bool", "int32", "int64", "float32", "float64", "timestamp", "string", "bytes", "float32[3]"]
ROW_IDS = range(20)


def numbers(name: str, values) -> wire.Column:
    return wire.Column(name=name, int64s=np.array(values, "<i8").tobytes())


def texts(name: str, values: list[str]) -> wire.Column:
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, encoded)]).astype("<i4").tobytes()
    return wire.Column(name=name, data=b"".join(encoded), offsets=offsets)


@pytest.fixture
def store(make_local):
    """Views by a number, by a text, and by both; half of their rows are there, with nulls, some of them expired."""
    local = make_local(read_rows_max=500)
    local.call(
        public.ApplyRequest(
            definitions=public.Definitions(
                entities=[
                    {"name": "user", "join_keys": [{"name": "user_id", "type": "int64"}]},
                    {"name": "place", "join_keys": [{"name": "place", "type": "string"}]},
                    {
                        "name": "visit",
                        "join_keys": [{"name": "place", "type": "string"}, {"name": "user_id", "type": "int64"}],
                    },
                ],
                feature_views=[
                    {
                        "name": "users",
                        "entity": "user",
                        "ttl": "1h",
                        "features": [{"name": f"f{i}", "type": "float32"} for i in range(40)],
                    },
                    {"name": "places", "entity": "place", "features": [{"name": "size", "type": "float32"}]},
                    {"name": "visits", "entity": "visit", "features": [{"name": "count", "type": "float32"}]},
                    {
                        "name": "mixed",
                        "entity": "user",
                        "features": [{"name": f"m{i}", "type": kind} for i, kind in enumerate(TYPES)],
                    },
                ],
                feature_services=[
                    {
                        "name": "all",
                        "features": [
                            {"view": "users", "feature": "f0"},
                            {"view": "places", "feature": "size", "name": "here"},
                            {"view": "users", "feature": "f1"},
                            {"view": "visits", "feature": "count"},
                            {"view": "places", "feature": "size", "name": "there", "join_keys": {"place": "goal"}},
                        ],
                    }
                ],
            )
        )
    )
    chance = random.Random(1)
    for user in ROW_IDS:
        for view, keys, features in (
            (
                "users",
                [numbers("user_id", [user])],
                [wire.Column(name=f"f{i}", float32s=chance.randbytes(4)) for i in range(40)],
            ),
            ("places", [texts("place", [PLACES[user % 6]])], [wire.Column(name="size", float32s=chance.randbytes(4))]),
            (
                "visits",
                [texts("place", [PLACES[user % 6]]), numbers("user_id", [user])],
                [wire.Column(name="count", float32s=chance.randbytes(4))],
            ),
            (
                "mixed",
                [numbers("user_id", [user])],
                [wire.Column(name="m2", int64s=chance.randbytes(8)), texts("m6", ["Zürich"])],
            ),
        ):
            for feature in features:
                feature.validity = bytes([chance.randrange(2)])
            old = np.array([1 if chance.random() < 0.3 else 1 << 52], "<i8").tobytes()
            batch = wire.WriteBatch(keys=keys, features=features, event_timestamps_us=old)
            local.raw(PREFIX + "WriteFeatures", wire.WriteFeaturesRequest(view=view, batch=batch).SerializeToString())
    return local


def ordinary_request(chance: random.Random) -> wire.GetFeaturesRequest:
    rows = chance.choice([1, 1, 2, 30, 300])
    users = numbers("user_id", [chance.randrange(30) for _ in range(rows)])
    here = texts("place", [chance.choice(PLACES[:4]) for _ in range(rows)])
    there = texts("goal", [chance.choice(PLACES[:4]) for _ in range(rows)])
    options = {"event_timestamps": chance.random() < 0.3, "expired_values": chance.random() < 0.3}
    match chance.randrange(5):
        case 0:
            features, keys = {"features": [f"users:f{chance.randrange(20) * 2 + i}" for i in range(2)]}, [users]
        case 1:
            features, keys = {"features": ["places:size"]}, [here]
        case 2:
            features, keys = {"features": ["visits:count"]}, [users, here]
        case 3:
            features, keys = {"features": [f"mixed:m{i}" for i in range(len(TYPES))]}, [users]
        case _:
            features, keys = {"service": "all"}, [here, users, there]
    chance.shuffle(keys)
    selection = wire.FeatureSelection(**features, **options).SerializeToString()
    return wire.GetFeaturesRequest(selection=selection, keys=keys, known_schema_id=chance.choice([0, 1, (1 << 64) - 1]))


def changed_message(chance: random.Random, request: wire.GetFeaturesRequest) -> None:
    column = chance.choice(request.keys) if request.keys else request.keys.add()
    match chance.randrange(9):
        case 0:
            column.validity = b"\1"
        case 1:
            column.name = chance.choice(["", "user_id", "place", "goal", "plaçe"])
        case 2:
            column.int64s = chance.choice([b"", column.int64s[:8], column.int64s + b"1", bytes(8 * 501)])
        case 3:
            column.CopyFrom(texts(column.name, [chance.choice(PLACES) for _ in range(chance.choice([0, 1, 30]))]))
        case 4:
            offsets = np.array(chance.choice([[], [0], [1, 2], [0, 9], [0, 2, 1], [0, -1], [0, 0]]), "<i4").tobytes()
            column.CopyFrom(wire.Column(name=column.name, data=chance.choice([b"", b"ab", b"\xff"]), offsets=offsets))
        case 5:
            request.keys.add().CopyFrom(column)
        case 6:
            del request.keys[0]
        case 7:
            request.selection += wire.FeatureSelection(features=["users:f3"]).SerializeToString()
        case _:
            setattr(column, chance.choice(["float32s", "data", "offsets", "int64s"]), bytes(8))


def request_bytes(chance: random.Random) -> tuple[bytes, bool]:
    """A request, and whether it is an ordinary one."""
    request = ordinary_request(chance)
    kind = chance.random()
    if kind < 0.3:
        parts = [request.SerializeToString()]
        if chance.random() < 0.5:  # the fields of a message may come in any order
            parts = [wire.GetFeaturesRequest(keys=[column]).SerializeToString() for column in request.keys]
            parts.append(wire.GetFeaturesRequest(selection=request.selection).SerializeToString())
            if request.known_schema_id:
                parts.append(wire.GetFeaturesRequest(known_schema_id=request.known_schema_id).SerializeToString())
            chance.shuffle(parts)
        return b"".join(parts), True
    if kind < 0.7:
        changed_message(chance, request)
        return request.SerializeToString(), False
    data = bytearray(request.SerializeToString())
    place = chance.randrange(len(data) + 1)
    match chance.randrange(5):
        case 0:
            data[place : place + 1] = bytes([chance.randrange(256)])
        case 1:
            del data[place:]
        case 2:
            data[place:place] = chance.randbytes(chance.randrange(1, 5))
        case 3:
            data += ordinary_request(chance).SerializeToString()
        case _:
            data += chance.choice(
                [b"\x22\0", b"\x12\0", b"\x0a\x80\0", b"\x1a\1a", b"\x0b\x0c", b"\xa2\1\0", b"\x10\1", b"\x80"]
            )
    return bytes(data), False


def outcome(local, data: bytes) -> bytes | tuple[str, str]:
    try:
        return local.raw(PREFIX + "GetFeatures", data, CallContext())
    except FeatureStoreError as error:
        return error.code.value, error.message


def test_both_ways_give_the_same_answers_and_refusals(store, monkeypatch):
    chance = random.Random(20240301)
    answered = refused = 0
    for _ in range(REQUESTS):
        data, ordinary = request_bytes(chance)
        short = outcome(store, data)
        with monkeypatch.context() as patched:
            patched.setattr(feature_methods, "read_request", lambda data: None)
            assert short == outcome(store, data), data
        if isinstance(short, bytes):
            answered += 1
            assert wire.GetFeaturesResponse.FromString(short).SerializeToString() == short
        else:
            refused += 1
            assert not ordinary, (data, short)
    assert min(answered, refused) > REQUESTS // 5


def test_an_ordinary_request_takes_the_short_way(store, monkeypatch):
    def long_way(*_):
        raise AssertionError("the long way")

    monkeypatch.setattr(
        feature_methods, "parse", lambda kind, data: kind.FromString(data) if kind is wire.FeatureSelection else long_way()
    )
    chance = random.Random(2)
    for _ in range(300):
        data, ordinary = request_bytes(chance)
        if ordinary:
            assert isinstance(outcome(store, data), bytes)


def test_what_is_read_is_what_protobuf_reads():
    chance = random.Random(3)
    read = 0
    for _ in range(REQUESTS):
        data, ordinary = request_bytes(chance)
        request = read_request(data)
        if request is None:
            assert not ordinary
            continue
        message = wire.GetFeaturesRequest.FromString(data)
        assert (request.selection, request.known_schema_id) == (message.selection, message.known_schema_id)
        names = [column.name for column in message.keys]
        if len(set(names)) < len(names):
            continue  # of a plan they differ
        keys = request.keys(KeyFormat(names, [bool(column.offsets) for column in message.keys]))
        if keys is None:
            assert not ordinary
            continue
        read += 1
        for values, column in zip(keys, message.keys, strict=True):
            if isinstance(values, VarColumn):
                assert (values.data.tobytes(), values.offsets.tobytes()) == (column.data, column.offsets)
            else:
                assert values.tobytes() == column.int64s
    assert read > REQUESTS // 4


@pytest.mark.parametrize("rows", [1, 127, 128, 20_000])
@pytest.mark.parametrize("known", [False, True])
def test_an_answer_is_the_bytes_that_protobuf_writes(rows, known):
    schema = wire.AnswerSchema(views=["v" * 300]).SerializeToString()
    tail = {"row_statuses": bytes(rows), "nulls": b"\1" * rows, "event_timestamps_us": bytes(8 * rows)}
    for absent in ((), ("nulls",), tuple(tail)):
        rest = {name: None if name in absent else value for name, value in tail.items()}
        expected = wire.GetFeaturesResponse(rows=rows, schema_id=7, schema=b"" if known else schema, **rest)
        expected.matrix.float32s = random.Random(rows).randbytes(rows * 200)
        writer = AnswerFormat(7, schema, ["float32s"] * 50, 200, [ColumnSource(0, False, 4 * i, 4) for i in range(50)]).begin(
            rows, 7 if known else 8
        )
        memoryview(writer)[:] = expected.matrix.float32s
        assert writer.finish((), *rest.values()) == expected.SerializeToString()

        expected.ClearField("matrix")
        values = random.Random(rows).randbytes(12 * rows)
        strings = [(b"", bytes(4 * (rows + 1))), (b"text", bytes(4 * (rows + 1)))]
        expected.columns.add().float64s = values[4 * rows :]
        expected.columns.add().int32s = values[: 4 * rows]
        for data, offsets in strings:
            expected.columns.add(data=data, offsets=offsets)
        blocks = [(None, strings), (values, [])]
        sources = [ColumnSource(1, False, 4, 8), ColumnSource(1, False, 0, 4)]
        sources += [ColumnSource(0, True, 0, 0), ColumnSource(0, True, 1, 0)]
        writer = AnswerFormat(7, schema, ["float64s", "int32s", "data", "data"], 0, sources).begin(rows, 7 if known else 8)
        assert writer.finish(blocks, *rest.values()) == expected.SerializeToString()


def test_an_answer_is_not_given_out_while_it_can_be_written_to():
    writer = AnswerFormat(7, b"schema", ["float32s"], 4, [ColumnSource(0, False, 0, 4)]).begin(1, 7)
    place = memoryview(writer)
    with pytest.raises(AssertionError):
        writer.finish((), None, None, None)
    place.release()
    writer.finish((), None, None, None)
    with pytest.raises(AssertionError):
        writer.finish((), None, None, None)
    with pytest.raises(AssertionError):
        memoryview(writer)
