"""The ordinary GetFeatures and WriteFeatures: what comes of them is what the general way makes of the same bytes."""

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.errors import DeadlineExceededError, FeatureStoreError, NotFoundError
from featurestore.server.context import CallContext
from featurestore.server.feature_methods import FeatureReads, FeatureWrites
from featurestore.server.quick_reads import QuickReads
from featurestore.server.quick_writes import QuickWrites
from featurestore.server.wire import featurestore_pb2 as public
from featurestore.service import Loads
from tests.server.conftest import LocalMethods

SECOND_US = 1_000_000
DEFINITIONS = public.Definitions(
    entities=[
        {"name": "user", "join_keys": [{"name": "user_id", "type": "int64"}]},
        {"name": "page", "join_keys": [{"name": "path", "type": "string"}]},
    ],
    feature_views=[
        {
            "name": "users",
            "entity": "user",
            "ttl": "1h",
            "features": [{"name": name, "type": "float32"} for name in ("a", "b")] + [{"name": "text", "type": "string"}],
        },
        {"name": "counts", "entity": "user", "features": [{"name": "n", "type": "int64"}, {"name": "seen", "type": "bool"}]},
        {"name": "pages", "entity": "page", "features": [{"name": "views", "type": "int64"}]},
    ],
)
ORDINARY = (("users:a", "users:b"), ("users:b",), ("users:b as x", "users:a"), ("counts:n",))
OTHERS = (("users:text",), ("counts:n", "counts:seen"), ("users:a", "counts:n"), ("pages:views",), ("users:c",), ())
KEYS = st.lists(st.integers(-1, 12), max_size=6)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    local = LocalMethods(tmp_path_factory.mktemp("store") / "data")
    local.call(public.ApplyRequest(definitions=DEFINITIONS))
    hours_us = np.array([0, 2 * 3_600 * SECOND_US])  # the second half has expired
    events = time.time_ns() // 1_000 - np.repeat(hours_us, 5)
    columns = [
        public.Column(name="a", float32s=range(10)),
        public.Column(name="b", float32s=range(10), validity=bytes([0b1010_1010, 0b11])),
    ]
    batch = public.WriteBatch(keys=[users(range(10))], features=columns, event_timestamps_us=events.tolist())
    local.call(public.WriteFeaturesRequest(view="users", batch=batch))
    batch = public.WriteBatch(keys=[users(range(10))], features=[public.Column(name="n", int64s=range(10))])
    local.call(public.WriteFeaturesRequest(view="counts", batch=batch))
    yield local
    local.close()


def users(keys) -> public.Column:
    return public.Column(name="user_id", int64s=keys)


def outcome(local, handler, data: bytes):
    async def call() -> bytes:
        answer = handler(data, CallContext())
        return answer if isinstance(answer, bytes) else await answer

    try:
        return local.runner.run(call())
    except FeatureStoreError as error:
        return type(error), error.message


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(ORDINARY + OTHERS),
            st.lists(st.sampled_from(["user_id", "user_id", "user_id", "path", "other"]), max_size=2),
            KEYS,
            st.booleans(),
            st.integers(0, 3),
        ),
        max_size=8,
    )
)
def test_a_read_is_answered_as_on_the_general_way(store, asked):
    reads, schemas = FeatureReads(store.service), {}
    for features, names, keys, knows_schema, cut in asked:
        request = public.GetFeaturesRequest(
            selection=public.FeatureSelection(features=features),
            keys=[public.Column(name=name, int64s=keys) for name in names],
            known_schema_id=schemas.get(features, 0) if knows_schema else 0,
        )
        data = request.SerializeToString()
        if cut == 3:
            data = data[:-1]
        found, expected = outcome(store, reads.get, data), outcome(store, reads.get_any, data)
        assert found == expected
        if isinstance(found, bytes):
            schemas[features] = public.GetFeaturesResponse.FromString(found).schema_id


@pytest.mark.parametrize("features", ORDINARY)
def test_an_ordinary_read_takes_the_short_way(store, features):
    reads, others = FeatureReads(store.service), []
    quick = QuickReads(store.service, reads._reads, lambda data, _: others.append(data) or b"")
    ordinary = public.GetFeaturesRequest(selection={"features": features}, keys=[users([3, 11, 7])])
    assert quick.get(ordinary.SerializeToString(), CallContext()) == reads.get_any(ordinary.SerializeToString(), CallContext())
    assert not others
    for request in (
        public.GetFeaturesRequest(selection={"features": features}, keys=[users([])]),
        public.GetFeaturesRequest(selection={"features": features}, keys=[users([1]), users([1])]),
        public.GetFeaturesRequest(selection={"features": features}, keys=[public.Column(name="other", int64s=[1])]),
        public.GetFeaturesRequest(selection={"features": features, "event_timestamps": True}, keys=[users([1])]),
        public.GetFeaturesRequest(selection={"features": features, "expired_values": True}, keys=[users([1])]),
        public.GetFeaturesRequest(selection={"features": features}, keys=[users(range(100_000))]),
    ):
        quick.get(request.SerializeToString(), CallContext())
        assert others.pop() == request.SerializeToString()


def test_a_read_goes_by_the_definitions_of_its_moment(local):
    local.call(public.ApplyRequest(definitions=DEFINITIONS))
    request = public.GetFeaturesRequest(selection={"features": ["counts:n"]}, keys=[users([1])])
    assert local.call(request).row_statuses
    without = public.Definitions()
    without.CopyFrom(DEFINITIONS)
    del without.feature_views[1]
    for _ in range(2):
        local.call(public.ApplyRequest(definitions=without, prune=True))
        for _ in range(2):
            with pytest.raises(NotFoundError, match="counts"):
                local.call(request)
        local.call(public.ApplyRequest(definitions=DEFINITIONS))
        local.call(public.WriteFeaturesRequest(view="counts", batch=count_batch([1], 7)))
        assert list(local.call(request).matrix.int64s) == [7]


# ------------------------------------------------------------------------------------------------------------------ writes


def count_batch(keys, value: int, feature: str = "n", key: str = "user_id", at_us: int | None = None) -> public.WriteBatch:
    return public.WriteBatch(
        keys=[public.Column(name=key, int64s=keys)],
        features=[public.Column(name=feature, int64s=[value] * len(keys))],
        event_timestamps_us=[] if at_us is None else [at_us],
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["counts", "counts", "counts", "users", "pages", "none", "größe"]),
            st.sampled_from(["", "default", "other"]),
            st.sampled_from(["n", "n", "n", "seen", "m"]),
            st.sampled_from(["user_id", "user_id", "user_id", "path"]),
            st.lists(st.integers(0, 12), max_size=6),
            st.integers(1, 9),
        ),
        max_size=12,
    )
)
def test_a_write_comes_to_what_it_comes_to_on_the_general_way(make_local, written):
    stores = [make_local(), make_local()]
    handlers = []
    for store in stores:
        store.call(public.ApplyRequest(definitions=DEFINITIONS))
        writes = FeatureWrites(store.service, Loads(store.service))
        handlers.append(writes.write if store is stores[0] else writes.write_any)
    for view, project, feature, key, keys, value in written:
        batch = count_batch(keys, value, feature, key, at_us=value)
        data = public.WriteFeaturesRequest(project=project, view=view, batch=batch).SerializeToString()
        found, expected = (outcome(stores[k], handlers[k], data) for k in range(2))
        assert found == expected
    request = public.GetFeaturesRequest(selection={"features": ["counts:n"]}, keys=[users(range(13))])
    assert stores[0].call(request) == stores[1].call(request)


def test_an_ordinary_write_takes_the_short_way(local):
    local.call(public.ApplyRequest(definitions=DEFINITIONS))
    writes, others = FeatureWrites(local.service, Loads(local.service)), []
    quick = QuickWrites(local.service, writes._writes, lambda counts: b"%d" % counts[1], lambda data, _: others.append(data))
    local.call(public.WriteFeaturesRequest(view="counts", batch=count_batch(range(100), 1)))  # which commits memory
    request = public.WriteFeaturesRequest(view="counts", batch=count_batch([1, 200], 2)).SerializeToString()
    assert quick.write(request, CallContext()) == b"1"
    assert quick.write(request, CallContext()) == b"0"
    assert not others
    for view, batch in (
        ("counts", count_batch([], 1)),
        ("counts", count_batch([1], 1, "m")),
        ("counts", count_batch(range(1_000), 1)),
        ("pages", count_batch([1], 1)),
    ):
        data = public.WriteFeaturesRequest(view=view, batch=batch).SerializeToString()
        quick.write(data, CallContext())
        assert others.pop() == data
    late = CallContext(deadline=time.monotonic() - 1)
    with pytest.raises(DeadlineExceededError):
        quick.write(public.WriteFeaturesRequest(view="counts", batch=count_batch([1], 3)).SerializeToString(), late)
    read = public.GetFeaturesRequest(selection={"features": ["counts:n"]}, keys=[users([1])])
    assert list(local.call(read).matrix.int64s) == [2]
