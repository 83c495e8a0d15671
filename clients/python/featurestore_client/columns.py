"""Columns for the wire, from whatever people hold their values in: lists, NumPy, Arrow, pandas.

This is the one place where values become Columns: reads (``key_column``), writes (``write_batch``) and the ingestion command
all call it; only the plainest keys of reads go a shorter way (``encoding.ordinary_get_request``). Buffers are taken as they are
wherever there are buffers. Invariant: a column that is returned is valid in itself; what is wrong is an InvalidArgumentError
that names the column and row.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore_client.encoding import FlatValues, WireBatch, WireColumn, wire_batch, wire_column
from featurestore_client.errors import InvalidArgumentError, shorten
from featurestore_client.types import DataType, ViewSchema, parse_type
from featurestore_client.values import list_values, numpy_values, unpack_validity

EVENT_TIMESTAMP_COLUMN = "event_timestamp"
"""The column that holds the event times where none is named."""

_INT64_TYPE = parse_type("int64")
_STRING_TYPE = parse_type("string")
_TIMESTAMP_TYPE = parse_type("timestamp")


def key_column(name: str, values: Any, type: DataType | str | None = None) -> WireColumn:  # noqa: A002  the proto's word
    """The column of one join key; a single value stands for as many equal ones as the other columns have.

    ``type`` is int64 or string; without it, it is that of the values. Raises InvalidArgumentError for a null or another type.
    """
    named = type if type is not None else _key_type(values)
    data_type = parse_type(named) if isinstance(named, str) else named
    flat = flat_values(name, values, data_type)
    if flat.validity is not None:
        row = int(np.argmin(unpack_validity(flat.validity, flat.rows)))
        raise InvalidArgumentError.of(f"{name}[{row}]", None, "a value: a join key is never null")
    return wire_column(name, data_type.wire_field, flat)


def _key_type(values: Any) -> DataType:
    if isinstance(values, (list, tuple)) or (isinstance(values, np.ndarray) and values.dtype.kind == "O"):
        values = next((each for each in values if each is not None), None)
    if isinstance(values, (str, bytes)):  # bytes are refused, as no str
        return _STRING_TYPE
    kind = str(getattr(values, "type", getattr(values, "dtype", ""))).lower()
    return _STRING_TYPE if any(word in kind for word in ("str", "<u", "|s", "object", "categor")) else _INT64_TYPE


def feature_column(name: str, values: Any, type: DataType | str) -> WireColumn:  # noqa: A002  the proto's word
    """The column of one feature. Raises InvalidArgumentError where a value does not fit the type."""
    data_type = parse_type(type) if isinstance(type, str) else type
    return wire_column(name, data_type.wire_field, flat_values(name, values, data_type))


def event_timestamps_us(values: Any, name: str = EVENT_TIMESTAMP_COLUMN) -> npt.NDArray[np.int64]:
    """Event times as int64 microseconds: datetimes (a naive one is UTC), datetime64, Arrow timestamps, or microseconds."""
    flat = flat_values(name, values, _TIMESTAMP_TYPE)
    if flat.validity is not None:
        row = int(np.argmin(unpack_validity(flat.validity, flat.rows)))
        raise InvalidArgumentError.of(f"{name}[{row}]", None, "a time: an event timestamp is never null")
    return flat.values if isinstance(flat.values, np.ndarray) else np.frombuffer(flat.values, np.int64)


def flat_values(name: str, values: Any, data_type: DataType) -> FlatValues:
    """The flat form of values of any kind that is known."""
    return _reader_of(values.__class__)(name, values, data_type)


Reader = Callable[[str, Any, DataType], FlatValues]


@lru_cache(maxsize=256)
def _reader_of(kind: type) -> Reader:
    """What reads values of this class; found once for each class, for a wide table has thousands of columns."""
    if issubclass(kind, np.ndarray):
        return lambda name, values, data_type: numpy_values(name, values[None] if values.ndim == 0 else values, data_type)
    if issubclass(kind, (list, tuple)):
        return list_values
    if _is_of("pyarrow", ("Array", "ChunkedArray"), kind):
        from featurestore_client.arrow_values import arrow_values  # noqa: PLC0415  pyarrow is optional, and slow to import

        return arrow_values
    if _is_of("pandas", ("Series",), kind):
        from featurestore_client.pandas_values import series_values  # noqa: PLC0415  few calls come with pandas

        return series_values
    if _is_of("pandas", ("Index",), kind):
        return lambda name, values, data_type: flat_values(name, values.to_series(), data_type)
    if issubclass(kind, (str, bytes, int, float, np.generic, date, type(None))):
        return lambda name, values, data_type: list_values(name, [values], data_type)
    if hasattr(kind, "__arrow_c_stream__") or hasattr(kind, "__arrow_c_array__"):
        import pyarrow as pa  # noqa: PLC0415  whoever has such values has it, nearly always

        return lambda name, values, data_type: flat_values(name, pa.chunked_array(values), data_type)
    if hasattr(kind, "__array__"):
        return lambda name, values, data_type: numpy_values(name, np.asarray(values), data_type)
    if issubclass(kind, Iterable) and not issubclass(kind, Mapping):
        return lambda name, values, data_type: list_values(name, list(values), data_type)
    return _refuse_kind


def _refuse_kind(name: str, values: Any, data_type: DataType) -> FlatValues:
    expected = f"values of {data_type} in a list, a NumPy array, an Arrow array or a pandas Series"
    raise InvalidArgumentError.of(name, values, expected)


def _is_of(module: str, classes: tuple[str, ...], kind: type) -> bool:
    """Whether a class is one of these of a module, which is not imported to find out."""
    loaded = sys.modules.get(module)
    return loaded is not None and issubclass(kind, tuple(getattr(loaded, name) for name in classes))


# ------------------------------------------------------------------------------------------------------------------ tables


def is_table(data: object) -> bool:
    """Whether this is a table of columns, rather than an iterable of them."""
    return (
        isinstance(data, Mapping)
        or _is_of("pyarrow", ("RecordBatch", "Table"), data.__class__)
        or _is_of("pandas", ("DataFrame",), data.__class__)
        or (isinstance(data, np.ndarray) and data.dtype.names is not None)
    )


def columns_in(data: Any) -> dict[str, Any]:
    """The columns of a mapping, an Arrow record batch or table, a pandas frame, or a structured array, by name."""
    if isinstance(data, Mapping):
        return dict(data)
    if _is_of("pyarrow", ("RecordBatch", "Table"), data.__class__):
        return dict(zip(data.schema.names, data.columns, strict=True))
    if _is_of("pandas", ("DataFrame",), data.__class__):
        return {str(name): data[name] for name in data.columns}
    if isinstance(data, np.ndarray) and data.dtype.names is not None:
        return {name: data[name] for name in data.dtype.names}
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        import pyarrow as pa  # noqa: PLC0415  whoever has such a table has it, nearly always

        with suppress(pa.ArrowInvalid):  # a single column
            return columns_in(pa.table(data))
    raise InvalidArgumentError.of(
        "data", data, "a mapping of columns, an Arrow record batch or table, a pandas frame, or a structured array"
    )


def rows_in(data: Any) -> int:
    """The rows of a table."""
    if isinstance(data, Mapping):
        return max(
            (1 if isinstance(each, (str, bytes)) or not hasattr(each, "__len__") else len(each) for each in data.values()),
            default=0,
        )
    return int(data.num_rows) if hasattr(data, "num_rows") else len(data)


def slice_rows(data: Any, start: int, stop: int) -> Any:
    """Rows of a table, without copying them where it holds buffers."""
    if isinstance(data, Mapping):
        return {name: values[start:stop] for name, values in data.items()}
    if hasattr(data, "num_rows"):
        return data.slice(start, stop - start)
    return data.iloc[start:stop] if hasattr(data, "iloc") else data[start:stop]


def write_batch(view: ViewSchema, data: Any, *, event_timestamps: Any = None, timestamp_column: str | None = None) -> WireBatch:
    """The WriteBatch of a table: its join keys, those features that it has, and its event times.

    ``event_timestamps`` gives the times apart (n of them, or one for all). Otherwise they are the column ``timestamp_column``,
    by default ``event_timestamp`` where there is one; without any, the server's clock is the time.
    """
    columns = columns_in(data)
    timestamps: npt.NDArray[np.int64] | None = None
    if event_timestamps is not None:
        if timestamp_column is not None:
            raise InvalidArgumentError.of("timestamp_column", timestamp_column, "no column where event_timestamps are given")
        timestamps = event_timestamps_us(event_timestamps, "event_timestamps")
    elif timestamp_column is not None:
        if timestamp_column not in columns:
            raise InvalidArgumentError.of("timestamp_column", timestamp_column, f"a column of the data: {_names(columns)}")
        values = columns[timestamp_column]
        if timestamp_column not in view.features and timestamp_column not in view.join_keys:
            del columns[timestamp_column]
        timestamps = event_timestamps_us(values, timestamp_column)
    elif EVENT_TIMESTAMP_COLUMN in columns and EVENT_TIMESTAMP_COLUMN not in view.features:
        timestamps = event_timestamps_us(columns.pop(EVENT_TIMESTAMP_COLUMN))
    keys = key_columns(view, columns)
    features = []
    for name, values in columns.items():
        if name in view.join_keys:
            continue
        data_type = view.features.get(name)
        if data_type is None:
            raise _unknown_column(name, view)
        features.append(feature_column(name, values, data_type))
    rows = keys[0].rows
    for column in features:
        if column.rows != rows:
            raise InvalidArgumentError.of(column.name, f"{column.rows} values", f"{rows}, as many as there are join keys")
    if timestamps is not None and (count := len(timestamps)) not in (1, rows):
        raise InvalidArgumentError.of("event_timestamps", f"{count} values", f"{rows}, one a row, or one for all")
    return wire_batch(rows, keys, features, timestamps)


def key_columns(view: ViewSchema, columns: Mapping[str, Any]) -> list[WireColumn]:
    """A column for each join key of a view, all of as many rows."""
    keys = []
    for name, data_type in view.join_keys.items():
        if name not in columns:
            expected = f"a column for join key {name!r} of view {view.view!r}"
            raise InvalidArgumentError.of(name, f"the columns {_names(columns)}", expected)
        keys.append(key_column(name, columns[name], data_type))
    for column in keys:
        if column.rows != keys[0].rows:
            raise InvalidArgumentError.of(
                column.name, f"{column.rows} values", f"{keys[0].rows}, as many as {keys[0].name!r} has"
            )
    return keys


def _names(names: Iterable[str]) -> str:
    return shorten(list(names))


def _unknown_column(name: str, view: ViewSchema) -> InvalidArgumentError:
    known: Sequence[str] = [*view.features]
    close = get_close_matches(name, known, n=3, cutoff=0.6)
    offered = f"like {_names(close)}" if close else f"of {_names(known)}"
    return InvalidArgumentError.of("column", name, f"a join key or feature of view {view.view!r}, one {offered}")
