"""GetFeatures, WriteFeatures, DeleteFeatures and IngestFeatures by their messages, as any gRPC client would send them."""

import time

import numpy as np
import pytest

from featurestore.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
)
from featurestore.server.context import CallContext
from featurestore.server.methods import PREFIX
from featurestore.server.wire import featurestore_pb2 as public

PRESENT, NULL, NOT_FOUND, EXPIRED = range(4)
SECOND_US = 1_000_000


def text_column(name: str, values: list[str | bytes], **more) -> public.Column:
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    offsets = np.cumsum([0, *map(len, encoded)])
    return public.Column(name=name, data=b"".join(encoded), offsets=offsets.tolist(), **more)


def values_of(column: public.Column) -> list[bytes]:
    return [column.data[start:end] for start, end in zip(column.offsets, column.offsets[1:], strict=False)]


DEFINITIONS = public.Definitions(
    entities=[
        {"name": "user", "join_keys": [{"name": "user_id", "type": "int64"}]},
        {"name": "airport", "join_keys": [{"name": "airport", "type": "string"}]},
        {"name": "visit", "join_keys": [{"name": "user_id", "type": "int64"}, {"name": "airport", "type": "string"}]},
    ],
    feature_views=[
        {
            "name": "users",
            "entity": "user",
            "features": [{"name": name, "type": "float32"} for name in ("a", "b", "c")] + [{"name": "v", "type": "float32[4]"}],
        },
        {
            "name": "mixed",
            "entity": "user",
            "ttl": "1h",
            "features": [
                {"name": "flag", "type": "bool"},
                {"name": "small", "type": "int32"},
                {"name": "big", "type": "int64"},
                {"name": "single", "type": "float32"},
                {"name": "double", "type": "float64"},
                {"name": "when", "type": "timestamp"},
                {"name": "text", "type": "string"},
                {"name": "raw", "type": "bytes"},
                {"name": "vector", "type": "int64[3]"},
            ],
        },
        {
            "name": "airports",
            "entity": "airport",
            "features": [{"name": "delay", "type": "float32"}, {"name": "load", "type": "float32"}],
        },
        {"name": "visits", "entity": "visit", "features": [{"name": "count", "type": "int64"}]},
    ],
    feature_services=[
        {
            "name": "trip",
            "features": [
                {"view": "users", "feature": "a"},
                {"view": "airports", "feature": "delay", "name": "origin_delay", "join_keys": {"airport": "origin"}},
                {"view": "users", "feature": "b"},
                {"view": "airports", "feature": "delay", "name": "dest_delay", "join_keys": {"airport": "dest"}},
                {"view": "airports", "feature": "load", "name": "dest_load", "join_keys": {"airport": "dest"}},
            ],
        }
    ],
)


@pytest.fixture
def store(local):
    local.call(public.ApplyRequest(definitions=DEFINITIONS))
    return local


def selection(*features: str, **more) -> public.FeatureSelection:
    return public.FeatureSelection(features=features, **more)


def users(*keys: int) -> public.Column:
    return public.Column(name="user_id", int64s=keys)


def write_users(store, keys, at_us=None, **columns):
    features = [public.Column(name=name, float32s=values) for name, values in columns.items()]
    batch = public.WriteBatch(keys=[users(*keys)], features=features, event_timestamps_us=[] if at_us is None else [at_us])
    return store.call(public.WriteFeaturesRequest(view="users", batch=batch)).counts


# ------------------------------------------------------------------------------------------------------------------- reads


def test_features_of_one_type_come_as_one_matrix(store):
    write_users(store, [1, 2], a=[1, 2], b=[3, 4], v=range(8))
    answer = store.call(
        public.GetFeaturesRequest(selection=selection("users:b", "users:v", "users:a as first"), keys=[users(2, 1)])
    )
    assert answer.rows == 2
    assert list(answer.matrix.float32s) == [4, 4, 5, 6, 7, 2, 3, 0, 1, 2, 3, 1]
    assert not answer.columns
    assert not answer.row_statuses
    assert not answer.nulls
    assert [(feature.name, feature.type, feature.view_index) for feature in answer.schema.features] == [
        ("b", "float32", 0),
        ("v", "float32[4]", 0),
        ("first", "float32", 0),
    ]
    assert list(answer.schema.views) == ["users"]
    assert [(key.name, key.type) for key in answer.schema.join_keys] == [("user_id", "int64")]


def test_rows_that_are_not_there_are_nan_and_not_found(store):
    write_users(store, [1], a=[1])
    answer = store.call(public.GetFeaturesRequest(selection=selection("users:a", "users:b"), keys=[users(9, 1)]))
    np.testing.assert_array_equal(answer.matrix.float32s, [np.nan, np.nan, 1, np.nan])
    assert list(answer.row_statuses) == [NOT_FOUND, PRESENT]
    assert answer.nulls == bytes([0b00, 0b10])


def test_mixed_types_come_as_columns(store):
    now = time.time_ns() // 1000
    columns = [
        public.Column(name="flag", bools=[True, False]),
        public.Column(name="small", int32s=[-5, 6]),
        public.Column(name="big", int64s=[-(1 << 62), 7]),
        public.Column(name="single", float32s=[0.5, 1.5]),
        public.Column(name="double", float64s=[0.1, 1e300]),
        public.Column(name="when", int64s=[1, -2]),
        text_column("text", ["Zürich", ""], validity=b"\x01"),
        text_column("raw", [b"\xff\x00", b"z"]),
        public.Column(name="vector", int64s=range(6)),
    ]
    batch = public.WriteBatch(keys=[users(1, 2)], features=columns, event_timestamps_us=[now])
    assert store.call(public.WriteFeaturesRequest(view="mixed", batch=batch)).counts.inserted == 2
    names = ["text", "flag", "small", "big", "single", "double", "when", "raw", "vector"]
    request = public.GetFeaturesRequest(
        selection=selection(*(f"mixed:{name}" for name in names), event_timestamps=True), keys=[users(2, 1, 3)]
    )
    answer = store.call(request)
    by_name = dict(zip(names, answer.columns, strict=True))
    assert not answer.HasField("matrix")
    assert all(not column.name for column in answer.columns)
    assert values_of(by_name["text"]) == [b"", "Zürich".encode(), b""]
    assert values_of(by_name["raw"]) == [b"z", b"\xff\x00", b""]
    assert list(by_name["flag"].bools) == [False, True, False]
    assert list(by_name["small"].int32s) == [6, -5, 0]
    assert list(by_name["big"].int64s) == [7, -(1 << 62), 0]
    np.testing.assert_array_equal(by_name["single"].float32s, [1.5, 0.5, np.nan])
    np.testing.assert_array_equal(by_name["double"].float64s, [1e300, 0.1, np.nan])
    assert list(by_name["when"].int64s) == [-2, 1, 0]
    assert list(by_name["vector"].int64s) == [3, 4, 5, 0, 1, 2, 0, 0, 0]
    assert list(answer.row_statuses) == [PRESENT, PRESENT, NOT_FOUND]
    assert answer.nulls == bytes([1, 0, 0, 0, 0, 0])
    assert list(answer.event_timestamps_us) == [now, now, 0]


def write_airports(store):
    keys = [text_column("airport", ["JFK", "LAX", "SFO"])]
    features = [public.Column(name="delay", float32s=[1, 2, 3]), public.Column(name="load", float32s=[10, 20, 30])]
    store.call(public.WriteFeaturesRequest(view="airports", batch=public.WriteBatch(keys=keys, features=features)))


def test_a_service_reads_several_views_one_of_them_twice_into_one_matrix(store):
    write_users(store, [1, 2], a=[0.5, 1.5], b=[7, 8])
    write_airports(store)
    keys = [text_column("dest", ["LAX", "XXX"]), users(2, 1), text_column("origin", ["SFO", "JFK"])]
    request = public.GetFeaturesRequest(selection=public.FeatureSelection(service="trip", event_timestamps=True), keys=keys)
    answer = store.call(request)
    np.testing.assert_array_equal(np.reshape(answer.matrix.float32s, (2, 5)), [[1.5, 3, 8, 2, 20], [0.5, 1, 7, np.nan, np.nan]])
    assert list(answer.schema.views) == ["users", "airports", "airports"]
    assert [key.name for key in answer.schema.join_keys] == ["user_id", "origin", "dest"]
    assert [feature.view_index for feature in answer.schema.features] == [0, 1, 0, 2, 2]
    assert list(answer.row_statuses) == [PRESENT, PRESENT, PRESENT, PRESENT, PRESENT, NOT_FOUND]
    assert len(answer.event_timestamps_us) == 6
    assert answer.event_timestamps_us[5] == 0


def test_several_views_of_mixed_types_come_as_columns_with_their_nulls(store):
    write_users(store, [1], a=[0.5])
    keys = [users(1), text_column("airport", ["JFK"])]
    features = [public.Column(name="count", int64s=[42])]
    store.call(public.WriteFeaturesRequest(view="visits", batch=public.WriteBatch(keys=keys, features=features)))
    answer = store.call(public.GetFeaturesRequest(selection=selection("users:b", "visits:count", "users:a"), keys=keys))
    assert [list(column.float32s) or list(column.int64s) for column in answer.columns][1:] == [[42], [0.5]]
    assert answer.nulls == bytes([0b001])


def test_one_key_stands_for_all_rows(store):
    write_users(store, [1], a=[1], b=[2])
    write_airports(store)
    keys = [users(1), text_column("origin", ["SFO", "JFK", "LAX"]), text_column("dest", ["LAX"])]
    answer = store.call(public.GetFeaturesRequest(selection=public.FeatureSelection(service="trip"), keys=keys))
    assert np.reshape(answer.matrix.float32s, (3, 5)).tolist() == [[1, 3, 2, 2, 20], [1, 1, 2, 2, 20], [1, 2, 2, 2, 20]]


def test_schema_is_left_out_once_known(store):
    request = public.GetFeaturesRequest(selection=selection("users:a"), keys=[users(1)])
    first = store.call(request)
    assert first.HasField("schema")
    request.known_schema_id = first.schema_id
    again = store.call(request)
    assert again.schema_id == first.schema_id != 0
    assert not again.HasField("schema")
    request.known_schema_id += 1
    assert store.call(request).HasField("schema")


def test_expired_rows_hide_their_values_unless_asked(store):
    old = time.time_ns() // 1000 - 2 * 3600 * SECOND_US
    batch = public.WriteBatch(keys=[users(1)], features=[public.Column(name="single", float32s=[5])], event_timestamps_us=[old])
    store.call(public.WriteFeaturesRequest(view="mixed", batch=batch))
    answer = store.call(public.GetFeaturesRequest(selection=selection("mixed:single"), keys=[users(1)]))
    assert (list(answer.row_statuses), np.isnan(answer.matrix.float32s[0])) == ([EXPIRED], True)
    answer = store.call(public.GetFeaturesRequest(selection=selection("mixed:single", expired_values=True), keys=[users(1)]))
    assert (list(answer.row_statuses), answer.matrix.float32s[0]) == ([EXPIRED], 5)


def test_a_large_answer_is_made_beside_the_loop_and_is_the_same(store):
    keys = list(range(10_000))
    write_users(store, keys, a=keys, b=keys, v=range(40_000))
    request = public.GetFeaturesRequest(
        selection=selection(*(f"users:v as v{index}" for index in range(30))), keys=[users(*keys)]
    )
    plan_rows = np.tile(np.arange(40_000, dtype="f4").reshape(10_000, 4), 30)
    answer = store.call(request)
    assert np.array_equal(np.reshape(answer.matrix.float32s, (10_000, 120)), plan_rows)


# ------------------------------------------------------------------------------------------------------------------ writes


def test_older_event_never_overwrites_newer(store):
    assert write_users(store, [1], at_us=100, a=[1]).inserted == 1
    counts = write_users(store, [1, 2], at_us=50, a=[9, 9])
    assert (counts.rows, counts.inserted, counts.older) == (2, 1, 1)
    assert write_users(store, [1], at_us=100, a=[3]).equal == 1
    assert write_users(store, [1], at_us=101, b=[4]).updated == 1
    answer = store.call(public.GetFeaturesRequest(selection=selection("users:a", "users:b"), keys=[users(1)]))
    assert list(answer.matrix.float32s) == [3, 4]


def test_delete_counts_and_holds_off_older_events(store):
    write_users(store, [1, 2], at_us=100, a=[1, 2])
    request = public.DeleteFeaturesRequest(view="users", keys=[users(1, 2, 3)], event_timestamps_us=[200, 50, 200])
    counts = store.call(request)
    assert (counts.deleted, counts.absent, counts.older) == (1, 1, 1)
    assert write_users(store, [1, 3], at_us=150, a=[1, 1]).older == 2
    answer = store.call(public.GetFeaturesRequest(selection=selection("users:a"), keys=[users(1, 2, 3)]))
    assert list(answer.row_statuses) == [NOT_FOUND, PRESENT, NOT_FOUND]


def test_an_empty_batch_is_no_mistake(store):
    request = public.WriteFeaturesRequest(view="users", batch=public.WriteBatch(keys=[public.Column(name="user_id")]))
    assert store.call(request).counts.rows == 0
    assert store.call(public.DeleteFeaturesRequest(view="users", keys=[public.Column(name="user_id")])).deleted == 0


def test_a_large_write_goes_beside_the_loop(store):
    count = 20_000
    assert write_users(store, range(count), a=range(count)).inserted == count


def ingest_message(sequence, keys, **more) -> bytes:
    batch = public.WriteBatch(keys=[users(*keys)], features=[public.Column(name="a", float32s=keys)])
    return public.IngestFeaturesRequest(sequence=sequence, batch=batch, **more).SerializeToString()


def test_ingest_acknowledges_each_batch_in_order_with_counts_so_far(store):
    messages = [ingest_message(5, [1, 2], view="users"), ingest_message(6, [2, 3]), ingest_message(9, [4], view="users")]
    answers = [public.IngestFeaturesResponse.FromString(data) for data in store.stream(PREFIX + "IngestFeatures", messages)]
    assert [(answer.sequence, answer.counts.rows) for answer in answers] == [(5, 2), (6, 4), (9, 5)]


def test_ingest_keeps_what_was_acknowledged_before_a_mistake(store):
    messages = [ingest_message(1, [1], view="users"), ingest_message(2, [2], view="airports")]
    with pytest.raises(InvalidArgumentError, match=r"view: got .default.airports., expected default.users"):
        store.stream(PREFIX + "IngestFeatures", messages)
    with pytest.raises(InvalidArgumentError, match="sequence: got 3, expected above 3"):
        store.stream(PREFIX + "IngestFeatures", [ingest_message(3, [1], view="users"), ingest_message(3, [2])])
    answer = store.call(public.GetFeaturesRequest(selection=selection("users:a"), keys=[users(1, 2)]))
    assert list(answer.row_statuses) == [PRESENT, NOT_FOUND]


# ---------------------------------------------------------------------------------------------------------------- mistakes


def get(*keys: public.Column, features=("users:a",), **more) -> public.GetFeaturesRequest:
    return public.GetFeaturesRequest(selection=selection(*features, **more), keys=keys)


def write(view: str, *keys: public.Column, features=(), times=()) -> public.WriteFeaturesRequest:
    batch = public.WriteBatch(keys=keys, features=features, event_timestamps_us=times)
    return public.WriteFeaturesRequest(view=view, batch=batch)


KEY = users(1)
MISTAKES = {
    "nothing selected": (
        get(KEY, features=()),
        InvalidArgumentError,
        "selection: got 'neither', expected either service or features",
    ),
    "both selected": (get(KEY, service="trip"), InvalidArgumentError, "selection: got 'both'"),
    "reference": (
        get(KEY, features=["users.a"]),
        InvalidArgumentError,
        "selection.features[0]: got 'users.a', expected 'view:feature' or 'view:feature as name'",
    ),
    "names twice": (
        get(KEY, features=["users:a", "users:b as a"]),
        InvalidArgumentError,
        "selection.features[1]: got 'users:b as a'",
    ),
    "unknown view": (
        get(KEY, features=["user:a"]),
        NotFoundError,
        "feature view 'user' does not exist: expected one like 'users'",
    ),
    "unknown feature": (
        get(KEY, features=["users:d"]),
        NotFoundError,
        "feature of view 'users' 'd' does not exist: expected one of",
    ),
    "unknown project": (
        get(KEY, project="defolt"),
        NotFoundError,
        "project 'defolt' does not exist: expected one like 'default'",
    ),
    "long project": (get(KEY, project="p" * 100_000), InvalidArgumentError, "selection.project: got 'ppp"),
    "no key": (
        get(),
        InvalidArgumentError,
        "keys: got \"no column 'user_id'\", expected one column for each join key: user_id",
    ),
    "unknown key": (
        get(KEY, users(1), public.Column(name="usr")),
        InvalidArgumentError,
        "keys.user_id: got 'the column twice'",
    ),
    "misnamed key": (get(public.Column(name="usr_id", int64s=[1])), InvalidArgumentError, "a join key: one like 'user_id'"),
    "NUL in a name": (get(public.Column(name="user_id\0", int64s=[1])), InvalidArgumentError, r"keys: got 'user_id\x00'"),
    "mistyped key": (
        get(public.Column(name="user_id", float64s=[1])),
        InvalidArgumentError,
        "keys.user_id: got 'values in float64s', expected int64 values, in int64s",
    ),
    "null key": (
        get(public.Column(name="user_id", int64s=[1], validity=b"\0")),
        InvalidArgumentError,
        "keys.user_id.validity: got 'a validity bitmap', expected none",
    ),
    "no rows": (
        get(public.Column(name="user_id")),
        InvalidArgumentError,
        "keys.user_id: got '0 values', expected at least one",
    ),
    "keys of different lengths": (
        get(users(1, 2, 3), text_column("airport", ["a", "b"]), features=["visits:count"]),
        InvalidArgumentError,
        "keys.airport: got '2 values', expected 3, as in the longest key column",
    ),
    "unknown written view": (
        write("usrs", KEY),
        NotFoundError,
        "feature view 'usrs' does not exist: expected one like 'users'",
    ),
    "no view": (write("", KEY), InvalidArgumentError, "view: got '', expected the name of a feature view"),
    "unknown written feature": (
        write("users", KEY, features=[public.Column(name="aa", float32s=[1])]),
        InvalidArgumentError,
        "batch.features: got 'aa', expected a feature of the view: one ",
    ),
    "type of a feature": (
        write("users", KEY, features=[public.Column(name="a", float64s=[1])]),
        InvalidArgumentError,
        "batch.features.a: got 'values in float64s', expected float32 values, in float32s",
    ),
    "two arrays": (
        write("users", KEY, features=[public.Column(name="a", float32s=[1], bools=[True])]),
        InvalidArgumentError,
        "batch.features.a: got 'values in bools'",
    ),
    "count of values": (
        write("users", KEY, features=[public.Column(name="a", float32s=[1, 2])]),
        InvalidArgumentError,
        "batch.features.a: got '2 values', expected 1, as in the key columns",
    ),
    "length of a vector": (
        write("users", KEY, features=[public.Column(name="v", float32s=[1, 2, 3])]),
        InvalidArgumentError,
        "batch.features.v.float32s: got '12 bytes', expected a whole number of float32[4] values of 16 bytes",
    ),
    "length of validity": (
        write("users", KEY, features=[public.Column(name="a", float32s=[1], validity=b"\1\1")]),
        InvalidArgumentError,
        "batch.features.a.validity: got '2 bytes', expected 1",
    ),
    "feature twice": (
        write("users", KEY, features=[public.Column(name="a", float32s=[1])] * 2),
        InvalidArgumentError,
        "batch.features.a: got 'the column twice'",
    ),
    "count of times": (
        write("users", users(1, 2, 3), times=[1, 2]),
        InvalidArgumentError,
        "batch.event_timestamps_us: got '16 bytes', expected 3 times of 8 bytes",
    ),
    "no offsets": (
        write("airports", public.Column(name="airport", data=b"JFK")),
        InvalidArgumentError,
        "batch.keys.airport.offsets: got 'none', expected one more offset than there are values",
    ),
    "first offset": (
        write("airports", public.Column(name="airport", data=b"JFK", offsets=[1, 3])),
        InvalidArgumentError,
        "batch.keys.airport.offsets[0]: got 1, expected 0",
    ),
    "falling offsets": (
        write("airports", public.Column(name="airport", data=b"JFK", offsets=[0, 3, 2, 3])),
        InvalidArgumentError,
        "batch.keys.airport.offsets[2]: got 2, expected at least 3",
    ),
    "offsets beyond the data": (
        write("airports", public.Column(name="airport", data=b"JFK", offsets=[0, 4])),
        InvalidArgumentError,
        "batch.keys.airport.offsets[1]: got 4, expected 3, the length of data",
    ),
    "not UTF-8": (
        write("airports", text_column("airport", ["JFK", b"\xff\xfe"])),
        InvalidArgumentError,
        r"batch.keys.airport[1]: got b'\xff\xfe', expected UTF-8 text",
    ),
    "a character cut in two": (
        write("airports", public.Column(name="airport", data="ü".encode(), offsets=[0, 1, 2])),
        InvalidArgumentError,
        "batch.keys.airport[1]: got",
    ),
    "key length": (write("airports", text_column("airport", ["x" * 2_000])), ResourceExhaustedError, "at most 1024"),
    "value length": (
        write("mixed", KEY, features=[text_column("raw", [b"x" * (1 << 21)])]),
        ResourceExhaustedError,
        "at most 1048576",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_value_and_what_was_expected(store, case):
    request, error_class, text = MISTAKES[case]
    with pytest.raises(error_class) as raised:
        store.call(request)
    assert text in raised.value.message
    assert raised.value.violations
    tables = store.call(public.ListTablesRequest()).tables
    assert [table.rows for table in tables] == [0, 0, 0, 0]


def test_bytes_that_are_no_message_are_refused(store):
    for name in ("GetFeatures", "WriteFeatures", "DeleteFeatures", "Apply", "ListTables"):
        with pytest.raises(InvalidArgumentError, match=rf"request: got .*expected a featurestore.v1.{name}Request message"):
            store.raw(PREFIX + name, b"\xff\xff")


def test_bools_are_0_or_1(store):
    column = bytes([0x0A, 4]) + b"flag" + bytes([0x12, 1, 2])  # as no library sends it
    keys = users(1).SerializeToString()
    batch = bytes([0x0A, len(keys)]) + keys + bytes([0x12, len(column)]) + column
    data = bytes([0x12, 5]) + b"mixed" + bytes([0x1A, len(batch)]) + batch
    with pytest.raises(InvalidArgumentError, match=r"batch.features.flag.bools: got 'a byte 2', expected bytes 0 and 1"):
        store.raw(PREFIX + "WriteFeatures", data)


def test_rows_of_a_read_are_limited(make_local):
    local = make_local(read_rows_max=3, read_bytes_max=40)
    local.call(public.ApplyRequest(definitions=DEFINITIONS))
    with pytest.raises(ResourceExhaustedError, match="read_rows_max: got 4, at most 3"):
        local.call(get(users(1, 2, 3, 4)))
    with pytest.raises(ResourceExhaustedError, match="read_bytes_max: got 48, at most 40"):
        local.call(get(users(1, 2, 3), features=["users:v"]))


def test_rows_of_a_write_are_limited_before_anything_is_written(make_local):
    local = make_local(batch_rows_max=3)
    local.call(public.ApplyRequest(definitions=DEFINITIONS))
    with pytest.raises(ResourceExhaustedError, match="got 4, at most 3"):
        local.call(write("users", users(1, 2, 3, 4)))
    assert [table.rows for table in local.call(public.ListTablesRequest()).tables] == [0, 0, 0, 0]


def test_memory_that_is_too_small_is_told_before_anything_is_written(make_local):
    local = make_local(memory_bytes_max=2 << 20)
    local.call(
        public.ApplyRequest(
            definitions=public.Definitions(entities=DEFINITIONS.entities[:1], feature_views=DEFINITIONS.feature_views[:1])
        )
    )
    with pytest.raises(ResourceExhaustedError, match=r"max_memory: the tables take .* raise --max-memory"):
        write_users(local, range(100_000), a=range(100_000))
    assert local.call(public.ListTablesRequest()).tables[0].rows == 0
    write_users(local, [1], a=[1])


def test_a_key_that_stands_for_many_rows_cannot_take_all_memory(make_local):
    local = make_local(read_rows_max=1_000_000, key_bytes_max=1 << 20)
    local.call(public.ApplyRequest(definitions=DEFINITIONS))
    with pytest.raises(ResourceExhaustedError, match=r"bytes of keys.airport: got 100000000, at most 67108864"):
        local.call(get(users(*range(1_000)), text_column("airport", ["x" * 100_000]), features=["visits:count"]))


def test_nothing_is_done_for_a_caller_who_has_gone(store):
    gone = CallContext(deadline=time.monotonic() - 1)
    for request in (
        get(KEY),
        write("users", KEY),
        public.ApplyRequest(definitions=DEFINITIONS, prune=True),
        public.ListTablesRequest(),
    ):
        with pytest.raises(DeadlineExceededError, match="the deadline had passed before the work was begun"):
            store.call(request, gone)
    assert [table.rows for table in store.call(public.ListTablesRequest()).tables] == [0, 0, 0, 0]


# --------------------------------------------------------------------------------------------------- changes of definitions


def test_a_change_of_definitions_is_seen_by_the_next_read(store):
    write_users(store, [1], a=[1], b=[2])
    request = public.GetFeaturesRequest(selection=public.FeatureSelection(service="s"), keys=[users(1)])
    definitions = public.Definitions(feature_services=[{"name": "s", "features": [{"view": "users", "feature": "a"}]}])
    with pytest.raises(NotFoundError):
        store.call(request)
    store.call(public.ApplyRequest(definitions=definitions))
    first = store.call(request)
    assert list(first.matrix.float32s) == [1]
    definitions.feature_services[0].features.add(view="users", feature="b")
    store.call(public.ApplyRequest(definitions=definitions))
    request.known_schema_id = first.schema_id
    second = store.call(request)
    assert list(second.matrix.float32s) == [1, 2]
    assert second.schema_id != first.schema_id
    assert [feature.name for feature in second.schema.features] == ["a", "b"]


def test_a_feature_is_added_and_dropped_under_live_rows(store):
    write_users(store, [1], a=[1], b=[2])
    definitions = public.Definitions()
    definitions.CopyFrom(DEFINITIONS)
    del definitions.feature_services[:]
    view = definitions.feature_views[0]
    del view.features[1:]
    view.features.add(name="new", type="float32")
    with pytest.raises((InvalidArgumentError, FailedPreconditionError), match="trip"):  # the service still reads b
        store.call(public.ApplyRequest(definitions=definitions))
    response = store.call(public.ApplyRequest(definitions=definitions, prune=True))
    assert {(change.kind, change.name): change.action for change in response.changes} == {
        ("feature view", "users"): public.Change.UPDATE,
        ("feature service", "trip"): public.Change.DELETE,
    }
    answer = store.call(get(KEY, features=["users:new", "users:a"]))
    np.testing.assert_array_equal(answer.matrix.float32s, [np.nan, 1])
    assert answer.nulls == b"\x01"
    with pytest.raises(NotFoundError):
        store.call(get(KEY, features=["users:b"]))
    assert write_users(store, [1], new=[5]).rows == 1
    with pytest.raises(InvalidArgumentError):
        write_users(store, [1], b=[5])


def test_dry_run_changes_nothing(store):
    request = public.ApplyRequest(
        definitions=public.Definitions(feature_views=[DEFINITIONS.feature_views[0]]), dry_run=True, prune=True
    )
    with pytest.raises((InvalidArgumentError, FailedPreconditionError, NotFoundError)):
        store.call(request)  # the entity would be gone
    request.definitions.entities.append(DEFINITIONS.entities[0])
    response = store.call(request)
    assert not response.applied
    assert response.changes
    assert len(store.call(public.ListTablesRequest()).tables) == 4


def test_a_change_of_type_is_refused_with_what_to_do_instead(store):
    definitions = public.Definitions(feature_views=[DEFINITIONS.feature_views[0]])
    definitions.feature_views[0].features[0].type = "float64"
    with pytest.raises(FailedPreconditionError, match=r"does not change on live data: add a feature of another name"):
        store.call(public.ApplyRequest(definitions=definitions))


def test_lists_and_descriptions_give_back_what_was_applied(store):
    assert [view.name for view in store.call(public.ListFeatureViewsRequest()).feature_views] == [
        "airports",
        "mixed",
        "users",
        "visits",
    ]
    assert [entity.name for entity in store.call(public.ListEntitiesRequest(project="default")).entities] == [
        "airport",
        "user",
        "visit",
    ]
    assert [service.name for service in store.call(public.ListFeatureServicesRequest()).feature_services] == ["trip"]
    assert [project.name for project in store.call(public.ListProjectsRequest()).projects] == ["default"]
    with pytest.raises(NotFoundError, match="project 'other' does not exist"):
        store.call(public.ListTablesRequest(project="other"))
    described = store.call(public.DescribeFeatureViewRequest(name="users"))
    assert [feature.type for feature in described.feature_view.features] == ["float32", "float32", "float32", "float32[4]"]
    assert described.feature_view.project == "default"
    assert list(described.feature_services) == ["trip"]
    assert described.table.shards == 4
    service = store.call(public.DescribeFeatureServiceRequest(name="trip"))
    assert service.feature_service.features[1].join_keys == {"airport": "origin"}
    assert [key.name for key in service.schema.join_keys] == ["user_id", "origin", "dest"]
    assert list(store.call(public.DescribeEntityRequest(name="user")).feature_views) == ["mixed", "users"]
    again = public.Definitions(
        entities=[store.call(public.DescribeEntityRequest(name="user")).entity],
        feature_views=[described.feature_view],
        feature_services=[service.feature_service],
    )
    assert not store.call(public.ApplyRequest(definitions=again)).changes


@pytest.mark.parametrize("event_time_us", [0, -1, 1 << 62, -(1 << 62)])
def test_event_times_come_back_as_written(store, event_time_us):
    write_users(store, [1], at_us=event_time_us, a=[1])
    answer = store.call(get(KEY, event_timestamps=True))
    assert list(answer.event_timestamps_us) == [event_time_us]


# ------------------------------------------------------------------------------------------------------ without a journal


def test_without_a_journal_there_is_nothing_to_back_up(local):
    with pytest.raises(FailedPreconditionError, match=r"the store keeps no journal, .*: open it by `featurestore serve` or"):
        local.call(public.TakeSnapshotRequest())
    with pytest.raises(FailedPreconditionError, match="the store keeps no journal"):
        local.stream(PREFIX + "Backup", [b""])
    assert not local.call(public.GetStatusRequest()).HasField("recovered")
