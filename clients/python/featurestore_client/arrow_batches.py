"""Rows that come as wire columns, as Arrow record batches of the view's own types: by their buffers, as ``arrow_values`` takes
them on the way out. Imported only where Arrow is asked for.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from featurestore_client.errors import FailedPreconditionError, InvalidArgumentError
from featurestore_client.types import DataType, ViewSchema
from featurestore_client.wire import featurestore_raw_pb2 as wire

TIME = pa.timestamp("us", "UTC")
_TYPES = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "timestamp": TIME,
    "string": pa.string(),
    "bytes": pa.binary(),
}


def arrow_schema(view: ViewSchema, timestamp_column: str) -> Any:
    """Join keys, the event time, features."""
    if timestamp_column in view.features or timestamp_column in view.join_keys:
        expected = f"a name that no join key or feature of view {view.view!r} has"
        raise InvalidArgumentError.of("timestamp_column", timestamp_column, expected)
    keys = [pa.field(name, _type(each), nullable=False) for name, each in view.join_keys.items()]
    time = pa.field(timestamp_column, TIME, nullable=False)
    return pa.schema([*keys, time, *(pa.field(name, _type(each)) for name, each in view.features.items())])


def record_batch(schema: Any, view: ViewSchema, batch: wire.WriteBatch) -> Any:
    """A batch of the schema. FailedPreconditionError where the view's columns are not those of the schema any more."""
    types = {**view.join_keys, **view.features}
    columns = {column.name: column for column in (*batch.keys, *batch.features)}
    if columns.keys() != types.keys():
        raise FailedPreconditionError(f"view {view.view!r} has been changed while its rows were read: begin again")
    rows = len(batch.event_timestamps_us) // 8
    arrays = [
        _array(columns[field.name], types[field.name], rows)
        if field.name in columns
        else pa.Array.from_buffers(field.type, rows, [None, pa.py_buffer(batch.event_timestamps_us)])
        for field in schema
    ]
    return pa.record_batch(arrays, schema=schema)


def _type(data_type: DataType) -> Any:
    element = _TYPES[data_type.scalar]
    return element if data_type.length is None else pa.list_(element, data_type.length)


def _array(column: wire.Column, data_type: DataType, rows: int) -> Any:
    element = _TYPES[data_type.scalar]
    validity = pa.py_buffer(column.validity) if column.validity else None
    data = pa.py_buffer(getattr(column, data_type.wire_field))
    if data_type.is_variable:
        return pa.Array.from_buffers(element, rows, [validity, pa.py_buffer(column.offsets), data])
    if data_type.scalar == "bool":
        data = pa.py_buffer(np.packbits(np.frombuffer(data, np.uint8), bitorder="little"))
    if data_type.length is None:
        return pa.Array.from_buffers(element, rows, [validity, data])
    values = pa.Array.from_buffers(element, rows * data_type.length, [None, data])
    return pa.Array.from_buffers(pa.list_(element, data_type.length), rows, [validity], children=[values])
