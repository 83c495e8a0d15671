"""Columns of the wire as columns of the store: NumPy views of the message's bytes, checked so that the store need not.

What comes in is a stranger's: every length, offset, byte of validity and encoding is held against what it must be before it
goes further, and an INVALID_ARGUMENT names the field, what it held and what was expected. The checks are over whole arrays; no
Python object is made for a value.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from struct import Struct
from typing import NoReturn

import numpy as np
import numpy.typing as npt
from featurestore_client.tables.columns import Column, Values, VarColumn

from featurestore.errors import InvalidArgumentError, nearest
from featurestore.model import DEFAULT_PROJECT, DataType, Scalar
from featurestore.server.wire import featurestore_raw_pb2 as wire
from featurestore.server.write_wire import BatchColumn

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

WireColumn = wire.Column | BatchColumn
"""As protobuf read it, or the walk over an ordinary write."""

_ARRAYS = ("bools", "int32s", "int64s", "float32s", "float64s", "data", "offsets")
_INT64, _INT32, _UINT8 = np.dtype("<i8"), np.dtype("<i4"), np.dtype(np.uint8)
_ONE_VALUE_OFFSETS = Struct("<ii")


def checked_name(field: str, name: str) -> str:
    """A name of a definition as a caller wrote it, or INVALID_ARGUMENT for one so long that it is nobody's."""
    if len(name) > NAME_CHARACTERS_MAX:
        raise InvalidArgumentError.of(field, name, f"a name of at most {NAME_CHARACTERS_MAX} characters")
    return name


def checked_view(project: str, view: str) -> tuple[str, str]:
    """The project and the view that a caller names. InvalidArgumentError where he names no view."""
    if not view:
        raise InvalidArgumentError.of("view", "", "the name of a feature view")
    return checked_name("project", project) or DEFAULT_PROJECT, checked_name("view", view)


class ColumnReader:
    """Reads the columns of one type. Made once for each column that a plan knows, as requests come a million times."""

    def __init__(self, data_type: DataType) -> None:
        self._type = data_type
        self._array = ARRAY_OF[data_type.scalar]
        self._values = attrgetter(self._array)
        own = ("data", "offsets") if data_type.is_variable else (self._array,)
        others = [name for name in _ARRAYS if name not in own]
        self._others = attrgetter(*others)
        self._no_others = (b"",) * len(others)
        self._others_of_key = attrgetter(*others, "validity")
        self._no_others_of_key = (b"",) * (len(others) + 1)
        self._is_variable = data_type.is_variable
        self._is_text = data_type.scalar is Scalar.STRING
        self._is_bool = data_type.scalar is Scalar.BOOL
        self._width_bytes = data_type.width_bytes
        self._length = data_type.length
        self._dtype = None if data_type.is_variable else np.dtype(data_type.numpy)

    def key(self, column: WireColumn, field: str) -> Values:
        """The values of a key column: no nulls among them."""
        if self._others_of_key(column) != self._no_others_of_key:
            if column.validity:
                expected = "none: the values of a key are never null"
                raise InvalidArgumentError.of(f"{field}.{column.name}.validity", "a validity bitmap", expected)
            self._refuse_other_arrays(column, field)
        return self._read(column, field)

    def feature(self, column: WireColumn, rows: int, field: str) -> Column:
        """The values of a feature's column, which must be of so many rows, and which of them are there."""
        if self._others(column) != self._no_others:
            self._refuse_other_arrays(column, field)
        values = self._read(column, field)
        count = len(values.offsets) - 1 if isinstance(values, VarColumn) else len(values)
        if count != rows:
            raise InvalidArgumentError.of(f"{field}.{column.name}", f"{count} values", f"{rows}, as in the key columns")
        validity = column.validity
        if not validity:
            return Column(values)
        if len(validity) != (rows + 7) // 8:
            expected = f"{(rows + 7) // 8}: a bit for each of {rows} rows"
            raise InvalidArgumentError.of(f"{field}.{column.name}.validity", f"{len(validity)} bytes", expected)
        return Column(values, np.frombuffer(validity, _UINT8))

    def _read(self, column: WireColumn, field: str) -> Values:
        if self._is_variable:
            return _variable(column.data, column.offsets, self._is_text, f"{field}.{column.name}")
        raw: bytes | memoryview = self._values(column)
        if len(raw) % self._width_bytes:
            expected = f"a whole number of {self._type} values of {self._width_bytes} bytes"
            raise InvalidArgumentError.of(f"{field}.{column.name}.{self._array}", f"{len(raw)} bytes", expected)
        if self._is_bool and raw and max(raw) > 1:
            raise InvalidArgumentError.of(f"{field}.{column.name}.bools", f"a byte {max(raw)}", "bytes 0 and 1")
        values = np.frombuffer(raw, self._dtype)
        return values if self._length is None else values.reshape(-1, self._length)

    def _refuse_other_arrays(self, column: WireColumn, field: str) -> NoReturn:
        own = ("data", "offsets") if self._is_variable else (self._array,)
        wrong = [name for name in _ARRAYS if getattr(column, name) and name not in own]
        expected = f"{self._type} values, in {' and '.join(own)}"
        raise InvalidArgumentError.of(f"{field}.{column.name}", "values in " + " and ".join(wrong), expected)


Readers = Mapping[str, ColumnReader]


def readers_of(columns: Mapping[str, DataType]) -> Readers:
    """A reader for each column, by name."""
    return {name: ColumnReader(data_type) for name, data_type in columns.items()}


def read_keys(columns: Sequence[WireColumn], readers: Readers, field: str) -> list[Values]:
    """The key columns, one for each reader in their order; their lengths may differ."""
    found: dict[str, Values] = {}
    for column in columns:
        name = column.name
        reader = readers.get(name)
        if reader is None:
            raise InvalidArgumentError.of(field, name, f"a join key: {nearest(checked_name(field, name), readers)}")
        if name in found:
            raise InvalidArgumentError.of(f"{field}.{name}", "the column twice", "one column for each join key")
        found[name] = reader.key(column, field)
    if len(found) == 1 == len(readers):
        return [*found.values()]
    if len(found) != len(readers):
        missing = ", ".join(repr(name) for name in readers if name not in found)
        raise InvalidArgumentError.of(field, f"no column {missing}", "one column for each join key: " + ", ".join(readers))
    return [found[name] for name in readers]


def read_features(columns: Sequence[WireColumn], readers: Readers, rows: int, field: str) -> dict[str, Column]:
    """The feature columns by name, each of ``rows`` values."""
    found: dict[str, Column] = {}
    for column in columns:
        name = column.name
        reader = readers.get(name)
        if reader is None:
            raise InvalidArgumentError.of(field, name, f"a feature of the view: {nearest(checked_name(field, name), readers)}")
        if name in found:
            raise InvalidArgumentError.of(f"{field}.{name}", "the column twice", "each feature once")
        found[name] = reader.feature(column, rows, field)
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
