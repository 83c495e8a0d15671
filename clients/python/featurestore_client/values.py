"""Values as flat buffers of one type, made from Python lists and NumPy arrays.

``arrow_values.py`` and ``pandas_values.py`` bring their own kinds of values here. What is widened or narrowed on the way keeps
its value: a number that does not fit is refused, never wrapped or cut; only floats are rounded to the width of their feature.
Invariant: a FlatValues is what the wire's Column holds: little-endian, C-contiguous, offsets from 0, no bit set past the rows.
"""

from array import array
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore_client.encoding import Bits, FlatValues
from featurestore_client.errors import InvalidArgumentError
from featurestore_client.types import DataType

INT64 = np.dtype("<i8")
_EXACT_IN_FLOAT64 = 1 << 53
_DATA_BYTES_MAX = (1 << 31) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FINER_THAN_US = ("ns", "ps", "fs", "as")


def pack_validity(valid: npt.NDArray[np.bool_]) -> Bits | None:
    """The bitmap of a mask, None where all are valid."""
    return None if valid.all() else np.packbits(valid, bitorder="little")


def unpack_validity(validity: Bits, rows: int) -> npt.NDArray[np.bool_]:
    """The mask of a bitmap."""
    return np.unpackbits(validity, count=rows, bitorder="little").view(np.bool_)


def refuse(name: str, row: int, value: object, expected: str) -> InvalidArgumentError:
    """The error for one value of a column."""
    return InvalidArgumentError.of(f"{name}[{row}]", value, expected)


# ------------------------------------------------------------------------------------------------------------------- NumPy


def numpy_values(name: str, values: npt.NDArray[Any], data_type: DataType, validity: Bits | None = None) -> FlatValues:
    """The flat form of an array of shape (n,), or (n, length) for a vector.

    Elements behind a null of ``validity`` are not looked at.
    """
    if isinstance(values, np.ma.MaskedArray):
        missing = np.atleast_1d(np.ma.getmaskarray(values))
        if missing.ndim > 1:
            missing = np.asarray(missing.any(axis=1))
        validity, values = pack_validity(~missing), np.ma.getdata(values)
    if values.dtype.kind in "OUST" and values.dtype.names is None:
        if values.dtype.kind == "O" or data_type.is_variable:
            listed = values.tolist()
            if validity is not None:
                valid = unpack_validity(validity, len(listed))
                listed = [value if valid[row] else None for row, value in enumerate(listed)]
            return list_values(name, listed, data_type)
        raise InvalidArgumentError.of(name, f"an array of {values.dtype}", f"values of {data_type}")
    if data_type.is_variable:
        raise InvalidArgumentError.of(name, f"an array of {values.dtype}", f"values of {data_type}")
    shape_wanted = (len(values),) if data_type.length is None else (len(values), data_type.length)
    if values.ndim == 0 or values.shape != shape_wanted:
        expected = "shape (n,)" if data_type.length is None else f"shape (n, {data_type.length})"
        raise InvalidArgumentError.of(name, f"an array of shape {values.shape}", f"{expected} for {data_type}")
    rows = len(values)
    if data_type.scalar == "timestamp":
        return _timestamps(name, values, validity)
    dtype = data_type.dtype
    assert dtype is not None
    if values.dtype != dtype:
        values = _converted(name, values, data_type, dtype, validity)
    return FlatValues(rows, np.ascontiguousarray(values), None, validity)


def _converted(
    name: str, values: npt.NDArray[Any], data_type: DataType, dtype: np.dtype[Any], validity: Bits | None
) -> npt.NDArray[Any]:
    kind = values.dtype.kind
    if kind not in "biuf":
        raise InvalidArgumentError.of(name, f"an array of {values.dtype}", f"values of {data_type}")
    if np.can_cast(values.dtype, dtype, "safe") and dtype.kind != "b":
        return values.astype(dtype)
    if validity is not None:
        values = values.copy()
        values[~unpack_validity(validity, len(values))] = 0  # what lies behind a null must not be judged
    if dtype.kind == "f":
        try:
            with np.errstate(over="raise"):
                return values.astype(dtype)
        except FloatingPointError:
            finite = np.isfinite(values) & (np.abs(values) > np.finfo(dtype).max)
            raise _first_wrong(name, values, finite, f"a number that {data_type} can hold") from None
    if dtype.kind == "b":
        wrong = (values != 0) & (values != 1)
        if wrong.any():
            raise _first_wrong(name, values, wrong, "true or false")
        return values.astype(dtype)
    if kind == "f":
        with np.errstate(invalid="ignore"):
            wrong = ~((values == np.floor(values)) & (np.abs(values) <= _EXACT_IN_FLOAT64))
        if wrong.any():
            raise _first_wrong(name, values, wrong, f"a whole number for {data_type}, as a float at most 2^53")
        values = values.astype(np.int64)
    limits = np.iinfo(dtype)
    if len(values) and (int(values.max()) > limits.max or int(values.min()) < limits.min):
        wrong = values > limits.max
        if values.dtype.kind == "i":
            wrong |= values < limits.min
        raise _first_wrong(name, values, wrong, f"a whole number from {limits.min} to {limits.max} for {data_type}")
    return values.astype(dtype)


def _first_wrong(name: str, values: npt.NDArray[Any], wrong: npt.NDArray[np.bool_], expected: str) -> InvalidArgumentError:
    row = int(np.argmax(wrong if wrong.ndim == 1 else wrong.any(axis=1)))
    return refuse(name, row, values[row].tolist(), expected)


def _timestamps(name: str, values: npt.NDArray[Any], validity: Bits | None) -> FlatValues:
    rows, kind = len(values), values.dtype.kind
    if kind == "M":
        missing = np.isnat(values)
        if missing.any():
            valid = ~missing if validity is None else ~missing & unpack_validity(validity, rows)
            validity = pack_validity(valid)
        microseconds = values.astype("<M8[us]")
        unit = np.datetime_data(values.dtype)[0]
        if unit != "us" and unit not in _FINER_THAN_US:
            wrong = (microseconds.astype(values.dtype) != values) & ~missing
            if validity is not None:
                wrong &= unpack_validity(validity, rows)
            if wrong.any():
                raise _first_wrong(name, values, wrong, "a time that int64 microseconds since 1970 can hold")
        flat = np.ascontiguousarray(microseconds).view(INT64)
    elif kind in "iu":
        flat = np.ascontiguousarray(values.astype(INT64, casting="same_kind") if values.dtype != INT64 else values)
        if values.dtype == np.uint64 and rows and int(values.max()) > np.iinfo(np.int64).max:
            raise InvalidArgumentError.of(name, int(values.max()), "int64 microseconds since 1970 UTC")
    else:
        raise InvalidArgumentError.of(
            name,
            f"an array of {values.dtype}",
            "datetimes (a naive one is UTC), datetime64, or int64 microseconds since 1970 UTC",
        )
    return FlatValues(rows, flat, None, validity)


# ------------------------------------------------------------------------------------------------------------------- lists


def list_values(name: str, values: Sequence[Any], data_type: DataType) -> FlatValues:
    """The flat form of Python values; None is null."""
    validity = None
    if any(value is None for value in values):
        validity = pack_validity(np.fromiter((value is not None for value in values), np.bool_, len(values)))
    if data_type.scalar == "string":
        return strings(name, values if validity is None else ["" if value is None else value for value in values], validity)
    if data_type.scalar == "bytes":
        return byte_strings(
            name, values if validity is None else [b"" if value is None else value for value in values], validity
        )
    if data_type.scalar == "timestamp":
        microseconds = [0 if value is None else timestamp_us(name, row, value) for row, value in enumerate(values)]
        return FlatValues(len(values), np.array(microseconds, INT64), None, validity)
    assert data_type.dtype is not None
    if not len(values):
        shape = (0,) if data_type.length is None else (0, data_type.length)
        return FlatValues(0, np.empty(shape, data_type.dtype))
    fill = 0 if data_type.length is None else [0] * data_type.length
    try:
        natural = np.asarray(values if validity is None else [fill if value is None else value for value in values])
    except (ValueError, TypeError, OverflowError):
        natural = None  # ragged
    if (
        natural is None
        or natural.dtype.kind not in "biuf"
        or natural.shape[1:] != (() if data_type.length is None else (data_type.length,))
    ):
        raise _wrong_in_list(name, values, data_type)
    return numpy_values(name, natural, data_type, validity)


def _wrong_in_list(name: str, values: Sequence[Any], data_type: DataType) -> InvalidArgumentError:
    for row, value in enumerate(values):
        if value is None:
            continue
        try:
            single = np.asarray(value)
        except (ValueError, TypeError, OverflowError):
            return refuse(name, row, value, f"a value of {data_type}")
        wanted = () if data_type.length is None else (data_type.length,)
        if single.dtype.kind not in "biuf" or single.shape != wanted:
            return refuse(name, row, value, f"a value of {data_type}")
    return InvalidArgumentError.of(name, list(values[:4]), f"values of {data_type}")


def strings(name: str, values: Sequence[Any], validity: Bits | None = None) -> FlatValues:
    """Texts, as UTF-8."""
    try:
        text = "".join(values)
        data = text.encode()
        if len(data) == len(text):
            return FlatValues(len(values), data, _offsets(name, [len(value) for value in values]), validity)
        return FlatValues(len(values), data, _offsets(name, [len(value.encode()) for value in values]), validity)
    except (TypeError, UnicodeEncodeError):
        for row, value in enumerate(values):
            if not isinstance(value, str):
                raise refuse(name, row, value, "a str") from None
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise refuse(name, row, value, "a str without lone surrogates, which UTF-8 cannot hold") from None
        raise


def byte_strings(name: str, values: Sequence[Any], validity: Bits | None = None) -> FlatValues:
    """Byte strings, as they are."""
    for row, value in enumerate(values):
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise refuse(name, row, value, "bytes")
    encoded = [bytes(value) for value in values]
    return FlatValues(len(encoded), b"".join(encoded), _offsets(name, [len(value) for value in encoded]), validity)


def _offsets(name: str, lengths: list[int]) -> memoryview:
    try:
        return memoryview(array("i", accumulate(lengths, initial=0)))
    except OverflowError:
        raise too_long(name, sum(lengths)) from None


def too_long(name: str, data_bytes: int) -> InvalidArgumentError:
    """The error for more string data than one column's int32 offsets reach."""
    return InvalidArgumentError.of(
        name, f"{data_bytes} bytes of data in one batch", f"at most {_DATA_BYTES_MAX}: write smaller batches"
    )


def timestamp_us(name: str, row: int, value: object) -> int:
    """Microseconds since 1970 UTC of a datetime (a naive one is UTC), a date, a datetime64 or an int."""
    if isinstance(value, datetime):
        return ((value.replace(tzinfo=UTC) if value.tzinfo is None else value) - _EPOCH) // _MICROSECOND
    if isinstance(value, date):
        return (datetime(value.year, value.month, value.day, tzinfo=UTC) - _EPOCH) // _MICROSECOND
    if isinstance(value, np.datetime64) and not np.isnat(value):
        return int(value.astype("<M8[us]").astype(np.int64))
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and -(1 << 63) <= int(value) < 1 << 63:
        return int(value)
    raise refuse(name, row, value, "a datetime (a naive one is UTC), a datetime64, or int64 microseconds since 1970 UTC")
