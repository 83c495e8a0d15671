"""Values as flat buffers, made from Arrow arrays: by their buffers, so at the speed of memory.

pyarrow is imported only here, and this module only once Arrow data was handed in. Slices, chunks, dictionaries, bitmaps and the
large and view layouts are brought to the plain layout by Arrow's own kernels or by NumPy over the buffers. Invariant: no Python
object is made for a value.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from featurestore_client.encoding import Bits, FlatValues
from featurestore_client.errors import InvalidArgumentError
from featurestore_client.types import DataType
from featurestore_client.values import numpy_values, too_long

_DATA_BYTES_MAX = (1 << 31) - 1
_TIMESTAMP_UNITS = {"s": "<M8[s]", "ms": "<M8[ms]", "us": "<M8[us]", "ns": "<M8[ns]"}


def arrow_values(name: str, values: Any, data_type: DataType) -> FlatValues:
    """The flat form of a pyarrow Array or ChunkedArray."""
    if not isinstance(values, pa.ChunkedArray):
        item_bytes = _same_layout(values.type, data_type)
        rows = len(values)
        if item_bytes and rows:
            start = values.offset * item_bytes
            elements = memoryview(values.buffers()[1])[start : start + rows * item_bytes]
            return FlatValues(rows, elements, None, _validity(values) if values.null_count else None)
    array = _plain(values)
    if pa.types.is_null(array.type):
        return _all_null(len(array), data_type)
    if pa.types.is_decimal(array.type):
        raise InvalidArgumentError.of(
            name,
            array.type,
            f"values of {data_type}: a decimal has no place on the wire, cast it to float64 or to a scaled int64",
        )
    if data_type.is_variable:
        return _variable(name, array, data_type)
    if data_type.length is not None:
        return _vectors(name, array, data_type)
    return numpy_values(name, _elements(name, array, data_type), data_type, _validity(array))


@lru_cache(maxsize=4_096)
def _same_layout(arrow_type: Any, data_type: DataType) -> int:
    """The bytes of a value where Arrow lays the type out as the wire does, so that its buffer is taken; otherwise 0."""
    layouts = {
        "int32": pa.types.is_int32,
        "int64": pa.types.is_int64,
        "float32": pa.types.is_float32,
        "float64": pa.types.is_float64,
        "timestamp": lambda kind: pa.types.is_timestamp(kind) and kind.unit == "us",
    }
    same = layouts.get(data_type.text)
    return data_type.width_bytes if same is not None and same(arrow_type) else 0


def _plain(values: Any) -> Any:
    """One array without chunks, dictionary, run ends or extension."""
    if isinstance(values, pa.ChunkedArray):
        # combine_chunks of no or one chunk copies nothing
        values = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if isinstance(values, pa.DictionaryArray):
        values = values.dictionary_decode()
    if isinstance(values, pa.RunEndEncodedArray):
        values = pc.run_end_decode(values)
    return values


def _validity(array: Any) -> Bits | None:
    """The array's null bitmap from bit 0 on, None where nothing is null."""
    if array.null_count == 0:
        return None
    rows, offset = len(array), array.offset
    if array.buffers()[0] is None:  # a union or the like; not reached by the types that are let in
        return np.packbits(array.is_valid().to_numpy(zero_copy_only=False), bitorder="little")
    start, shift = divmod(offset, 8)
    bits = np.frombuffer(array.buffers()[0], np.uint8)[start : (offset + rows + 7) // 8]
    size = (rows + 7) // 8
    if shift:
        shifted = bits[:size] >> np.uint8(shift)
        following = bits[1 : size + 1]
        shifted[: len(following)] |= following << np.uint8(8 - shift)
        bits = shifted
    else:
        bits = bits.copy()
    if rows % 8:
        bits[-1] &= (1 << rows % 8) - 1
    return bits


def _elements(name: str, array: Any, data_type: DataType) -> npt.NDArray[Any]:
    """The elements of an array of fixed width, those behind nulls included, without a copy (booleans: one byte each)."""
    kind, rows, offset = array.type, len(array), array.offset
    data = array.buffers()[1]
    if pa.types.is_boolean(kind):
        start, shift = divmod(offset, 8)
        bits = np.frombuffer(data, np.uint8)[start : (offset + rows + 7) // 8]
        return np.unpackbits(bits, count=shift + rows, bitorder="little")[shift:].view(np.bool_)
    if pa.types.is_timestamp(kind):
        dtype = np.dtype(_TIMESTAMP_UNITS[kind.unit])  # with a time zone too: what is stored is UTC
    elif pa.types.is_date32(kind):
        dtype = np.dtype("<i4")
    elif pa.types.is_date64(kind):
        dtype = np.dtype("<M8[ms]")
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        dtype = np.dtype(kind.to_pandas_dtype())
    else:
        raise InvalidArgumentError.of(name, f"an Arrow array of {kind}", f"values of {data_type}")
    elements = np.frombuffer(data, dtype, rows, offset * dtype.itemsize) if rows else np.empty(0, dtype)
    if pa.types.is_date32(kind):
        return elements.astype("<M8[D]")
    return elements


def _variable(name: str, array: Any, data_type: DataType) -> FlatValues:
    kind, types = array.type, pa.types
    texts = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    binaries = (
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind)
    )
    if not (texts or (binaries and data_type.scalar == "bytes")):
        raise InvalidArgumentError.of(name, f"an Arrow array of {kind}", f"values of {data_type}")
    if types.is_string_view(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        try:
            array = array.cast(pa.large_binary() if binaries else pa.large_string())
        except pa.ArrowNotImplementedError:  # the view types came to Arrow before their casts
            expected = f"values of {data_type}: this version of pyarrow cannot lay them out anew"
            raise InvalidArgumentError.of(name, f"an Arrow array of {kind}", expected) from None
    rows = len(array)
    large = types.is_large_string(array.type) or types.is_large_binary(array.type)
    width = 8 if large else 4
    _, offsets_buffer, data_buffer = array.buffers()
    if rows == 0 or offsets_buffer is None:
        return FlatValues(rows, b"", np.zeros(rows + 1, "<i4"), _validity(array))
    offsets = np.frombuffer(offsets_buffer, "<i8" if large else "<i4", rows + 1, array.offset * width)
    first, last = int(offsets[0]), int(offsets[-1])
    if last - first > _DATA_BYTES_MAX:
        raise too_long(name, last - first)
    if first:
        offsets = offsets - offsets.dtype.type(first)
    data = memoryview(data_buffer)[first:last] if data_buffer is not None else b""
    return FlatValues(rows, data, np.ascontiguousarray(offsets, "<i4"), _validity(array))


def _vectors(name: str, array: Any, data_type: DataType) -> FlatValues:
    kind, types = array.type, pa.types
    if types.is_list(kind) or types.is_large_list(kind):
        lengths = pc.list_value_length(array)
        wrong = pc.not_equal(lengths, data_type.length).fill_null(False)
        if pc.any(wrong).as_py():
            row = pc.index(wrong, True).as_py()
            raise InvalidArgumentError.of(
                f"{name}[{row}]", f"a list of {lengths[row].as_py()}", f"{data_type.length} elements for {data_type}"
            )
        array = array.cast(pa.list_(kind.value_type, data_type.length))
        kind = array.type
    if not types.is_fixed_size_list(kind):
        raise InvalidArgumentError.of(name, f"an Arrow array of {kind}", f"values of {data_type}")
    if kind.list_size != data_type.length:
        raise InvalidArgumentError.of(name, f"vectors of {kind.list_size}", f"{data_type.length} elements for {data_type}")
    rows, length = len(array), kind.list_size
    child = _plain(array.values.slice(array.offset * length, rows * length))
    validity = _validity(array)
    if child.null_count and _has_null_elements(array):
        raise InvalidArgumentError.of(
            name, "a null within a vector", f"values of {data_type}: all elements, or null as a whole"
        )
    elements = _elements(name, child, data_type).reshape(rows, length)
    return numpy_values(name, elements, data_type, validity)


def _has_null_elements(array: Any) -> bool:
    """Whether a vector that is not null holds a null: what lies behind a null vector does not count."""
    return bool(pc.any(pc.is_null(array.flatten())).as_py())


def _all_null(rows: int, data_type: DataType) -> FlatValues:
    validity = np.zeros((rows + 7) // 8, np.uint8)
    if data_type.dtype is None:
        return FlatValues(rows, b"", np.zeros(rows + 1, "<i4"), validity)
    return FlatValues(rows, np.zeros(rows * data_type.elements, data_type.dtype).view(np.uint8), None, validity)
