"""The requests that are written by hand are those that the generated code writes."""

from typing import Any

import numpy as np
import pytest
from featurestore_client.columns import feature_column, key_column, write_batch
from featurestore_client.encoding import (
    delete_request,
    get_request,
    get_request_prefix,
    ingest_request,
    ordinary_get_request,
    varint,
    write_request,
)
from featurestore_client.types import ViewSchema, parse_type
from featurestore_client.wire import featurestore_raw_pb2 as wire

KEY = wire.Column(name="carrier", data=b"AAUA", offsets=np.array([0, 2, 4], np.int32).tobytes())
FEATURE = wire.Column(name="delay", float32s=np.array([1.5, 0], np.float32).tobytes(), validity=b"\x01")
TIMES = np.array([1, 2]).tobytes()
VIEW = ViewSchema("default", "delays", {"carrier": parse_type("string")}, {"delay": parse_type("float32")})
ROWS = {"carrier": ["AA", "UA"], "delay": [1.5, None]}


@pytest.mark.parametrize(("value", "encoded"), [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")])
def test_varints(value: int, encoded: bytes) -> None:
    assert varint(value) == encoded


def test_columns() -> None:
    assert b"".join(key_column("carrier", ["AA", "UA"]).parts) == KEY.SerializeToString()
    assert b"".join(feature_column("delay", [1.5, None], "float32").parts) == FEATURE.SerializeToString()


def test_write_and_ingest_requests() -> None:
    batch = write_batch(VIEW, ROWS, event_timestamps=[1, 2])
    assert batch.timed
    message = wire.WriteBatch(keys=[KEY], features=[FEATURE], event_timestamps_us=TIMES)
    expected = wire.WriteFeaturesRequest(project="default", view="delays", batch=message)
    assert write_request("default", "delays", batch) == expected.SerializeToString()
    ingest = wire.IngestFeaturesRequest(project="default", view="delays", sequence=300, batch=message)
    assert ingest_request("default", "delays", 300, batch) == ingest.SerializeToString()


def test_delete_requests() -> None:
    expected = wire.DeleteFeaturesRequest(project="p", view="delays", keys=[KEY], event_timestamps_us=TIMES)
    assert (
        delete_request("p", "delays", [key_column("carrier", ["AA", "UA"])], np.array([1, 2])) == expected.SerializeToString()
    )


def test_get_requests() -> None:
    selection = wire.FeatureSelection(project="default", service="delay_model_v1").SerializeToString()
    keys = [key_column("carrier", ["AA", "UA"])]
    first = wire.GetFeaturesRequest.FromString(get_request(get_request_prefix(selection, None), keys))
    assert first == wire.GetFeaturesRequest(selection=selection, keys=[KEY])
    later = wire.GetFeaturesRequest.FromString(get_request(get_request_prefix(selection, 2**64 - 1), keys))
    assert later == wire.GetFeaturesRequest(selection=selection, keys=[KEY], known_schema_id=2**64 - 1)


TYPES = {"user": parse_type("int64"), "carrier": parse_type("string")}


@pytest.mark.parametrize(
    "keys",
    [
        {"user": [1, -(2**63), 2**63 - 1]},
        {"user": 7},
        {"user": list(range(5_000))},
        {"user": [1, True]},
        {"user": np.arange(3)},
        {"user": np.arange(40)[::-2]},
        {"user": np.empty(0, np.int64)},
        {"carrier": ["AA", "", "UA"]},
        {"carrier": ["Zürich", "名前", "x" * 300]},
        {"carrier": "AA"},
        {"carrier": ""},
        {"carrier": []},
        {"user": [1, 2], "carrier": ["AA", "UA"]},
    ],
)
def test_ordinary_keys_are_encoded_as_all_others_are(keys: dict[str, Any]) -> None:
    columns = [key_column(name, values, TYPES[name]) for name, values in keys.items()]
    assert ordinary_get_request(b"prefix", TYPES, keys) == get_request(b"prefix", columns)


@pytest.mark.parametrize(
    "keys",
    [
        {"user": []},
        {"user": [1, 2.0]},
        {"user": [1, "2"]},
        {"user": [1, None]},
        {"user": [2**63]},
        {"user": 2**63},
        {"user": True},
        {"user": [True]},
        {"user": ["1"]},
        {"user": "1"},
        {"user": np.arange(3, dtype=np.int32)},
        {"user": np.arange(3).reshape(1, 3)},
        {"user": np.array(3)},
        {"user": np.ma.masked_array([1, 2], [True, False])},
        {"user": (1, 2)},
        {"user": None},
        {"carrier": ["AA", 1]},
        {"carrier": ["AA", None]},
        {"carrier": ["\ud800"]},
        {"carrier": [b"AA"]},
        {"carrier": 1},
        {"carrier": np.array(["AA"])},
        {"other": [1]},
        {"user": [1], "other": [1]},
    ],
)
def test_other_keys_are_left_to_where_they_are_judged(keys: dict[str, Any]) -> None:
    assert ordinary_get_request(b"prefix", TYPES, keys) is None
