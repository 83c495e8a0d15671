"""Times in files, whatever they are written as, to microseconds since 1970 UTC.

Invariant: a time without a zone is of the zone that the load names (UTC unless told), and nothing else is guessed: a number
needs a unit, and a local time that a clock never showed is wrong. One that it showed twice is the earlier of the two.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import InvalidArgumentError

MICROSECONDS = pa.timestamp("us")
UNITS = ("s", "ms", "us", "ns")
_PER_UNIT_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_EPOCH = datetime(1970, 1, 1)
_ZONE_SUFFIX = r"(?:Z|[+-]\d\d(?::?\d\d)?)$"

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """How times are written. ``text`` is a strptime pattern, or the unit of numbers: s, ms, us, ns; None: ISO 8601."""

    text: str | None = None
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if self.text is not None and self.text not in UNITS and "%" not in self.text:
            expected = "s, ms, us or ns for numbers, or a pattern such as %d/%m/%Y %H:%M"
            raise InvalidArgumentError.of("--timestamp-format", self.text, expected)
        try:
            pc.assume_timezone(pa.nulls(1, MICROSECONDS), self.timezone)
        except pa.ArrowInvalid as error:
            raise InvalidArgumentError.of("--timezone", self.timezone, "a name such as UTC or America/New_York") from error

    @property
    def unit(self) -> str | None:
        """Of numbers."""
        return self.text if self.text in UNITS else None


def read_times(array: pa.Array, written: TimeFormat, number_unit: str | None) -> tuple[pa.Array, Rows]:
    """Times as timestamp[us] in UTC, null where they are null or wrong, and the rows where they are wrong.

    ``number_unit`` is the unit of numbers where ``written`` names none.
    """
    kind, types = array.type, pa.types
    if types.is_timestamp(kind):
        instants, wrong = cast_each(array, pa.timestamp("us", kind.tz), safe=kind.unit != "ns")
        if kind.tz is not None:
            return instants.view(MICROSECONDS), wrong
        return _in_zone(instants, wrong, written.timezone)
    if types.is_date(kind):
        return _in_zone(*cast_each(array, MICROSECONDS), written.timezone)
    if types.is_integer(kind) or types.is_floating(kind):
        return _numbers(array, written.unit or number_unit or "us")
    if written.unit is not None:
        return _number_texts(array, written.unit)
    if written.text is None:
        # First as they mostly are: all with a zone, or all without one. Besides being quick, it makes no scalar of a Python
        # value, which imports pandas where that is installed: a second of its own. The first text says which of the two to
        # try, for Arrow words an error for each value of the wrong one.
        present = array.drop_null()
        zoned = len(present) and re.search(_ZONE_SUFFIX, present[0].as_py()[10:])
        with suppress(pa.ArrowInvalid):
            if zoned:
                return array.cast(pa.timestamp("us", "UTC")).view(MICROSECONDS), _NO_ROWS
            return _in_zone(array.cast(MICROSECONDS), _NO_ROWS, written.timezone)
    texts = pc.utf8_trim_whitespace(array)
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)
    return _iso(texts, written.timezone) if written.text is None else _patterned(texts, written.text, written.timezone)


_NO_ROWS: Rows = np.empty(0, np.int64)


def cast_each(array: pa.Array, to: pa.DataType, *, safe: bool = True) -> tuple[pa.Array, Rows]:
    """``array.cast(to)`` with nulls where a value cannot be cast, and the rows of these.

    Values are tried together and halved where that fails, so that the cost is that of one cast while all are right.
    """
    pieces: list[pa.Array] = []
    wrong: list[int] = []

    def cast(first: int, rows: int) -> None:
        try:
            pieces.append(array.slice(first, rows).cast(to, safe=safe))
        except pa.ArrowInvalid:
            if rows == 1:
                wrong.append(first)
                pieces.append(pa.nulls(1, to))
            else:
                cast(first, rows // 2)
                cast(first + rows // 2, rows - rows // 2)

    cast(0, len(array))
    return pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces), np.array(wrong, np.int64)


def newly_null(before: pa.Array, after: pa.Array) -> Rows:
    """The rows that are null after a conversion and were not before."""
    if after.null_count == before.null_count:
        return _NO_ROWS
    lost = pc.and_(pc.is_valid(before), pc.is_null(after))
    return np.flatnonzero(lost.to_numpy(zero_copy_only=False))


def _merged(*wrong: Rows) -> Rows:
    return np.unique(np.concatenate(wrong)) if any(len(rows) for rows in wrong) else _NO_ROWS


def _in_zone(local: pa.Array, wrong: Rows, timezone: str) -> tuple[pa.Array, Rows]:
    """Local times of a zone as UTC."""
    if timezone == "UTC":
        return local, wrong
    try:
        instants = pc.assume_timezone(local, timezone, ambiguous="earliest", nonexistent="raise")
        return instants.view(MICROSECONDS), wrong
    except pa.ArrowInvalid:
        # Times that the clock jumped over are those for which the two ways to make do differ.
        before = pc.assume_timezone(local, timezone, ambiguous="earliest", nonexistent="earliest").view(MICROSECONDS)
        after = pc.assume_timezone(local, timezone, ambiguous="earliest", nonexistent="latest").view(MICROSECONDS)
        instants = pc.if_else(pc.equal(before, after), before, pa.scalar(None, MICROSECONDS))
        return instants, _merged(wrong, newly_null(local, instants))


def _numbers(array: pa.Array, unit: str) -> tuple[pa.Array, Rows]:
    if pa.types.is_floating(array.type):
        floats = array.cast(pa.float64())
        floats = pc.if_else(pc.is_nan(floats), pa.scalar(None, pa.float64()), floats)
        whole, wrong = cast_each(pc.round(pc.multiply(floats, _PER_UNIT_US[unit])), pa.int64())
        return whole.view(MICROSECONDS), wrong
    whole, wrong = cast_each(array, pa.int64())
    instants, wrong_too = cast_each(whole.view(pa.timestamp(unit)), MICROSECONDS, safe=unit != "ns")
    return instants, _merged(wrong, wrong_too)


def _number_texts(array: pa.Array, unit: str) -> tuple[pa.Array, Rows]:
    texts = pc.utf8_trim_whitespace(array)
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)
    try:
        return _numbers(texts.cast(pa.int64()), unit)
    except pa.ArrowInvalid:
        # Only those with a point are floats on the way: nanoseconds would be rounded.
        is_whole, nothing = pc.match_substring_regex(texts, r"^-?\d+$"), pa.scalar(None, texts.type)
        whole, _ = cast_each(pc.if_else(is_whole, texts, nothing), pa.int64())
        floats, _ = cast_each(pc.if_else(is_whole, nothing, texts), pa.float64())
        instants = pc.coalesce(_numbers(whole, unit)[0], _numbers(floats, unit)[0])
        return instants, newly_null(texts, instants)


def _iso(texts: pa.Array, timezone: str) -> tuple[pa.Array, Rows]:
    """ISO 8601, with or without a zone, row by row."""
    # Digits behind the microsecond are cut, as they are from binary nanoseconds.
    texts = pc.replace_substring_regex(texts, r"(\.\d{6})\d+", r"\1")
    texts = pc.replace_substring_regex(texts, r" ?UTC$", "Z")
    zoned = pc.match_substring_regex(pc.utf8_slice_codeunits(texts, 10), _ZONE_SUFFIX)
    nothing = pa.scalar(None, texts.type)
    with_zone, wrong = cast_each(pc.if_else(zoned, texts, nothing), pa.timestamp("us", "UTC"))
    local, wrong_too = cast_each(pc.if_else(zoned, nothing, texts), MICROSECONDS)
    without_zone, wrong = _in_zone(local, _merged(wrong, wrong_too), timezone)
    return pc.coalesce(with_zone.view(MICROSECONDS), without_zone), wrong


def _patterned(texts: pa.Array, pattern: str, timezone: str) -> tuple[pa.Array, Rows]:
    """Times by a strptime pattern."""
    if "%z" in pattern or "%f" in pattern:
        times = _exactly(texts, pattern)
    else:
        seconds = pc.strptime(texts, format=pattern, unit="s", error_is_null=True)
        # The C library takes 31 February for a day in March. What does not come out as it went in is left to Python.
        sure = pc.fill_null(pc.equal(pc.strftime(seconds, format=pattern), texts), False)
        times = pc.if_else(sure, seconds, pa.scalar(None, seconds.type)).cast(MICROSECONDS)
        if times.null_count != texts.null_count:
            doubtful = pc.if_else(sure, pa.scalar(None, texts.type), texts)
            times = pc.coalesce(times, _exactly(doubtful, pattern))
    wrong = newly_null(texts, times)
    return (times, wrong) if "%z" in pattern else _in_zone(times, wrong, timezone)


def _exactly(texts: pa.Array, pattern: str) -> pa.Array:
    """By Python's own strptime, once for each different text."""
    encoded = texts.dictionary_encode()
    values = pa.array([_parse(text, pattern) for text in encoded.dictionary.to_pylist()], pa.int64())
    return values.take(encoded.indices).view(MICROSECONDS)


def _parse(text: Any, pattern: str) -> int | None:
    try:
        time = datetime.strptime(text, pattern)
    except ValueError:
        return None
    if time.tzinfo is not None:
        time = time.astimezone(UTC).replace(tzinfo=None)
    return (time - _EPOCH) // timedelta(microseconds=1)
