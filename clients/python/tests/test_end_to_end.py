"""The client against a real server process: define, load, write, read, delete, restart."""

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import featurestore_client
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from featurestore_client import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnauthenticatedError,
    ValueStatus,
    WriteCounts,
)

PRESENT, NULL, NOT_FOUND, EXPIRED = (status.value for status in ValueStatus)
NOW = datetime.now(UTC)

DEFINITIONS: dict[str, Any] = {
    "entities": [
        {"name": "carrier", "join_keys": [{"name": "carrier", "type": "string"}]},
        {"name": "route", "join_keys": [{"name": "origin", "type": "string"}, {"name": "dest", "type": "string"}]},
        {"name": "user", "join_keys": [{"name": "user", "type": "int64"}]},
    ],
    "feature_views": [
        {
            "name": "carrier_delays",
            "entity": "carrier",
            "ttl": "1h",
            "features": [{"name": "mean", "type": "float32"}, {"name": "worst", "type": "float32"}],
        },
        {"name": "route_delays", "entity": "route", "features": [{"name": "mean", "type": "float32"}]},
        {
            "name": "everything",
            "entity": "user",
            "features": [
                {"name": name, "type": text}
                for name, text in {
                    "flag": "bool",
                    "small": "int32",
                    "large": "int64",
                    "single": "float32",
                    "double": "float64",
                    "at": "timestamp",
                    "text": "string",
                    "blob": "bytes",
                    "vector": "float32[3]",
                    "counts": "int64[2]",
                }.items()
            ],
        },
        {"name": "bulk", "entity": "user", "features": [{"name": f"f{i}", "type": "float32"} for i in range(50)]},
    ],
    "feature_services": [
        {
            "name": "delay_model_v1",
            "features": ["carrier_delays:mean as carrier_mean", "carrier_delays:worst", "route_delays:mean as route_mean"],
        }
    ],
}


@pytest.fixture(scope="module")
def store(engine: str, start: Callable[..., Any]) -> Any:
    process = start(FEATURESTORE_GRPC_ENGINE=engine)
    with featurestore_client.connect(process.address) as client:
        client.apply(DEFINITIONS)
    return process


def test_a_service_of_two_views_is_one_matrix(store: Any, connect: Any) -> None:
    client = connect(store.address)
    client.write("carrier_delays", {"carrier": ["AA", "UA"], "mean": [7.5, 3.0], "worst": [90, None]}, event_timestamps=NOW)
    client.write("carrier_delays", {"carrier": "OLD", "mean": 5}, event_timestamps=NOW - timedelta(hours=2))
    client.write("route_delays", {"origin": ["JFK"], "dest": ["LAX"], "mean": [1.25]}, event_timestamps=[NOW])
    keys = {"carrier": ["AA", "UA", "ZZ", "OLD"], "origin": "JFK", "dest": ["LAX", "SFO", "LAX", "LAX"]}
    for _ in range(2):  # the second by the remembered schema
        batch = client.get("delay_model_v1", keys, event_timestamps=True)
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
    expired = client.get(["carrier_delays:mean"], {"carrier": ["OLD"]}, expired_values=True)
    assert expired.to_dict() == {"mean": [5.0]}
    assert expired.statuses.tolist() == [[EXPIRED]]


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
        "counts": pa.list_(pa.int64()),
    }
)


@pytest.mark.parametrize("kind", ["lists", "arrow", "pandas"])
def test_every_type_goes_in_and_comes_out(store: Any, connect: Any, kind: str) -> None:
    client = connect(store.address)
    data: Any = {"user": [1, 2, 3], **VALUES}
    if kind == "arrow":
        data = pa.table(data, schema=ARROW)
    elif kind == "pandas":
        data = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in data.items()})
    client.delete("everything", {"user": [1, 2, 3]}, event_timestamps=0)
    assert client.write("everything", data, event_timestamps=NOW).rows == 3
    batch = client.get([f"everything:{name}" for name in VALUES], {"user": np.array([1, 2, 3])})
    assert batch.to_dict() == VALUES
    assert batch.to_arrow().to_pydict() == VALUES
    assert batch.statuses.tolist() == [[PRESENT] * 10, [PRESENT] * 10, [NULL] * 10]
    assert batch.to_pandas().isna().to_numpy().tolist() == (batch.statuses != PRESENT).tolist()


def test_writes_are_counted_and_the_newest_wins(store: Any, connect: Any) -> None:
    client = connect(store.address)
    key = {"carrier": [f"counted-{uuid.uuid4()}"]}
    assert client.write("carrier_delays", {**key, "mean": [1]}, event_timestamps=NOW) == WriteCounts(1, 1, 0, 0, 0)
    assert client.write("carrier_delays", {**key, "mean": [2]}, event_timestamps=NOW) == WriteCounts(1, 0, 0, 1, 0)
    later = NOW + timedelta(seconds=1)
    assert client.write("carrier_delays", {**key, "worst": [9]}, event_timestamps=later) == WriteCounts(1, 0, 1, 0, 0)
    assert client.write("carrier_delays", {**key, "mean": [3]}, event_timestamps=NOW) == WriteCounts(1, 0, 0, 0, 1)
    assert client.get(["carrier_delays:mean", "carrier_delays:worst"], key).to_dict() == {"mean": [2.0], "worst": [9.0]}
    assert client.delete("carrier_delays", key, event_timestamps=NOW) == (0, 0, 1)
    assert client.delete("carrier_delays", key, event_timestamps=later) == (1, 0, 0)
    assert client.get(["carrier_delays:mean"], key).statuses.tolist() == [[NOT_FOUND]]
    assert client.write("carrier_delays", {**key, "mean": [3]}, event_timestamps=NOW).older == 1


def test_errors_name_the_nearest_and_carry_violations(store: Any, connect: Any) -> None:
    client = connect(store.address)
    with pytest.raises(NotFoundError, match="delay_model_v1") as caught:
        client.get("delay_model_v2", {"carrier": ["AA"]})
    assert caught.value.violations[0].value == "'delay_model_v2'"
    with pytest.raises(NotFoundError, match="carrier_delays"):
        client.write("carrier_delay", {"carrier": ["AA"]})
    with pytest.raises(InvalidArgumentError, match="dest") as invalid:
        client.get("delay_model_v1", {"carrier": ["AA"], "origin": ["JFK"]})
    assert invalid.value.violations
    for _ in range(2):  # the second by the remembered schema
        with pytest.raises(InvalidArgumentError, match="carrier"):
            client.get(["carrier_delays:mean"], {"carrier": [5]})
        client.get(["carrier_delays:mean"], {"carrier": ["AA"]})
    changed = {"feature_views": [{**DEFINITIONS["feature_views"][1], "features": [{"name": "mean", "type": "string"}]}]}
    with pytest.raises(FailedPreconditionError):
        client.apply(changed)


def test_a_schema_change_is_seen_by_readers_and_writers(store: Any, connect: Any) -> None:
    client = connect(store.address)
    view = {"name": "changing", "entity": "user", "features": [{"name": "a", "type": "int64"}]}
    service = {"name": "changing_v1", "features": ["changing:a"]}
    client.apply({"feature_views": [view], "feature_services": [service]})
    client.write("changing", {"user": [1], "a": [5]}, event_timestamps=NOW)
    assert client.get("changing_v1", {"user": [1]}).to_dict() == {"a": [5]}
    view = {**view, "features": [*view["features"], {"name": "b", "type": "string"}]}
    service = {**service, "features": ["changing:a", "changing:b"]}
    result = client.apply({"feature_views": [view], "feature_services": [service]})
    assert result.applied
    assert {change.action for change in result.changes} == {"update"}
    assert client.get("changing_v1", {"user": [1]}).to_dict() == {"a": [5], "b": [None]}
    client.write("changing", {"user": [1], "b": ["x"]}, event_timestamps=NOW)
    assert client.get("changing_v1", {"user": [1]}).to_dict() == {"a": [5], "b": ["x"]}
    client.apply(
        {
            "feature_views": [{**view, "features": view["features"][:1]}],
            "feature_services": [{**service, "features": ["changing:a"]}],
        }
    )


def test_definitions_are_listed_and_described(store: Any, connect: Any) -> None:
    client = connect(store.address)
    assert "default" in [project["name"] for project in client.list_projects()]
    assert {entity["name"] for entity in client.list_entities()} == {"carrier", "route", "user"}
    assert "carrier_delays" in [view["name"] for view in client.list_feature_views(project="default")]
    assert "delay_model_v1" in [service["name"] for service in client.list_feature_services()]
    assert {"carrier_delays", "bulk"} <= {table["view"] for table in client.list_tables()}
    described = client.describe_feature_view("carrier_delays")
    assert described["feature_services"] == ["delay_model_v1"]
    assert described["table"]["memory_bytes"] > 0
    assert client.describe_entity("carrier")["feature_views"] == ["carrier_delays"]
    schema = client.describe_feature_service("delay_model_v1")["schema"]
    assert [feature["name"] for feature in schema["features"]] == ["carrier_mean", "worst", "route_mean"]
    everything = {kind: getattr(client, f"list_{kind}")() for kind in ("entities", "feature_views", "feature_services")}
    assert client.apply(everything, dry_run=True).changes == ()


def test_a_table_is_ingested_and_read_back(store: Any, connect: Any) -> None:
    client = connect(store.address)
    rows = 50_000
    random = np.random.default_rng(1)
    columns = {f"f{i}": random.random(rows, np.float32) for i in range(50)}
    times = pa.array(np.full(rows, np.datetime64(NOW.replace(tzinfo=None), "us")))
    table = pa.table({"user": np.arange(rows), **columns, "event_timestamp": times})
    seen: list[int] = []
    counts = client.ingest("bulk", table, progress=lambda now: seen.append(now.counts.rows))
    assert counts.rows == seen[-1] == rows
    assert counts.inserted + counts.equal == rows
    users = random.integers(0, rows, 1_000)
    matrix = client.get([f"bulk:f{i}" for i in range(50)], {"user": users}).to_numpy()
    np.testing.assert_array_equal(matrix, np.stack([column[users] for column in columns.values()], axis=1))


def test_a_restart_in_the_middle_of_an_ingest_is_survived(start: Callable[..., Any]) -> None:
    process = start()
    restarted = threading.Thread(target=process.restart)
    with featurestore_client.connect(process.address) as client:
        client.apply(DEFINITIONS)

        def data() -> Iterator[dict[str, Any]]:
            for batch in range(40):
                if batch == 20:
                    restarted.start()
                yield {"user": [batch], "f0": [float(batch)], "event_timestamp": [NOW]}

        counts = client.ingest("bulk", data(), window=4)
        restarted.join()
        assert counts.rows == 40
        assert client.get(["bulk:f0"], {"user": [39]}).to_dict() == {"f0": [39.0]}


def test_an_api_key_is_asked_for(start: Callable[..., Any], connect: Any) -> None:
    process = start(FEATURESTORE_API_KEYS="one,two")
    assert connect(process.address, api_key="two").list_projects() is not None
    for key in (None, "three"):
        with pytest.raises(UnauthenticatedError):
            connect(process.address, api_key=key).list_projects()


def test_the_readme_prints_what_it_shows(start: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text()
    blocks = re.findall(r"```(python|text)\n(.*?)```", text, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "text"] * 4
    names: dict[str, Any] = {}
    address = start().address
    for (_, code), (_, shown) in zip(blocks[::2], blocks[1::2], strict=True):
        exec(code.replace("grpc://127.0.0.1:7400", address), names)  # noqa: S102  our own page
        assert capsys.readouterr().out == shown
    names["client"].close()
