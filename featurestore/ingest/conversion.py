"""Columns of files to columns of a view's types, a whole batch at a time.

Values that do not fit become null and are named by row, with what was expected; nothing is clipped, wrapped or rounded to an
integer. Floats are approximations, so they take integers and wider floats, but never a finite value as infinity. Invariant: a
converted array has exactly the type of ``arrow_type``, and holds a null wherever a row is named.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.ingest.times import MICROSECONDS, Rows, TimeFormat, cast_each, newly_null, read_times
from featurestore.model import DataType, Scalar

KEY_BYTES_MAX = 1_024
VALUE_BYTES_MAX = 1 << 20

_ARROW = {
    Scalar.BOOL: pa.bool_(),
    Scalar.INT32: pa.int32(),
    Scalar.INT64: pa.int64(),
    Scalar.FLOAT32: pa.float32(),
    Scalar.FLOAT64: pa.float64(),
    Scalar.TIMESTAMP: MICROSECONDS,
    Scalar.STRING: pa.string(),
    Scalar.BYTES: pa.binary(),
}
_EXPECTED = {
    Scalar.BOOL: "true or false",
    Scalar.INT32: "a whole number of 32 bits",
    Scalar.INT64: "a whole number of 64 bits",
    Scalar.FLOAT32: "a number within float32",
    Scalar.FLOAT64: "a number within float64",
    Scalar.TIMESTAMP: "a time",
    Scalar.STRING: "text in UTF-8",
    Scalar.BYTES: "bytes",
}


class Wrong(NamedTuple):
    """Rows whose value does not fit, and why."""

    rows: Rows
    reason: str


@dataclass(frozen=True, slots=True)
class Conversion:
    """The options of converting."""

    times: TimeFormat = field(default_factory=TimeFormat)
    null_values: tuple[str, ...] = ()
    """Texts that stand for null."""
    null_strings: bool = True
    """Whether they do so in string columns too. Not for CSV, whose parser knew which texts were quoted."""


def arrow_type(target: DataType) -> pa.DataType:
    """The Arrow type of a feature's type."""
    element = _ARROW[target.scalar]
    return element if target.length is None else pa.list_(element, target.length)


def is_convertible(source: pa.DataType, target: DataType) -> bool:
    """Whether some values of a file's type can become the target's."""
    types = pa.types
    if types.is_dictionary(source) or types.is_run_end_encoded(source):
        source = source.value_type
    if types.is_null(source):
        return True
    is_number = types.is_integer(source) or types.is_floating(source)
    is_text = _is_text(source) or _is_binary(source)  # some writers do not mark their text as UTF-8
    if target.length is not None:
        return is_text or (_is_list(source) and is_convertible(source.value_type, DataType(scalar=target.scalar)))
    match target.scalar:
        case Scalar.STRING:
            return is_text or types.is_integer(source) or types.is_boolean(source)
        case Scalar.BYTES:
            return is_text
        case Scalar.TIMESTAMP:
            return is_text or is_number or types.is_timestamp(source) or types.is_date(source)
        case _:
            return is_text or is_number or types.is_boolean(source) or types.is_decimal(source)


def convert(array: pa.Array, target: DataType, options: Conversion) -> tuple[pa.Array, list[Wrong]]:
    """The values as ``arrow_type(target)``. The array's type is one that ``is_convertible``."""
    types, to = pa.types, arrow_type(target)
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    elif types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    if types.is_string_view(array.type):
        array = array.cast(pa.string())  # few functions take views
    if types.is_null(array.type):
        return pa.nulls(len(array), to), []
    if array.type == to and not (target.is_variable or target.length or target.scalar is Scalar.TIMESTAMP):
        return array, []
    wrong: list[Wrong] = []
    if _is_text(array.type) and target.scalar is not Scalar.BYTES:
        try:
            array.validate(full=True)  # what Parquet and Arrow call text, nobody looked at
        except pa.ArrowInvalid:
            array = array.cast(pa.large_binary())
    if _is_binary(array.type) and target.scalar is not Scalar.BYTES:
        array, rows = cast_each(array, pa.string())
        wrong = _wrong(rows, "text in UTF-8")
    if _is_text(array.type) and options.null_values and (options.null_strings or not target.is_variable):
        is_null = pc.is_in(array, pa.array(options.null_values, array.type))
        array = pc.if_else(is_null, pa.scalar(None, array.type), array)
    if target.length is not None:
        converted, more = _vectors(array, target, to)
    elif target.is_variable:
        converted, more = _variable(array, to)
    elif target.scalar is Scalar.TIMESTAMP:
        converted, rows = read_times(array, options.times, "us")
        more = _wrong(rows, _expected_time(options.times))
    else:
        converted, rows = _from_text(array, to) if _is_text(array.type) else _from_number(array, to)
        more = _wrong(rows, _EXPECTED[target.scalar])
    return converted, wrong + more


def _expected_time(times: TimeFormat) -> str:
    written = "in ISO 8601" if times.text is None else f"written {times.text}" if times.unit is None else f"in {times.unit}"
    return f"a time {written}" + ("" if times.timezone == "UTC" else f" that exists in {times.timezone}")


def _wrong(rows: Rows, expected: str) -> list[Wrong]:
    return [Wrong(rows, f"expected {expected}")] if len(rows) else []


def _is_text(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return any(
        is_kind(kind) for is_kind in (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    )


def _is_list(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


# --------------------------------------------------------------------------------------------------------------- scalars


def _variable(array: pa.Array, to: pa.DataType) -> tuple[pa.Array, list[Wrong]]:
    converted = array if array.type == to else array.cast(to)
    return too_long(converted, VALUE_BYTES_MAX)


def too_long(array: pa.Array, bytes_max: int) -> tuple[pa.Array, list[Wrong]]:
    """Strings or bytes with those over a limit taken out."""
    lengths = pc.binary_length(array)
    longest = pc.max(lengths).as_py()
    if longest is None or longest <= bytes_max:
        return array, []
    fits = pc.less_equal(lengths, bytes_max)
    shortened = pc.if_else(fits, array, pa.scalar(None, array.type))
    return shortened, [Wrong(newly_null(array, shortened), f"longer than the {bytes_max} bytes allowed")]


def _from_number(array: pa.Array, to: pa.DataType) -> tuple[pa.Array, Rows]:
    source, types = array.type, pa.types
    if types.is_floating(to) and (types.is_floating(source) or types.is_integer(source)):
        converted = array.cast(to, safe=False)
        return _finite(converted, lambda: pc.is_finite(array.cast(pa.float64(), safe=False)))
    if types.is_floating(to):
        return cast_each(array, to)  # bool, decimal
    if types.is_floating(source):
        # What pandas makes of integers with nulls among them.
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, source), array)
    if types.is_boolean(to) and not types.is_boolean(source):
        whole, wrong = cast_each(array, pa.int64())
        truth = pc.equal(whole, 1)
        converted = pc.if_else(pc.or_(truth, pc.equal(whole, 0)), truth, pa.scalar(None, to))
        return converted, newly_null(array, converted) if not len(wrong) else np.union1d(wrong, newly_null(whole, converted))
    return cast_each(array, to)


def _finite(converted: pa.Array, was_finite: Callable[[], pa.Array]) -> tuple[pa.Array, Rows]:
    """Takes out what became infinite by converting."""
    infinite = pc.is_inf(converted)
    if not pc.any(infinite).as_py():
        return converted, np.empty(0, np.int64)
    overflowed = pc.and_(infinite, was_finite())
    kept = pc.if_else(overflowed, pa.scalar(None, converted.type), converted)
    return kept, newly_null(converted, kept)


def _from_text(texts: pa.Array, to: pa.DataType) -> tuple[pa.Array, Rows]:
    try:
        converted, wrong = texts.cast(to), np.empty(0, np.int64)
    except pa.ArrowInvalid:
        texts = pc.utf8_trim_whitespace(texts)
        texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)
        texts = pc.replace_substring_regex(texts, r"^\+", "")
        if pa.types.is_integer(to):
            # 12.0 is how integers with nulls among them leave pandas.
            texts = pc.replace_substring_regex(texts, r"^(-?\d+)\.0*$", r"\1")
            nan = pc.match_substring_regex(texts, r"^(?i:nan)$")
            texts = pc.if_else(nan, pa.scalar(None, texts.type), texts)
        converted, wrong = cast_each(texts, to)
    if pa.types.is_floating(to):
        meant = r"^\s*[+-]?(?i:inf|infinity)\s*$"
        converted, infinite = _finite(converted, lambda: pc.invert(pc.match_substring_regex(texts, meant)))
        wrong = np.union1d(wrong, infinite) if len(infinite) else wrong
    return converted, wrong


# --------------------------------------------------------------------------------------------------------------- vectors


def _vectors(array: pa.Array, target: DataType, to: pa.DataType) -> tuple[pa.Array, list[Wrong]]:
    """Lists, or texts such as ``[1, 2.5, 3]`` (or ``1 2.5 3``), to vectors of one length."""
    assert target.length is not None
    kind = array.type
    if _is_list(kind) and pa.types.is_string_view(kind.value_type):
        kind = pa.list_(pa.string())
        array = array.cast(kind)
    if _is_list(kind) and pa.types.is_fixed_size_list(kind) and kind == to and not array.flatten().null_count:
        return array, []
    if _is_text(kind):
        texts = pc.utf8_trim(array, "[]() \t")
        texts = pc.replace_substring_regex(texts, r"[\s,;]+", " ")
        array = pc.split_pattern(texts, " ")
    rows = np.arange(len(array))
    lengths = pc.list_value_length(array)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    fits = pc.fill_null(pc.equal(lengths, target.length), False).to_numpy(zero_copy_only=False)
    of_length = rows[fits]
    wrong = _wrong(rows[valid & ~fits], f"{target.length} elements")
    elements = array.filter(pa.array(fits)).flatten()
    convert_element = _from_text if _is_text(elements.type) else _from_number
    if pa.types.is_null(elements.type):
        converted = pa.nulls(len(elements), to.value_type)
    elif elements.type == to.value_type:
        converted = elements
    else:
        converted, _ = convert_element(elements, to.value_type)
    if converted.null_count:
        # An element that is null or does not fit spoils its vector.
        spoiled = converted.is_null().to_numpy(zero_copy_only=False).reshape(-1, target.length).any(axis=1)
        wrong += _wrong(of_length[spoiled], f"{target.length} elements, each {_EXPECTED[target.scalar]}")
        converted = converted.filter(pa.array(np.repeat(~spoiled, target.length)))
        of_length = of_length[~spoiled]
    vectors = pa.FixedSizeListArray.from_arrays(converted, target.length)
    if len(of_length) != len(rows):
        places = np.full(len(rows), -1)
        places[of_length] = np.arange(len(of_length))
        vectors = vectors.take(pa.array(places, mask=places < 0))
    return vectors.cast(to) if vectors.type != to else vectors, wrong
