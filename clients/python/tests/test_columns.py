"""Values of every kind arrive in the wire's Column as the same values, and what does not fit is refused by name and row."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from featurestore_client import InvalidArgumentError
from featurestore_client.columns import event_timestamps_us, feature_column, key_column, write_batch
from featurestore_client.encoding import WireColumn
from featurestore_client.types import ViewSchema, parse_type
from featurestore_client.wire import featurestore_raw_pb2 as wire


def received(column: WireColumn, type_text: str) -> list[Any]:
    """The values that a server reads from a column, by the generated code."""
    encoded = b"".join(column.parts)
    assert len(encoded) == column.nbytes
    message = wire.Column.FromString(encoded)
    assert message.name == column.name
    data_type = parse_type(type_text)
    values: list[Any]
    if data_type.dtype is None:
        offsets = np.frombuffer(message.offsets, "<i4")
        assert offsets[0] == 0
        assert offsets[-1] == len(message.data)
        values = [message.data[offsets[i] : offsets[i + 1]] for i in range(len(offsets) - 1)]
        if data_type.scalar == "string":
            values = [value.decode() for value in values]
    else:
        flat = np.frombuffer(getattr(message, data_type.wire_field), data_type.dtype.str.replace("M8[us]", "i8"))
        values = flat.tolist() if data_type.length is None else flat.reshape(-1, data_type.length).tolist()
    assert len(values) == column.rows
    if message.validity:
        assert len(message.validity) == (column.rows + 7) // 8
        bits = np.unpackbits(np.frombuffer(message.validity, np.uint8), bitorder="little")
        assert not bits[column.rows :].any()
        values = [value if bits[row] else None for row, value in enumerate(values)]
    return values


def feature(values: Any, type_text: str) -> list[Any]:
    return received(feature_column("f", values, type_text), type_text)


SAMPLES: dict[str, list[Any]] = {
    "bool": [True, False, None, True, True, False, None, False, True, True, False],
    "int32": [1, -5, None, 2**31 - 1, -(2**31), 0, None, 7, 8, 9, 10],
    "int64": [1, -5, None, 2**63 - 1, -(2**63), 0, None, 7, 8, 9, 10],
    "float32": [0.5, -1.25, None, 3.0, 4.0, 5.0, None, 7.0, 8.0, 9.0, 10.0],
    "float64": [0.1, -1e300, None, 3.0, 4.0, 5.0, None, 7.0, 8.0, 9.0, 10.0],
    "timestamp": [0, 1_700_000_000_000_001, None, -1, 4, 5, None, 7, 8, 9, 10],
    "string": ["a", "", None, "grüße", "日本", "x" * 300, None, "e", "f", "g", "h"],
    "bytes": [b"a", b"", None, b"\x00\xff", b"b", b"x" * 300, None, b"e", b"f", b"g", b"h"],
    "float32[2]": [
        [1.0, 2.0],
        [3.0, 4.0],
        None,
        [5.0, 6.0],
        [0.0, 0.5],
        [7.0, 8.0],
        None,
        [1.0, 1.0],
        [2.0, 2.0],
        [3.0, 3.0],
        [4.0, 4.0],
    ],
    "int64[2]": [[1, 2], [3, 4], None, [5, 6], [0, 5], [7, 8], None, [1, 1], [2, 2]],
}

ARROW_TYPES: dict[str, list[pa.DataType]] = {
    "bool": [pa.bool_()],
    "int32": [pa.int32(), pa.int64()],
    "int64": [pa.int64()],
    "float32": [pa.float32(), pa.float64()],
    "float64": [pa.float64()],
    "timestamp": [pa.timestamp("us"), pa.timestamp("us", tz="Europe/Berlin"), pa.int64()],
    "string": [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
    "bytes": [pa.binary(), pa.large_binary(), pa.binary_view()],
    "float32[2]": [pa.list_(pa.float32(), 2), pa.list_(pa.float64()), pa.large_list(pa.float32())],
    "int64[2]": [pa.list_(pa.int64(), 2), pa.list_(pa.int64())],
}


@pytest.mark.parametrize("type_text", SAMPLES)
@pytest.mark.parametrize("nulls", [True, False])
def test_lists_arrive(type_text: str, nulls: bool) -> None:
    values = [value for value in SAMPLES[type_text] if nulls or value is not None]
    assert feature(values, type_text) == values
    assert feature(tuple(values), type_text) == values
    assert feature([], type_text) == []


@pytest.mark.parametrize(("type_text", "arrow_type"), [(text, kind) for text, kinds in ARROW_TYPES.items() for kind in kinds])
@pytest.mark.parametrize("nulls", [True, False])
def test_arrow_arrays_arrive_whole_sliced_and_chunked(type_text: str, arrow_type: pa.DataType, nulls: bool) -> None:
    values = [value for value in SAMPLES[type_text] * 3 if nulls or value is not None]
    views = pa.types.is_string_view(arrow_type) or pa.types.is_binary_view(arrow_type)
    if views and int(pa.__version__.split(".")[0]) < 20:
        pytest.skip("this pyarrow has the view types without their casts")
    array = pa.array(values, arrow_type) if not pa.types.is_dictionary(arrow_type) else pa.array(values).dictionary_encode()
    assert feature(array, type_text) == values
    for start, length in ((0, 0), (1, 9), (3, 8), (8, 10), (9, 1), (5, len(values) - 5)):
        assert feature(array.slice(start, length), type_text) == values[start : start + length]
    chunks = [array.slice(0, 4), array.slice(4, 0), array.slice(4, 7), array.slice(11)]
    assert feature(pa.chunked_array(chunks), type_text) == values
    assert feature(pa.chunked_array([], array.type), type_text) == []


@pytest.mark.parametrize("type_text", SAMPLES)
def test_an_arrow_column_of_nulls_alone_is_null_in_any_type(type_text: str) -> None:
    assert feature(pa.nulls(9), type_text) == [None] * 9


@pytest.mark.parametrize("type_text", ["bool", "int32", "int64", "float32", "float64", "timestamp", "string", "float32[2]"])
@pytest.mark.parametrize("nulls", [True, False])
def test_pandas_series_arrive(type_text: str, nulls: bool) -> None:
    values = [value for value in SAMPLES[type_text] if nulls or value is not None]
    kinds: list[Callable[[], pd.Series[Any]]] = [lambda: pd.Series(values, dtype=object)]
    if type_text in ("int32", "int64"):
        kinds += [lambda: pd.Series(values, dtype="Int64"), lambda: pd.Series(values, dtype=pd.ArrowDtype(pa.int64()))]
    if type_text in ("float32", "float64"):
        kinds += [lambda: pd.Series(values, dtype="float64"), lambda: pd.Series(values, dtype="Float64")]
    if type_text == "bool":
        kinds += [lambda: pd.Series(values, dtype="boolean")]
    if type_text == "string":
        kinds += [
            lambda: pd.Series(values),
            lambda: pd.Series(values, dtype="category"),
            lambda: pd.Series(values, dtype="string"),
        ]
    if type_text == "timestamp":
        times = [None if value is None else np.datetime64(value, "us") for value in values]
        kinds = [
            lambda: pd.Series(times, dtype="datetime64[us]"),
            lambda: pd.Series(times, dtype="datetime64[us]").dt.tz_localize("UTC"),
        ]
    for make in kinds:
        series = make()
        series.index = pd.RangeIndex(100, 100 + len(series))  # an index is not looked at
        assert feature(series, type_text) == values, series.dtype


def test_numpy_arrays_arrive_from_any_layout() -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(4, 3)
    assert feature(matrix[:, 1], "float32") == [1.0, 4.0, 7.0, 10.0]
    assert feature(matrix[::-1], "float32[3]") == matrix[::-1].tolist()
    assert feature(np.arange(4, dtype=">i4"), "int64") == [0, 1, 2, 3]
    assert feature(np.arange(4, dtype=np.float16), "float32") == [0.0, 1.0, 2.0, 3.0]
    assert feature(np.array(["a", "bc"]), "string") == ["a", "bc"]
    assert feature(np.array(["a", None], object), "string") == ["a", None]
    assert feature(np.ma.masked_array([1, 2, 3], [False, True, False]), "int32") == [1, None, 3]
    assert feature(np.array([True, False]), "bool") == [True, False]
    assert feature(np.array(5), "int64") == [5]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_every_unit_and_zone_arrive_as_microseconds(unit: str) -> None:
    moment = datetime(2024, 2, 29, 12, 30, 15, tzinfo=UTC)
    expected = [int(moment.timestamp()) * 1_000_000]
    for zone in (None, "UTC", "America/New_York"):
        assert feature(pa.array([moment], pa.timestamp(unit, tz=zone)), "timestamp") == expected
    assert feature(np.array(["2024-02-29T12:30:15"], f"M8[{unit}]"), "timestamp") == expected
    assert feature(pd.Series([moment]).dt.tz_convert("Asia/Tokyo").dt.as_unit(unit), "timestamp") == expected
    assert feature([moment.astimezone(timezone(timedelta(hours=9)))], "timestamp") == expected
    assert feature([moment.replace(tzinfo=None)], "timestamp") == expected


def test_dates_are_midnight_utc() -> None:
    expected = [19_782 * 86_400_000_000]
    assert feature([date(2024, 2, 29)], "timestamp") == expected
    assert feature(pa.array([date(2024, 2, 29)], pa.date32()), "timestamp") == expected
    assert feature(pa.array([date(2024, 2, 29)], pa.date64()), "timestamp") == expected


def test_not_a_time_is_null() -> None:
    assert feature(np.array(["2024-01-01", "NaT"], "M8[D]"), "timestamp") == [19_723 * 86_400_000_000, None]


def test_nan_is_a_value_in_lists_and_null_in_pandas() -> None:
    assert np.isnan(feature([1.0, float("nan")], "float32")[1])
    assert feature(pd.Series([1.0, float("nan")]), "float32") == [1.0, None]
    assert feature(pd.Series([1.0, float("nan")]), "int64") == [1, None]  # how pandas holds integers with gaps


@pytest.mark.parametrize(
    ("values", "type_text", "message"),
    [
        ([1, "x", 3], "int64", "f[1]: got 'x', expected a value of int64"),
        ([1.5], "int64", "f[0]: got 1.5, expected a whole number for int64"),
        (
            pd.Series([None, 2.0**53 + 2]),
            "int64",
            "f[1]: got 9007199254740994.0, expected a whole number for int64, as a float at most",
        ),
        ([3_000_000_000], "int32", "f[0]: got 3000000000, expected a whole number from -2147483648 to 2147483647 for int32"),
        ([2**64], "int64", "f[0]: got 18446744073709551616, expected a value of int64"),
        ([2**63], "int64", "f[0]: got 9223372036854775808"),
        ([0.0, 1e300], "float32", "f[1]: got 1e+300, expected a number that float32 can hold"),
        ([2], "bool", "f[0]: got 2, expected true or false"),
        (["a", 5], "string", "f[1]: got 5, expected a str"),
        (["a", "\ud800"], "string", "f[1]: got '\\ud800', expected a str without lone surrogates"),
        ([b"a", "b"], "bytes", "f[1]: got 'b', expected bytes"),
        ([[1.0, 2.0], [3.0]], "float32[2]", "f[1]: got [3.0], expected a value of float32[2]"),
        (["2024-01-01"], "timestamp", "f[0]: got '2024-01-01', expected a datetime"),
        (np.zeros((2, 3)), "float32[2]", "f: got 'an array of shape (2, 3)', expected shape (n, 2) for float32[2]"),
        (np.array([10**15], "M8[s]"), "timestamp", "a time that int64 microseconds since 1970 can hold"),
        (
            pa.array([Decimal("1.5")]),
            "float64",
            "expected values of float64: a decimal has no place on the wire",
        ),
        (pa.array(["x"]), "float64", "f: got 'an Arrow array of string', expected values of float64"),
        (pa.array([1]), "string", "f: got 'an Arrow array of int64', expected values of string"),
        (pa.array([timedelta(1)]), "int64", "f: got 'an Arrow array of duration[us]', expected values of int64"),
        (pa.array([1, None, 2**40]), "int32", "f[2]: got 1099511627776"),
        (pa.array([[1.0, 2.0], [1.0]]), "float32[2]", "f[1]: got 'a list of 1', expected 2 elements for float32[2]"),
        (pa.array([[1.0, None]], pa.list_(pa.float32(), 2)), "float32[2]", "f: got 'a null within a vector'"),
        (pa.array([[1.0] * 3], pa.list_(pa.float32(), 3)), "float32[2]", "f: got 'vectors of 3', expected 2 elements"),
        ({"a": 1}, "int64", "expected values of int64 in a list, a NumPy array, an Arrow array or a pandas Series"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(values: Any, type_text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        feature(values, type_text)
    assert message in str(caught.value)
    assert caught.value.violations[0].field.startswith("f")


def test_what_lies_behind_a_null_is_not_judged() -> None:
    garbage = pa.Array.from_buffers(pa.int64(), 3, [pa.py_buffer(b"\x05"), pa.py_buffer(np.array([1, 2**40, 3]).tobytes())])
    assert feature(garbage, "int32") == [1, None, 3]


@pytest.mark.parametrize("values", [["AA", "UA"], np.array(["AA", "UA"]), pa.array(["AA", "UA"]), pd.Series(["AA", "UA"])])
def test_string_keys_are_told_by_their_values(values: Any) -> None:
    assert received(key_column("carrier", values), "string") == ["AA", "UA"]
    assert received(key_column("carrier", values, "string"), "string") == ["AA", "UA"]


@pytest.mark.parametrize(
    "values", [[1, 2], (1, 2), range(1, 3), np.array([1, 2], np.int32), pa.array([1, 2]), pd.Series([1, 2]), pd.Index([1, 2])]
)
def test_integer_keys_are_told_by_their_values(values: Any) -> None:
    assert received(key_column("user", values), "int64") == [1, 2]
    assert received(key_column("user", values, "int64"), "int64") == [1, 2]


def test_a_single_value_is_a_column_of_one() -> None:
    assert received(key_column("carrier", "AA"), "string") == ["AA"]
    assert received(key_column("user", 7), "int64") == [7]


@pytest.mark.parametrize(
    ("values", "type_text", "message"),
    [
        ([1, None], None, "k[1]: got None, expected a value: a join key is never null"),
        ([None, "a"], None, "k[0]: got None, expected a value: a join key is never null"),
        ([b"a"], None, "k[0]: got b'a', expected a str"),
        (np.array([b"a"]), None, "k[0]: got b'a', expected a str"),
        (["a", None], None, "k[1]: got None, expected a value: a join key is never null"),
        (["a"], "int64", "k[0]: got 'a', expected a value of int64"),
        ([1], "string", "k[0]: got 1, expected a str"),
        ([1, 2**70], "int64", "k[1]: got 1180591620717411303424"),
        (pa.array(["a", None]), "string", "k[1]: got None, expected a value: a join key is never null"),
    ],
)
def test_wrong_keys_are_refused(values: Any, type_text: str | None, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        key_column("k", values, type_text)
    assert message in str(caught.value)


VIEW = ViewSchema(
    "default",
    "carrier_delays",
    {"carrier": parse_type("string"), "month": parse_type("int64")},
    {"mean_delay": parse_type("float32"), "flights": parse_type("int32")},
)
ROWS = {"carrier": ["AA", "UA"], "month": [1, 2], "mean_delay": [0.5, None]}


def batch_of(data: Any, **options: Any) -> wire.WriteBatch:
    batch = write_batch(VIEW, data, **options)
    encoded = b"".join(batch.parts)
    assert len(encoded) == batch.nbytes
    return wire.WriteBatch.FromString(encoded)


@pytest.mark.parametrize("convert", [dict, pa.table, pa.RecordBatch.from_pydict, pd.DataFrame])
def test_a_table_of_any_kind_becomes_the_same_batch(convert: Callable[[Any], Any]) -> None:
    batch = batch_of(convert(ROWS), event_timestamps=datetime(1970, 1, 2, tzinfo=UTC))
    assert [key.name for key in batch.keys] == ["carrier", "month"]
    assert [column.name for column in batch.features] == ["mean_delay"]
    assert batch.keys[0].data == b"AAUA"
    assert batch.features[0].validity == b"\x01"
    assert batch.event_timestamps_us == (86_400_000_000).to_bytes(8, "little")


def test_the_event_timestamp_column_is_taken_where_it_is() -> None:
    times = [datetime(1970, 1, 1, 0, 0, 1), datetime(1970, 1, 1, 0, 0, 2)]
    expected = np.array([1_000_000, 2_000_000]).tobytes()
    assert batch_of({**ROWS, "event_timestamp": times}).event_timestamps_us == expected
    assert batch_of({**ROWS, "at": times}, timestamp_column="at").event_timestamps_us == expected
    assert batch_of(ROWS).event_timestamps_us == b""


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (
            {**ROWS, "mean_dely": [1, 2]},
            {},
            "column: got 'mean_dely', expected a join key or feature of view 'carrier_delays', one like",
        ),
        ({"month": [1]}, {}, "a column for join key 'carrier' of view 'carrier_delays'"),
        ({**ROWS, "month": [1, 2, 3]}, {}, "month: got '3 values', expected 2, as many as 'carrier' has"),
        ({**ROWS, "flights": [1]}, {}, "flights: got '1 values', expected 2"),
        (ROWS, {"event_timestamps": [1, 2, 3]}, "event_timestamps: got '3 values', expected 2"),
        (ROWS, {"event_timestamps": [1, None]}, "event_timestamps[1]: got None, expected a time"),
        (ROWS, {"timestamp_column": "at"}, "timestamp_column: got 'at', expected a column of the data"),
        (5, {}, "data: got 5, expected a mapping of columns"),
        (pd.Series([5]), {}, "expected a mapping of columns"),
        (pa.array([5]), {}, "expected a mapping of columns"),
    ],
)
def test_wrong_batches_are_refused(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        batch_of(data, **options)
    assert message in str(caught.value)


def test_event_times_may_be_one_value() -> None:
    assert np.asarray(event_timestamps_us(5)).tolist() == [5]


def test_arrow_buffers_are_not_copied_before_the_message_is_joined() -> None:
    array = pa.array(np.arange(1_000, dtype=np.float32))
    column = feature_column("f", array.slice(10), "float32")
    address = np.frombuffer(column.parts[1], np.uint8).__array_interface__["data"][0]
    assert address == array.buffers()[1].address + 40
