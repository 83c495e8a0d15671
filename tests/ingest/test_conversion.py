"""Values of every type, and each way in which they can be wrong."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from featurestore.errors import InvalidArgumentError
from featurestore.ingest.conversion import VALUE_BYTES_MAX, Conversion, arrow_type, convert, is_convertible
from featurestore.ingest.times import TimeFormat, read_times
from featurestore.model import DataType

NAN = float("nan")


def converted(values: Any, target: str, kind: pa.DataType | None = None, **options: Any) -> tuple[list[Any], list[int]]:
    """What the values become, and the rows that are wrong."""
    array = values if isinstance(values, pa.Array) else pa.array(values, kind)
    data_type = DataType.parse(target)
    assert is_convertible(array.type, data_type)
    result, wrong = convert(array, data_type, Conversion(**options))
    assert result.type == arrow_type(data_type)
    assert len(result) == len(array)
    rows = sorted(row for rows, _ in wrong for row in rows.tolist())
    assert all(result[row].as_py() is None for row in rows)
    return result.to_pylist(), rows


@pytest.mark.parametrize(
    ("values", "kind", "target", "expected", "wrong"),
    [
        ([1, None, 300], pa.int16(), "int32", [1, None, 300], []),
        ([1, 2**31, -(2**31)], pa.int64(), "int32", [1, None, -(2**31)], [1]),
        ([1, 2**63, 2], pa.uint64(), "int64", [1, None, 2], [1]),
        ([1.0, 2.5, NAN, 1e300, None], pa.float64(), "int64", [1, None, None, None, None], [1, 3]),
        ([2**53 + 1, 7], pa.int64(), "float64", [2.0**53, 7.0], []),
        ([1e39, -1.5, float("inf"), None], pa.float64(), "float32", [None, -1.5, float("inf"), None], [0]),
        ([Decimal("1.50"), Decimal("-2.00")], None, "float64", [1.5, -2.0], []),
        ([Decimal("1.50"), Decimal("-2.00")], None, "int64", [None, -2], [0]),
        ([True, None], pa.bool_(), "int32", [1, None], []),
        ([0, 1, 2, None], pa.int8(), "bool", [False, True, None, None], [2]),
        ([0.0, 1.0, 0.5], pa.float32(), "bool", [False, True, None], [2]),
        (["true", "0", "maybe", None, " TRUE "], None, "bool", [True, False, None, None, True], [2]),
        ([" 12", "+7", "12.0", "nan", "", None], None, "int32", [12, 7, 12, None, None, None], []),
        (["1.5", "12", "99999999999"], None, "int32", [None, 12, None], [0, 2]),
        (["1.5", "inf", "1e39", "x", ""], None, "float32", [1.5, float("inf"), None, None, None], [2, 3]),
        ([b"1.5", b"\xff"], pa.binary(), "float64", [1.5, None], [1]),
        ([7, None], pa.int64(), "string", ["7", None], []),
        ([b"caf\xc3\xa9", b"caf\xe9"], pa.large_binary(), "string", ["café", None], [1]),
        (["a", None], pa.string_view(), "string", ["a", None], []),
        (["é"], pa.large_string(), "bytes", ["é".encode()], []),
        (["a" * VALUE_BYTES_MAX, "a" * (VALUE_BYTES_MAX + 1)], None, "string", ["a" * VALUE_BYTES_MAX, None], [1]),
        ([None, None], pa.null(), "int64", [None, None], []),
        (pa.array(["1", "x", "1"]).dictionary_encode(), None, "int64", [1, None, 1], [1]),
        ([[1.0, 2.0], [1.0], None, [1.0, None], [3.0, 4.0]], None, "float32[2]",
         [[1.0, 2.0], None, None, None, [3.0, 4.0]], [1, 3]),
        ([[1, 2], [2**60, 1]], pa.list_(pa.int64(), 2), "int64[2]", [[1, 2], [2**60, 1]], []),
        ([[1.0, 1e39], [1.0, 2.0]], pa.large_list(pa.float64()), "float32[2]", [None, [1.0, 2.0]], [0]),
        (["[1, 2.5]", "1 2", "(1;2)", "1,2,3", "a,b", None], None, "float64[2]",
         [[1.0, 2.5], [1.0, 2.0], [1.0, 2.0], None, None, None], [3, 4]),
    ],
)  # fmt: skip
def test_values_become_the_type_or_are_named(values, kind, target, expected, wrong):
    assert converted(values, target, kind) == (expected, wrong)


def test_a_slice_is_converted_like_a_copy():
    vectors = pa.array([[1.0, 2.0], None, [3.0, 4.0], [5.0]], pa.list_(pa.float64())).slice(1)
    assert converted(vectors, "float32[2]") == ([None, [3.0, 4.0], None], [2])
    fixed = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)).slice(1)
    assert converted(fixed, "int64[2]") == ([None, [3, 4]], [])


def test_views_of_text_are_text():
    texts = pa.array(["NA", "1 2", None], pa.string_view())
    assert converted(texts, "float32[2]", null_values=("NA",)) == ([None, [1.0, 2.0], None], [])
    assert converted(texts, "string", null_values=("NA",)) == ([None, "1 2", None], [])
    assert converted(["2024-01-01"], "timestamp", pa.string_view()) == ([datetime(2024, 1, 1)], [])
    assert converted([["1", "2"], ["x", "1"]], "int64[2]", pa.list_(pa.string_view())) == ([[1, 2], None], [1])


def test_null_texts_are_null_where_they_may_be():
    assert converted(["NA", "1"], "float32", null_values=("NA",)) == ([None, 1.0], [])
    assert converted(["NA", "a"], "string", null_values=("NA",)) == ([None, "a"], [])
    assert converted(["NA", "a"], "string", null_values=("NA",), null_strings=False) == (["NA", "a"], [])


@pytest.mark.parametrize(
    ("source", "target"),
    [(pa.float64(), "string"), (pa.struct([]), "float32"), (pa.list_(pa.string()), "float32"), (pa.timestamp("us"), "int64"),
     (pa.float32(), "float32[2]"), (pa.int64(), "bytes"), (pa.bool_(), "timestamp")],
)  # fmt: skip
def test_what_cannot_become_a_type_is_known_before_reading(source, target):
    assert not is_convertible(source, DataType.parse(target))


# ------------------------------------------------------------------------------------------------------------------ times


def times(
    values: Any, kind: pa.DataType | None = None, text: str | None = None, zone: str = "UTC"
) -> tuple[list[str], list[int]]:
    result, wrong = read_times(pa.array(values, kind), TimeFormat(text, zone), None)
    return [str(time) if time is None else time.isoformat() for time in result.to_pylist()], wrong.tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-29", "2024-02-29T00:00:00"),
        ("2024-02-29 23:59", "2024-02-29T23:59:00"),
        ("2024-02-29T23:59:58.25", "2024-02-29T23:59:58.250000"),
        ("2024-02-29T23:59:58.123456789", "2024-02-29T23:59:58.123456"),
        ("2024-02-29T23:59:58Z", "2024-02-29T23:59:58"),
        ("2024-02-29T23:59:58.123456789+02:00", "2024-02-29T21:59:58.123456"),
        ("2024-02-29 23:59:58-0530", "2024-03-01T05:29:58"),
        (" 2024-02-29 23:59:58 UTC ", "2024-02-29T23:59:58"),
        ("1969-12-31T23:59:59", "1969-12-31T23:59:59"),
        ("2023-02-29", None),
        ("29.02.2024", None),
        ("1709250000", None),
    ],
)
def test_iso_8601_in_its_spellings(text, expected):
    # Among others, so that one odd value changes nothing for its neighbours.
    found, wrong = times(["2020-01-01", text, "2020-01-01T00:00:00Z", None])
    assert found == ["2020-01-01T00:00:00", str(expected) if expected is None else expected, "2020-01-01T00:00:00", "None"]
    assert wrong == ([1] if expected is None else [])


def test_local_times_are_of_the_zone_that_is_said():
    winter, summer = "2024-01-15 12:00:00", "2024-07-15 12:00:00"
    assert times([winter, summer], zone="Europe/Berlin")[0] == ["2024-01-15T11:00:00", "2024-07-15T10:00:00"]
    assert times([winter + "Z", summer], zone="Europe/Berlin")[0] == ["2024-01-15T12:00:00", "2024-07-15T10:00:00"]
    assert times([datetime(2024, 1, 15, 12)], zone="America/New_York")[0] == ["2024-01-15T17:00:00"]
    assert times([date(2024, 7, 15)], zone="America/New_York")[0] == ["2024-07-15T04:00:00"]
    assert times(["15.07.2024 12"], text="%d.%m.%Y %H", zone="Europe/Berlin")[0] == ["2024-07-15T10:00:00"]
    aware = pa.timestamp("ms", "Asia/Tokyo")
    assert times([datetime(2024, 1, 15, 12)], aware, zone="Europe/Berlin")[0] == ["2024-01-15T12:00:00"]


def test_a_time_that_a_clock_never_showed_is_wrong_and_one_shown_twice_is_the_earlier():
    found, wrong = times(["2024-03-31 02:30:00", "2024-03-31 03:00:00", "2024-10-27 02:30:00"], zone="Europe/Berlin")
    assert (found, wrong) == (["None", "2024-03-31T01:00:00", "2024-10-27T00:30:00"], [0])


@pytest.mark.parametrize(
    ("values", "unit", "expected"),
    [
        ([1_700_000_000, None], "s", "2023-11-14T22:13:20"),
        ([1_700_000_000.25, NAN], "s", "2023-11-14T22:13:20.250000"),
        ([1_700_000_000_123, None], "ms", "2023-11-14T22:13:20.123000"),
        ([1_700_000_000_123_456_789, None], "ns", "2023-11-14T22:13:20.123456"),
        (["1700000000", None], "s", "2023-11-14T22:13:20"),
        (["1700000000.25", ""], "s", "2023-11-14T22:13:20.250000"),
        (["1700000000123456789", " "], "ns", "2023-11-14T22:13:20.123456"),
    ],
)
def test_numbers_are_in_the_unit_that_is_said(values, unit, expected):
    assert times(values, text=unit) == ([expected, "None"], [])


def test_a_wrong_number_changes_none_beside_it():
    found, wrong = times(["1700000000123456789", "soon", "1700000000123456789.5", "nan"], text="ns")
    assert (found[:2], wrong) == (["2023-11-14T22:13:20.123456", "None"], [1, 3])


def test_numbers_out_of_range_are_wrong():
    assert times(pa.array([2**31 - 1, 1], pa.int32()).view(pa.date32())) == (["None", "1970-01-02T00:00:00"], [0])
    assert times([2**60, 1], text="s") == (["None", "1970-01-01T00:00:01"], [0])
    assert times(["soon", "1"], text="s") == (["None", "1970-01-01T00:00:01"], [0])


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("%d/%m/%Y %H:%M", "29/02/2024 23:59", "2024-02-29T23:59:00"),
        ("%d/%m/%Y %H:%M", "9/2/2024 3:05", "2024-02-09T03:05:00"),
        ("%d/%m/%Y", "31/02/2024", None),  # the C library makes it 2 March
        ("%Y-%m-%d", "2024-01-02x", None),
        ("%d %b %Y", "02 Jan 2024", "2024-01-02T00:00:00"),
        ("%Y%m%d %H%M%S.%f", "20240102 030405.5", "2024-01-02T03:04:05.500000"),
        ("%Y-%m-%dT%H:%M:%S%z", "2024-01-02T03:04:05+0200", "2024-01-02T01:04:05"),
    ],
)
def test_patterns_are_taken_at_their_word(pattern, text, expected):
    found, wrong = times([text, None, text], text=pattern)
    assert found == [str(expected) if expected is None else expected, "None", str(expected) if expected is None else expected]
    assert wrong == ([0, 2] if expected is None else [])


@pytest.mark.parametrize(
    ("text", "zone", "sentence"),
    [
        ("minutes", "UTC", "--timestamp-format: got 'minutes', expected s, ms, us or ns for numbers, or a pattern"),
        (None, "Berlin", "--timezone: got 'Berlin', expected a name such as UTC or America/New_York"),
    ],
)
def test_a_wrong_format_or_zone_is_named(text, zone, sentence):
    with pytest.raises(InvalidArgumentError) as raised:
        TimeFormat(text, zone)
    assert sentence in str(raised.value)
