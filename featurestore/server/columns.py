"""Columns of the wire as columns of the store: NumPy views of the message's bytes, checked so that the store need not.

What comes in is a stranger's: every length, offset, byte of validity and encoding is held against what it must be before it
goes further, and an INVALID_ARGUMENT names the field, what it held and what was expected. The checks are over whole arrays; no
Python object is made for a value.
"""

from collections.abc import Iterable, Mapping
from operator import attrgetter
from struct import Struct

import numpy as np
import numpy.typing as npt

from featurestore.errors import InvalidArgumentError, nearest
from featurestore.model import DataType, Scalar
from featurestore.server.wire import featurestore_raw_pb2 as wire
from featurestore.store.columns import Column, Values, VarColumn

NAME_CHARACTERS_MAX = 128

ARRAY_OF = {
    Scalar.BOOL: "bools",
    Scalar.INT32: "int32s",
    Scalar.INT64: "int64s",
    Scalar.TIMESTAMP: "int64s",
    Scalar.FLOAT32: "float32s",
    Scalar.FLOAT64: "float64s",
    Scalar.STRING: "data",
    Scalar.BYTES: "data",
}
"""The field of ``Column`` that holds the values of a type; ``data`` has ``offsets`` beside it."""

_ARRAYS = ("bools", "int32s", "int64s", "float32s", "float64s", "data", "offsets")
_DTYPES = {
    scalar: np.dtype(DataType(scalar=scalar).numpy) for scalar in ARRAY_OF if scalar not in (Scalar.STRING, Scalar.BYTES)
}
_OTHERS = {
    scalar: attrgetter(*(name for name in _ARRAYS if name != array and not (array == "data" and name == "offsets")))
    for scalar, array in ARRAY_OF.items()
}
_NOTHING_ELSE = {scalar: (b"",) * (5 if array == "data" else 6) for scalar, array in ARRAY_OF.items()}
_INT64, _INT32, _UINT8 = np.dtype("<i8"), np.dtype("<i4"), np.dtype(np.uint8)
_ONE_VALUE_OFFSETS = Struct("<ii")


def checked_name(field: str, name: str) -> str:
    """A name of a definition as a caller wrote it, or INVALID_ARGUMENT for one so long that it is nobody's."""
    if len(name) > NAME_CHARACTERS_MAX:
        raise InvalidArgumentError.of(field, name, f"a name of at most {NAME_CHARACTERS_MAX} characters")
    return name


def read_keys(columns: Iterable[wire.Column], join_keys: Mapping[str, DataType], field: str = "keys") -> list[Values]:
    """The key columns, one for each of ``join_keys`` in their order; their lengths may differ."""
    found: dict[str, Values] = {}
    for column in columns:
        name = column.name
        data_type = join_keys.get(name)
        if data_type is None:
            raise InvalidArgumentError.of(field, name, f"a join key: {nearest(checked_name(field, name), join_keys)}")
        if name in found:
            raise InvalidArgumentError.of(f"{field}.{name}", "the column twice", "one column for each join key")
        if column.validity:
            raise InvalidArgumentError.of(
                f"{field}.{name}.validity", "a validity bitmap", "none: the values of a key are never null"
            )
        found[name] = _values(column, data_type, f"{field}.{name}")
    if len(found) != len(join_keys):
        missing = ", ".join(repr(name) for name in join_keys if name not in found)
        raise InvalidArgumentError.of(field, f"no column {missing}", "one column for each join key: " + ", ".join(join_keys))
    if len(found) == 1:
        return list(found.values())
    return [found[name] for name in join_keys]


def read_features(columns: Iterable[wire.Column], features: Mapping[str, DataType], rows: int, field: str) -> dict[str, Column]:
    """The feature columns by name, each of ``rows`` values."""
    found: dict[str, Column] = {}
    for column in columns:
        name = column.name
        data_type = features.get(name)
        if data_type is None:
            raise InvalidArgumentError.of(field, name, f"a feature of the view: {nearest(checked_name(field, name), features)}")
        path = f"{field}.{name}"
        if name in found:
            raise InvalidArgumentError.of(path, "the column twice", "each feature once")
        values = _values(column, data_type, path)
        count = len(values.offsets) - 1 if isinstance(values, VarColumn) else len(values)
        if count != rows:
            raise InvalidArgumentError.of(path, f"{count} values", f"{rows}, as in the key columns")
        found[name] = Column(values, _validity(column.validity, rows, path))
    return found


def read_event_timestamps(raw: bytes, rows: int, clock_us: int, field: str) -> npt.NDArray[np.int64]:
    """One event time for each row, one for all rows, or none: the server's clock."""
    if not raw:
        return np.array([clock_us], _INT64)
    if len(raw) % 8 or len(raw) // 8 not in (1, rows):
        raise InvalidArgumentError.of(
            field, f"{len(raw)} bytes", f"{rows} times of 8 bytes, one for all rows, or none for the server's clock"
        )
    return np.frombuffer(raw, _INT64)


def _values(column: wire.Column, data_type: DataType, field: str) -> Values:
    scalar = data_type.scalar
    if _OTHERS[scalar](column) != _NOTHING_ELSE[scalar]:
        _refuse_other_arrays(column, data_type, field)
    if scalar is Scalar.STRING or scalar is Scalar.BYTES:
        return _variable(column.data, column.offsets, scalar is Scalar.STRING, field)
    raw: bytes = getattr(column, ARRAY_OF[scalar])
    dtype = _DTYPES[scalar]
    if len(raw) % data_type.width_bytes:
        of = f"{dtype.itemsize} bytes" if data_type.length is None else f"{data_type.length} elements of {dtype.itemsize} bytes"
        raise InvalidArgumentError.of(f"{field}.{ARRAY_OF[scalar]}", f"{len(raw)} bytes", f"a whole number of values of {of}")
    if scalar is Scalar.BOOL and raw and max(raw) > 1:
        raise InvalidArgumentError.of(f"{field}.bools", f"a byte {max(raw)}", "bytes 0 and 1")
    values = np.frombuffer(raw, dtype)
    return values if data_type.length is None else values.reshape(-1, data_type.length)


def _refuse_other_arrays(column: wire.Column, data_type: DataType, field: str) -> None:
    wanted = "data and offsets" if data_type.is_variable else ARRAY_OF[data_type.scalar]
    wrong = [name for name in _ARRAYS if getattr(column, name) and name not in wanted.split()]
    raise InvalidArgumentError.of(field, "values in " + " and ".join(wrong), f"{data_type} values, in {wanted}")


def _variable(data: bytes, raw_offsets: bytes, is_text: bool, field: str) -> VarColumn:
    if len(raw_offsets) % 4:
        raise InvalidArgumentError.of(f"{field}.offsets", f"{len(raw_offsets)} bytes", "a whole number of offsets of 4 bytes")
    if not raw_offsets:
        if data:
            raise InvalidArgumentError.of(f"{field}.offsets", "none", "one more offset than there are values, the first 0")
        raw_offsets = b"\0\0\0\0"
    offsets = np.frombuffer(raw_offsets, _INT32)
    if len(raw_offsets) == 8:  # one value
        whole = _ONE_VALUE_OFFSETS.unpack(raw_offsets) == (0, len(data))
    else:
        whole = bool(offsets[0] == 0 and offsets[-1] == len(data) and (offsets[1:] >= offsets[:-1]).all())
    if not whole:
        _refuse_offsets(offsets, len(data), field)
    if is_text and not data.isascii():
        _check_text(data, offsets, field)
    return VarColumn(np.frombuffer(data, _UINT8), offsets)


def _refuse_offsets(offsets: npt.NDArray[np.int32], data_bytes: int, field: str) -> None:
    if offsets[0] != 0:
        raise InvalidArgumentError.of(f"{field}.offsets[0]", int(offsets[0]), "0")
    falls = np.flatnonzero(offsets[1:] < offsets[:-1])
    if len(falls):
        index = int(falls[0]) + 1
        raise InvalidArgumentError.of(
            f"{field}.offsets[{index}]", int(offsets[index]), f"at least {offsets[index - 1]}, the offset before it"
        )
    raise InvalidArgumentError.of(f"{field}.offsets[{len(offsets) - 1}]", int(offsets[-1]), f"{data_bytes}, the length of data")


def _check_text(data: bytes, offsets: npt.NDArray[np.int32], field: str) -> None:
    """Whether each value is UTF-8: the whole is, and no value begins within a character."""
    position = None
    try:
        data.decode()
    except UnicodeDecodeError as error:
        position = error.start
    else:
        starts = offsets[offsets < len(data)]
        within = np.flatnonzero((np.frombuffer(data, _UINT8)[starts] & 0xC0) == 0x80)
        if len(within):
            position = int(starts[within[0]])
    if position is None:
        return
    index = max(0, int(np.searchsorted(offsets, position, "right")) - 1)
    value = data[offsets[index] : offsets[min(index + 1, len(offsets) - 1)]]
    raise InvalidArgumentError.of(f"{field}[{index}]", value, "UTF-8 text; a feature of type bytes holds anything")


def _validity(raw: bytes, rows: int, field: str) -> npt.NDArray[np.uint8] | None:
    if not raw:
        return None
    if len(raw) != (rows + 7) // 8:
        raise InvalidArgumentError.of(
            f"{field}.validity", f"{len(raw)} bytes", f"{(rows + 7) // 8}: a bit for each of {rows} rows"
        )
    return np.frombuffer(raw, _UINT8)
