"""What a feature store promises to whoever reads and writes it, whichever way the calls go."""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from featurestore_client import (
    DeadlineExceededError,
    DeleteCounts,
    FailedPreconditionError,
    FeatureStoreError,
    InvalidArgumentError,
    NotFoundError,
    ReplaceChecks,
    ResourceExhaustedError,
    ValueStatus,
    Violation,
    WriteCounts,
)
from featurestore_client.backups import BackupFile

from featurestore.durability import ContentChecksum
from tests.conformance.paths import Project

PRESENT, NULL, NOT_FOUND, EXPIRED = (status.value for status in ValueStatus)
NOW = datetime.now(UTC)

ENTITIES: list[dict[str, Any]] = [
    {"name": "carrier", "join_keys": [{"name": "carrier", "type": "string"}]},
    {"name": "route", "join_keys": [{"name": "origin", "type": "string"}, {"name": "dest", "type": "string"}]},
    {"name": "user", "join_keys": [{"name": "user", "type": "int64"}]},
]
CARRIERS: dict[str, Any] = {
    "name": "carriers",
    "entity": "carrier",
    "ttl": "1h",
    "features": [{"name": "mean", "type": "float32"}, {"name": "worst", "type": "float32"}],
}
ROUTES: dict[str, Any] = {"name": "routes", "entity": "route", "features": [{"name": "mean", "type": "float32"}]}
MODEL: dict[str, Any] = {
    "name": "model_v1",
    "features": ["carriers:mean as carrier_mean", "carriers:worst", "routes:mean as route_mean"],
}


def view_of(name: str, features: dict[str, str]) -> dict[str, Any]:
    """A view of users."""
    return {"name": name, "entity": "user", "features": [{"name": n, "type": text} for n, text in features.items()]}


@pytest.fixture
def model(store: Project) -> Project:
    """The store with a service of two views."""
    store.apply({"entities": ENTITIES, "feature_views": [CARRIERS, ROUTES], "feature_services": [MODEL]})
    return store


# ------------------------------------------------------------------------------------------------------------------- types

TYPES = {
    "flag": "bool",
    "small": "int32",
    "large": "int64",
    "single": "float32",
    "double": "float64",
    "at": "timestamp",
    "text": "string",
    "blob": "bytes",
    "vector": "float32[3]",
    "doubles": "float64[2]",
    "counts": "int64[2]",
}
VALUES: dict[str, list[Any]] = {
    "flag": [True, False, None],
    "small": [-(2**31), 2**31 - 1, None],
    "large": [-(2**63), 2**63 - 1, None],
    "single": [0.5, -1.25, None],
    "double": [0.1, 1e300, None],
    "at": [NOW, datetime(1969, 12, 31, tzinfo=UTC), None],
    "text": ["grüße", "", None],
    "blob": [b"\x00\xff", b"x" * 1_000, None],
    "vector": [[1.0, 2.0, 3.0], [0.0, 0.5, -1.0], None],
    "doubles": [[0.1, 1e-300], [0.0, -0.5], None],
    "counts": [[1, -2], [2**62, 0], None],
}
ARROW = pa.schema(
    {
        "user": pa.int64(),
        "flag": pa.bool_(),
        "small": pa.int32(),
        "large": pa.int64(),
        "single": pa.float32(),
        "double": pa.float64(),
        "at": pa.timestamp("us", tz="UTC"),
        "text": pa.large_string(),
        "blob": pa.binary(),
        "vector": pa.list_(pa.float32(), 3),
        "doubles": pa.list_(pa.float64(), 2),
        "counts": pa.list_(pa.int64()),
    }
)


def test_every_type_goes_in_and_comes_out(store: Project):
    store.apply({"entities": ENTITIES, "feature_views": [view_of("everything", TYPES)]})
    frame = {name: pd.Series(values, dtype=object) for name, values in VALUES.items()}
    for data in (
        {"user": [1, 2, 3], **VALUES},
        pa.table({"user": [4, 5, 6], **VALUES}, schema=ARROW),
        pd.DataFrame({"user": [7, 8, 9], **frame}),
    ):
        assert store.write("everything", data, event_timestamps=NOW).inserted == 3
    batch = store.get([f"everything:{name}" for name in VALUES], {"user": np.arange(1, 10)})
    assert batch.types == TYPES
    expected = {name: values * 3 for name, values in VALUES.items()}
    assert batch.to_dict() == expected
    assert batch.to_arrow().to_pydict() == expected
    assert batch.statuses.tolist() == [[PRESENT] * len(VALUES), [PRESENT] * len(VALUES), [NULL] * len(VALUES)] * 3
    assert batch.to_pandas().isna().to_numpy().tolist() == (batch.statuses != PRESENT).tolist()


# --------------------------------------------------------------------------------------------------- statuses, nulls, TTL


def test_a_service_of_two_views_is_one_matrix_with_the_status_of_each_value(model: Project):
    model.write("carriers", {"carrier": ["AA", "UA"], "mean": [7.5, 3.0], "worst": [90, None]}, event_timestamps=NOW)
    model.write("carriers", {"carrier": "OLD", "mean": 5}, event_timestamps=NOW - timedelta(hours=2))
    model.write("routes", {"origin": ["JFK"], "dest": ["LAX"], "mean": [1.25]}, event_timestamps=[NOW])
    keys = {"carrier": ["AA", "UA", "ZZ", "OLD"], "origin": "JFK", "dest": ["LAX", "SFO", "LAX", "LAX"]}
    for _ in range(2):  # the second by the remembered schema
        batch = model.get("model_v1", keys, event_timestamps=True)
        assert batch.names == ("carrier_mean", "worst", "route_mean")
        nan = np.nan
        expected = np.array([[7.5, 90, 1.25], [3, nan, nan], [nan, nan, 1.25], [nan, nan, 1.25]], np.float32)
        np.testing.assert_array_equal(batch.to_numpy(), expected)
        assert batch.statuses.tolist() == [
            [PRESENT, PRESENT, PRESENT],
            [PRESENT, NULL, NOT_FOUND],
            [NOT_FOUND, NOT_FOUND, PRESENT],
            [EXPIRED, EXPIRED, PRESENT],
        ]
        assert batch.event_timestamps[0].tolist() == [NOW.replace(tzinfo=None)] * 2
        assert np.isnat(batch.event_timestamps[2, 0])


def test_expired_values_are_kept_for_those_who_ask(model: Project):
    model.write("carriers", {"carrier": "OLD", "mean": 5}, event_timestamps=NOW - timedelta(hours=2))
    batch = model.get(["carriers:mean", "carriers:worst"], {"carrier": ["OLD"]}, expired_values=True)
    assert batch.to_dict() == {"mean": [5.0], "worst": [None]}
    assert batch.statuses[0].tolist() == [EXPIRED, EXPIRED]


def test_null_overwrites_and_is_not_nan(model: Project):
    model.write("carriers", {"carrier": ["A"], "mean": [1], "worst": [float("nan")]}, event_timestamps=NOW)
    model.write("carriers", {"carrier": ["A"], "mean": [None]}, event_timestamps=NOW)
    batch = model.get(["carriers:mean", "carriers:worst"], {"carrier": ["A"]})
    assert batch.statuses.tolist() == [[NULL, PRESENT]]
    assert np.isnan(batch.to_numpy()).tolist() == [[True, True]]


# ------------------------------------------------------------------------------------------------------------------ writes


def test_writes_are_counted_and_the_newest_wins(model: Project):
    key = {"carrier": ["counted"]}
    assert model.write("carriers", {**key, "mean": [1]}, event_timestamps=NOW) == WriteCounts(1, 1, 0, 0, 0)
    assert model.write("carriers", {**key, "mean": [2]}, event_timestamps=NOW) == WriteCounts(1, 0, 0, 1, 0)
    later = NOW + timedelta(seconds=1)
    assert model.write("carriers", {**key, "mean": [3]}, event_timestamps=later) == WriteCounts(1, 0, 1, 0, 0)
    assert model.write("carriers", {**key, "mean": [4]}, event_timestamps=NOW) == WriteCounts(1, 0, 0, 0, 1)
    assert model.get(["carriers:mean"], key).to_dict() == {"mean": [3.0]}


def test_features_that_are_left_out_keep_their_values(model: Project):
    model.write("carriers", {"carrier": ["A", "B"], "mean": [1, 2]}, event_timestamps=NOW)
    model.write("carriers", {"carrier": ["B", "C"], "worst": [20, 30]}, event_timestamps=NOW)
    batch = model.get(["carriers:mean", "carriers:worst"], {"carrier": ["A", "B", "C"]})
    assert batch.to_dict() == {"mean": [1.0, 2.0, None], "worst": [None, 20.0, 30.0]}
    assert batch.statuses.tolist() == [[PRESENT, NULL], [PRESENT, PRESENT], [NULL, PRESENT]]


def test_a_batch_with_a_mistake_writes_nothing(model: Project):
    with pytest.raises(ResourceExhaustedError, match="carrier: got 2000, at most 1024 is allowed"):
        model.write("carriers", {"carrier": ["fine", "x" * 2_000], "mean": [1, 2]}, event_timestamps=NOW)
    assert model.get(["carriers:mean"], {"carrier": ["fine"]}).statuses.tolist() == [[NOT_FOUND]]


def test_a_delete_holds_off_older_writes(model: Project):
    key = {"carrier": ["gone"]}
    later = NOW + timedelta(seconds=1)
    model.write("carriers", {**key, "mean": [1]}, event_timestamps=later)
    assert model.delete("carriers", key, event_timestamps=NOW) == DeleteCounts(deleted=0, absent=0, older=1)
    assert model.delete("carriers", key, event_timestamps=later) == DeleteCounts(deleted=1, absent=0, older=0)
    assert model.get(["carriers:mean"], key).statuses.tolist() == [[NOT_FOUND]]
    assert model.write("carriers", {**key, "mean": [3]}, event_timestamps=NOW).older == 1
    assert model.delete("carriers", {"carrier": ["never"]}, event_timestamps=NOW).absent == 1


def test_a_large_answer_and_a_large_write_are_whole(store: Project):
    store.apply({"entities": ENTITIES, "feature_views": [view_of("wide", {"v": "float32[250]", "text": "string"})]})
    users = np.arange(9_000)
    values = np.random.default_rng(1).random((len(users), 250), np.float32)
    assert store.write("wide", {"user": users, "v": values, "text": [str(user) for user in users]}).inserted == len(users)
    np.testing.assert_array_equal(store.get(["wide:v"], {"user": users[::-1]}).to_numpy(), values[::-1])  # 9 MB
    assert store.get(["wide:text"], {"user": users}).to_dict() == {"text": [str(user) for user in users]}


# --------------------------------------------------------------------------------------------------------------- ingestion


def test_a_table_is_ingested_and_read_back(store: Project):
    features = {f"f{i}": "float32" for i in range(50)}
    store.apply({"entities": ENTITIES, "feature_views": [view_of("bulk", features)]})
    rows = 20_000
    random = np.random.default_rng(1)
    columns = {name: random.random(rows, np.float32) for name in features}
    times = pa.array(np.full(rows, np.datetime64(NOW.replace(tzinfo=None), "us")))
    table = pa.table({"user": np.arange(rows), **columns, "event_timestamp": times})
    seen: list[int] = []
    counts = store.ingest("bulk", table, batch_rows=rows // 10, progress=lambda now: seen.append(now.counts.rows))
    assert counts == WriteCounts(rows, rows, 0, 0, 0)
    assert seen[-1] == rows
    users = random.integers(0, rows, 1_000)
    matrix = store.get([f"bulk:{name}" for name in features], {"user": users}).to_numpy()
    np.testing.assert_array_equal(matrix, np.stack([column[users] for column in columns.values()], axis=1))


def test_an_ingest_keeps_what_was_acknowledged_before_a_mistake(store: Project):
    store.apply({"entities": ENTITIES, "feature_views": [CARRIERS]})

    def data() -> Iterator[dict[str, Any]]:
        yield {"carrier": ["first"], "mean": [1.0], "event_timestamp": [NOW]}
        yield {"carrier": ["x" * 2_000], "mean": [2.0], "event_timestamp": [NOW]}
        yield {"carrier": ["never"], "mean": [3.0], "event_timestamp": [NOW]}

    with pytest.raises(ResourceExhaustedError, match="carrier: got 2000") as caught:
        store.ingest("carriers", data(), window=1)
    assert caught.value.acknowledged_sequence == 1
    statuses = store.get(["carriers:mean"], {"carrier": ["first", "never"]}).statuses
    assert statuses.tolist() == [[PRESENT], [NOT_FOUND]]


# ------------------------------------------------------------------------------------------------------------------ errors


def refusal(call: Any, kind: type[FeatureStoreError]) -> tuple[str, tuple[Violation, ...]]:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value), caught.value.violations


def test_an_unknown_name_is_told_with_the_nearest(model: Project):
    message, violations = refusal(lambda: model.get("model_v2", {"carrier": ["AA"]}), NotFoundError)
    assert message == "feature service 'model_v2' does not exist: expected one like 'model_v1'"
    assert violations == (Violation("feature service", "'model_v2'", "one like 'model_v1'"),)
    for call in (
        lambda: model.write("carrier", {"carrier": ["AA"]}),
        lambda: model.describe_feature_view("carrier"),
        lambda: model.get(["carrier:mean"], {"carrier": ["AA"]}),
    ):
        assert "'carriers'" in refusal(call, NotFoundError)[0]


@pytest.mark.parametrize("convert", [pd.DataFrame, pa.table, lambda keys: pd.DataFrame(keys).to_records(index=False)])
def test_keys_are_a_table_too(model: Project, convert: Callable[[dict[str, list[str]]], Any]):
    model.write("routes", {"origin": ["JFK"], "dest": ["LAX"], "mean": [1.25]})
    for _ in range(2):
        batch = model.get(["routes:mean"], convert({"origin": ["JFK", "JFK"], "dest": ["LAX", "SFO"]}))
        assert batch.to_dict() == {"mean": [1.25, None]}
        with pytest.raises(InvalidArgumentError, match=r"keys: got \"no column 'dest'\""):
            model.get(["routes:mean"], convert({"origin": ["JFK"]}))


def test_keys_that_do_not_fit_are_told(model: Project):
    assert "dest" in refusal(lambda: model.get("model_v1", {"carrier": ["AA"], "origin": ["JFK"]}), InvalidArgumentError)[0]
    for _ in range(2):  # the second by the remembered schema
        message, violations = refusal(lambda: model.get(["carriers:mean"], {"carrier": [5]}), InvalidArgumentError)
        assert "carrier" in message
        assert violations
        model.get(["carriers:mean"], {"carrier": ["AA"]})
    message, _ = refusal(lambda: model.get(["carriers:mean"], {"carrier": [1.5]}), InvalidArgumentError)
    assert message == "carrier[0]: got 1.5, expected a str"


def test_a_change_of_type_is_refused_with_the_way_out_and_changes_nothing(model: Project):
    changed = {**ROUTES, "features": [{"name": "mean", "type": "string"}]}
    message, _ = refusal(lambda: model.apply({"feature_views": [changed]}), FailedPreconditionError)
    assert "mean" in message
    (feature,) = model.describe_feature_view("routes")["feature_view"]["features"]
    assert (feature["name"], feature["type"]) == ("mean", "float32")


def test_all_mistakes_of_definitions_are_told_at_once(store: Project):
    wrong = [{"name": f"view_{number}", "entity": "nobody", "features": []} for number in range(3)]
    message, violations = refusal(lambda: store.apply({"feature_views": wrong}), InvalidArgumentError)
    assert len({violation.object for violation in violations}) == 3
    assert "mistakes" in message


def test_time_that_is_up_is_told(store: Project):
    store.apply({"entities": ENTITIES, "feature_views": [view_of("wide", {"v": "float32[250]"})]})
    features, keys = [f"wide:v as v{number}" for number in range(4)], {"user": np.arange(10_000)}
    store.get(features, {"user": [1]})
    with pytest.raises(DeadlineExceededError):
        store.get(features, keys, timeout_s=0.001)  # 40 MB


# ------------------------------------------------------------------------------------------------------------- definitions


def test_definitions_are_listed_and_described(model: Project):
    assert model.name in [project["name"] for project in model.client.list_projects()]
    assert {entity["name"] for entity in model.list_entities()} == {"carrier", "route", "user"}
    assert {view["name"] for view in model.list_feature_views()} == {"carriers", "routes"}
    assert [service["name"] for service in model.list_feature_services()] == ["model_v1"]
    assert {table["view"] for table in model.list_tables()} == {"carriers", "routes"}
    described = model.describe_feature_view("carriers")
    assert described["feature_services"] == ["model_v1"]
    assert described["table"]["memory_bytes"] > 0
    assert model.describe_entity("carrier")["feature_views"] == ["carriers"]
    schema = model.describe_feature_service("model_v1")["schema"]
    assert [feature["name"] for feature in schema["features"]] == ["carrier_mean", "worst", "route_mean"]
    everything = {kind: getattr(model, f"list_{kind}")() for kind in ("entities", "feature_views", "feature_services")}
    assert model.apply(everything, dry_run=True).changes == ()


def test_a_schema_change_is_seen_by_readers_and_writers(store: Project):
    view, service = view_of("changing", {"a": "int64"}), {"name": "changing_v1", "features": ["changing:a"]}
    store.apply({"entities": ENTITIES, "feature_views": [view], "feature_services": [service]})
    store.write("changing", {"user": [1], "a": [5]}, event_timestamps=NOW)
    assert store.get("changing_v1", {"user": [1]}).to_dict() == {"a": [5]}
    wider = view_of("changing", {"a": "int64", "b": "string"})
    result = store.apply(
        {"feature_views": [wider], "feature_services": [{**service, "features": ["changing:a", "changing:b"]}]}
    )
    assert result.applied
    assert {change.action for change in result.changes} == {"update"}
    assert store.get("changing_v1", {"user": [1]}).to_dict() == {"a": [5], "b": [None]}
    store.write("changing", {"user": [1], "b": ["x"]}, event_timestamps=NOW)
    assert store.get("changing_v1", {"user": [1]}).to_dict() == {"a": [5], "b": ["x"]}
    store.apply({"feature_views": [view], "feature_services": [service]})
    assert store.get("changing_v1", {"user": [1]}).to_dict() == {"a": [5]}


def test_reads_go_on_while_the_schema_changes(store: Project, beside: Project):
    features = {"a": "float32", "b": "float32"}
    store.apply({"entities": ENTITIES, "feature_views": [view_of("users", features)]})
    users = np.arange(20_000)
    store.write("users", {"user": users, "a": users, "b": -users}, event_timestamps=NOW)
    asked = users[1_000:1_020]
    expected = np.stack([asked, -asked], axis=1)
    stop, arrived = threading.Event(), threading.Condition()
    seen: list[bool] = []
    failures: list[Exception] = []

    def read() -> None:
        while not stop.is_set():
            try:
                values = beside.get(["users:a", "users:b"], {"user": asked}).to_numpy()
            except Exception as error:
                failures.append(error)
                stop.set()
            with arrived:
                seen.append(np.array_equal(values, expected))
                arrived.notify()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(4):
            store.apply({"feature_views": [view_of("users", {**features, f"extra_{number}": "float64"})]})
            with arrived:  # at least one read has begun after the change
                count = len(seen)
                assert arrived.wait_for(lambda: failures or len(seen) > count + 1, timeout=20)  # noqa: B023
    finally:
        stop.set()
        reader.join()
    assert not failures
    assert all(seen)


# --------------------------------------------------------------------------------------------------- loads that replace


def run_in_thread(call: Callable[[], None]) -> None:
    """While this thread's event loop, if it has one, is in the middle of something."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(call).result()


def test_a_replaced_view_has_the_new_rows_alone_and_rolls_back(store: Project) -> None:
    store.apply({"entities": ENTITIES, "feature_views": [view_of("users", {"a": "int64", "s": "string"})]})
    store.write("users", {"user": [1, 2], "a": [10, 20], "s": ["x", "y"]}, event_timestamps=NOW)
    # An older event than the one that serves: a version stands on its own.
    replaced = store.replace(
        "users", {"user": [2, 3], "a": [21, 31], "s": ["new", None]}, source="nightly", checks=ReplaceChecks(rows_min=2)
    )
    assert store.get(["users:a", "users:s"], {"user": [1, 2, 3]}).to_dict() == {"a": [None, 21, 31], "s": [None, "new", None]}
    assert (replaced.version.number, replaced.version.rows, replaced.version.source) == (2, 2, "nightly")
    assert (replaced.former.number, replaced.former.rows, replaced.former_is_kept) == (1, 2, True)
    described = store.describe_feature_view("users")
    assert described["version"] == replaced.version._asdict()
    assert described["kept"] == [replaced.former._asdict()]
    back = store.rollback("users")
    assert store.get(["users:a"], {"user": [1, 2, 3]}).to_dict() == {"a": [10, 20, None]}
    assert (back.version.number, back.version.source, back.former.number) == (3, "version 1", 2)
    with pytest.raises(NotFoundError, match="has not kept version 1 of its rows; those it has: 2"):
        store.rollback("users", version=1)


def test_a_load_that_fails_its_checks_replaces_nothing(store: Project) -> None:
    store.apply({"entities": ENTITIES, "feature_views": [view_of("users", {"a": "int64", "b": "int64"})]})
    users = [*range(100)]
    store.write("users", {"user": users, "a": users, "b": users}, event_timestamps=NOW)
    rows = {"user": [1, 2], "a": [1, None], "b": [1, 1]}
    for checks, sentence in (
        (ReplaceChecks(rows_min=3), "rows: got 2, expected at least 3"),
        (ReplaceChecks(rows_max=1), "rows: got 2, expected at most 1"),
        (ReplaceChecks(max_drop=0.5), "rows: got 2, 98.0% fewer than the 100 of now, expected at most 50.0%"),
        (ReplaceChecks(max_null_fraction={"a": 0.2}), "a: got 50.0% nulls, expected at most 20.0%"),
    ):
        with pytest.raises(FailedPreconditionError, match=f"view 'users' was not replaced: {re.escape(sentence)}"):
            store.replace("users", rows, checks=checks)
    with pytest.raises(FailedPreconditionError, match=r"rows: got none, and there are 100 now"):
        store.replace("users", {"user": [], "a": [], "b": []})
    with pytest.raises(InvalidArgumentError, match="max_null_fraction"):
        store.replace("users", rows, checks=ReplaceChecks(max_null_fraction={"c": 0.2}))
    with pytest.raises(InvalidArgumentError):
        store.replace("users", {"user": [1], "a": ["text"]})
    assert store.get(["users:a"], {"user": [1, 99]}).to_dict() == {"a": [1, 99]}
    assert store.describe_feature_view("users")["version"]["number"] == 1


def test_all_of_a_read_is_of_one_version_while_rows_are_replaced(store: Project, beside: Project) -> None:
    store.apply({"entities": ENTITIES, "feature_views": [view_of("users", {"a": "int64", "s": "string"})]})
    users = np.arange(3_000)
    store.write("users", {"user": users, "a": users * 0, "s": ["0"] * len(users)}, event_timestamps=NOW)
    asked = users[::30]
    stop, seen, failures = threading.Event(), [0], []

    def read() -> None:
        try:
            while not stop.is_set():
                batch = beside.get(["users:a", "users:s"], {"user": asked}).to_dict()
                (version,) = set(batch["a"])  # of all rows the same
                assert set(batch["s"]) == {str(version)}
                assert version >= seen[-1]
                seen.append(version)
        except Exception as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for version in range(1, 4):
            store.replace("users", {"user": users, "a": users * 0 + version, "s": [str(version)] * len(users)})
            assert store.get(["users:a"], {"user": [7]}).to_dict() == {"a": [version]}
    finally:
        stop.set()
        reader.join()
    assert not failures


def test_what_is_written_while_a_load_goes_on_is_in_the_new_rows(store: Project, beside: Project) -> None:
    store.apply({"entities": ENTITIES, "feature_views": [view_of("users", {"a": "int64", "b": "int64"})]})
    store.write("users", {"user": [1, 2, 3], "a": [1, 2, 3], "b": [1, 2, 3]}, event_timestamps=NOW)
    later, latest = NOW + timedelta(seconds=1), NOW + timedelta(seconds=2)

    def rows() -> Iterator[dict[str, Any]]:
        yield {"user": [1, 2, 3], "a": [10, 20, 30], "b": [10, 20, 30], "event_timestamp": [later] * 3}
        run_in_thread(meanwhile)

    def meanwhile() -> None:
        beside.write("users", {"user": [1, 4], "b": [100, 400]}, event_timestamps=latest)  # only a column
        beside.write("users", {"user": [3], "a": [5], "b": [5]}, event_timestamps=NOW)  # older than the load's row
        beside.delete("users", {"user": [2]}, event_timestamps=latest)

    store.replace("users", rows())
    found = store.get(["users:a", "users:b"], {"user": [1, 2, 3, 4]}).to_dict()
    assert found == {"a": [10, None, 30, None], "b": [100, None, 30, 400]}


def test_a_view_that_is_being_replaced_keeps_its_schema_and_is_not_replaced_twice(store: Project, beside: Project) -> None:
    definition = view_of("users", {"a": "int64"})
    store.apply({"entities": ENTITIES, "feature_views": [definition, view_of("others", {"a": "int64"})]})
    store.write("users", {"user": [1], "a": [1]}, event_timestamps=NOW)

    def rows() -> Iterator[dict[str, Any]]:
        yield {"user": [1], "a": [2]}
        run_in_thread(meanwhile)

    def meanwhile() -> None:
        with pytest.raises(FailedPreconditionError, match="view 'users' is being replaced, from nightly since 20"):
            beside.apply({"feature_views": [view_of("users", {"a": "int64", "b": "int64"})]})
        with pytest.raises(FailedPreconditionError, match="view 'users' is being replaced already, from nightly since 20"):
            beside.replace("users", {"user": [1], "a": [3]})
        beside.apply({"feature_views": [view_of("others", {"a": "int64", "b": "int64"})]})

    store.replace("users", rows(), source="nightly")
    assert store.get(["users:a"], {"user": [1]}).to_dict() == {"a": [2]}
    store.apply({"feature_views": [view_of("users", {"a": "int64", "b": "int64"})]})
    assert store.get(["users:a", "users:b"], {"user": [1]}).to_dict() == {"a": [2], "b": [None]}


# ------------------------------------------------------------------------------------------------------------------ status


def test_status_tells_of_each_process(client: Any) -> None:
    found = client.status()
    assert found["version"]
    for process in found["processes"]:
        assert process["role"] in ("server", "supervisor", "owner", "reader")
        assert process["state"] == "serving"
        assert process["pid"] > 0
        assert process["uptime_s"] >= 0
        assert process["resident_bytes"] > 0
    assert any(process["role"] in ("server", "owner") for process in found["processes"])


# --------------------------------------------------------------------------------------------------------- export, backup


def test_what_is_exported_is_what_was_written_and_makes_the_same_rows(store: Project) -> None:
    features = {name: text for name, text in TYPES.items() if "[" not in text} | {"vector": "float32[3]"}
    store.apply({"entities": ENTITIES, "feature_views": [view_of("first", features), view_of("second", features)]})
    rows = 3_000
    columns = {name: [VALUES[name][row % 3] for row in range(rows)] for name in features}
    times = [1_700_000_000_000_000 + row for row in range(rows)]
    store.write("first", {"user": [*range(rows)], **columns}, event_timestamps=times)
    store.delete("first", {"user": [0]})
    batches = [*store.export("first")]
    table = pa.Table.from_batches(batches).sort_by("user")
    assert table["user"].to_pylist() == [*range(1, rows)]
    assert table["event_timestamp"].cast(pa.int64()).to_pylist() == times[1:]
    assert table["small"].to_pylist() == columns["small"][1:]
    assert table["blob"].to_pylist() == columns["blob"][1:]
    assert table["vector"].type == pa.list_(pa.float32(), 3)
    assert store.ingest("second", table).inserted == rows - 1
    assert pa.Table.from_batches([*store.export("second")]).sort_by("user").equals(table)
    assert {batch.schema.names[1] for batch in store.export("second", timestamp_column="at_")} == {"at_"}
    with pytest.raises(NotFoundError, match="'nothing'"):
        store.export("nothing")


def test_a_backup_comes_whole_and_what_is_known_does_not_come_again(client: Any, model: Project) -> None:
    model.write("carriers", {"carrier": ["UA"] * 50_000, "mean": [1.0] * 50_000})
    parts = [*client.backup()]
    state, files = parts[0], [part for part in parts if isinstance(part, BackupFile)]
    assert tuple((file.name, file.bytes) for file in files) == state.files
    assert state.last > 0
    content, contents = ContentChecksum(), []
    for part in parts[1:]:
        if isinstance(part, bytes):
            content.add(part)
        else:
            contents.append((content.bytes, content.value))
            content = ContentChecksum()
    assert contents == [(file.bytes, file.checksum) for file in files]
    again = [*client.backup(files)]
    assert again[0].files == state.files
    assert again[1:] == files
