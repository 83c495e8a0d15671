"""Requests as bytes on the wire: the few messages that carry arrays, written by hand from buffers, each copied once.

The protobuf runtime would copy an array three times (into the message, into its parent, out as bytes); here a message is a list
of buffers until it is joined. Everything without arrays goes through the generated code. Invariant: the field numbers are read
from the generated descriptor, and the bytes are those that the generated code would read back as equal (tested).

    Column      name | bools .. float64s, or data | offsets | validity
    field       tag (number << 3 | 2), length as varint, then that many bytes
"""

import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from featurestore_client.types import DataType
from featurestore_client.wire import featurestore_raw_pb2 as wire

Buffer = bytes | bytearray | memoryview | npt.NDArray[Any]
"""What is C-contiguous and has its bytes taken as they are."""

Part = bytes | memoryview

assert sys.byteorder == "little", "the buffers of this machine are not the wire's"

_VARINT, _FIXED64, _LENGTH_DELIMITED = 0, 1, 2
_INT64 = np.dtype("<i8")


Bits = npt.NDArray[np.uint8]


class FlatValues(NamedTuple):
    """``rows`` values of one type: elements, or string data with its ``offsets``; ``validity`` as in the Column message."""

    rows: int
    values: Buffer
    offsets: Buffer | None = None
    validity: Bits | None = None


class WireColumn(NamedTuple):
    """One Column message, not yet joined: ``rows`` values (a vector is one value) in ``parts`` of ``nbytes`` altogether."""

    name: str
    rows: int
    parts: list[Part]
    nbytes: int


class WireBatch(NamedTuple):
    """One WriteBatch message of ``rows`` rows, not yet joined."""

    rows: int
    parts: list[Part]
    nbytes: int
    timed: bool
    """Whether it says its event times; the server's clock does otherwise."""


def varint(value: int) -> bytes:
    """A protobuf varint."""
    if value < 0x80:
        return value.to_bytes()
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _tag(message: type[Message], field: str, kind: int = _LENGTH_DELIMITED) -> bytes:
    return varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | kind)


_NAME_TAG = _tag(wire.Column, "name")
_VALUES_TAGS = {field: _tag(wire.Column, field) for field in ("bools", "int32s", "int64s", "float32s", "float64s", "data")}
_OFFSETS_TAG = _tag(wire.Column, "offsets")
_VALIDITY_TAG = _tag(wire.Column, "validity")

_SELECTION_TAG = _tag(wire.GetFeaturesRequest, "selection")
_GET_KEYS_TAG = _tag(wire.GetFeaturesRequest, "keys")
_KNOWN_SCHEMA_TAG = _tag(wire.GetFeaturesRequest, "known_schema_id", _FIXED64)

_ROWS_TAG = _tag(wire.GetFeaturesResponse, "rows", _VARINT)
_SCHEMA_ID_TAG = _tag(wire.GetFeaturesResponse, "schema_id", _FIXED64)
_MATRIX_TAG = _tag(wire.GetFeaturesResponse, "matrix")

_BATCH_KEYS_TAG = _tag(wire.WriteBatch, "keys")
_BATCH_FEATURES_TAG = _tag(wire.WriteBatch, "features")
_BATCH_TIMESTAMPS_TAG = _tag(wire.WriteBatch, "event_timestamps_us")
_WRITE_BATCH_TAG = _tag(wire.WriteFeaturesRequest, "batch")
_INGEST_BATCH_TAG = _tag(wire.IngestFeaturesRequest, "batch")
_DELETE_KEYS_TAG = _tag(wire.DeleteFeaturesRequest, "keys")
_DELETE_TIMESTAMPS_TAG = _tag(wire.DeleteFeaturesRequest, "event_timestamps_us")


@lru_cache(maxsize=4_096)
def _name_field(name: str) -> bytes:
    encoded = name.encode()
    return _NAME_TAG + varint(len(encoded)) + encoded


def _part(buffer: Buffer) -> tuple[Part, int]:
    """A buffer as it is joined, and its bytes."""
    if isinstance(buffer, bytes):
        return buffer, len(buffer)
    view = buffer.data if isinstance(buffer, np.ndarray) else memoryview(buffer)
    return view, view.nbytes


def wire_column(name: str, field: str, values: FlatValues) -> WireColumn:
    """The Column of these buffers, which are kept as they are until the message is joined."""
    data, length = _part(values.values)
    head = _name_field(name) + _VALUES_TAGS[field] + varint(length)
    parts: list[Part] = [head, data]
    nbytes = len(head) + length
    for tag, buffer in ((_OFFSETS_TAG, values.offsets), (_VALIDITY_TAG, values.validity)):
        if buffer is not None:
            data, length = _part(buffer)
            head = tag + varint(length)
            parts += (head, data)
            nbytes += len(head) + length
    return WireColumn(name, values.rows, parts, nbytes)


def _append(parts: list[Part], tag: bytes, body: Sequence[Part], nbytes: int) -> int:
    """Appends one length-delimited field; returns the bytes that it takes."""
    head = tag + varint(nbytes)
    parts.append(head)
    parts += body
    return len(head) + nbytes


def wire_batch(
    rows: int, keys: Sequence[WireColumn], features: Sequence[WireColumn], event_timestamps_us: Buffer | None
) -> WireBatch:
    """The WriteBatch of these columns; ``event_timestamps_us`` is int64 of one or ``rows`` values, or None."""
    parts: list[Part] = []
    nbytes = 0
    for column in keys:
        nbytes += _append(parts, _BATCH_KEYS_TAG, column.parts, column.nbytes)
    for column in features:
        nbytes += _append(parts, _BATCH_FEATURES_TAG, column.parts, column.nbytes)
    if event_timestamps_us is not None:
        data, length = _part(event_timestamps_us)
        nbytes += _append(parts, _BATCH_TIMESTAMPS_TAG, [data], length)
    return WireBatch(rows, parts, nbytes, event_timestamps_us is not None)


def _joined(head: bytes, tag: bytes, batch: WireBatch) -> bytes:
    parts: list[Part] = [head]
    _append(parts, tag, batch.parts, batch.nbytes)
    return b"".join(parts)


def write_request(project: str, view: str, batch: WireBatch) -> bytes:
    """A WriteFeaturesRequest."""
    head = wire.WriteFeaturesRequest(project=project, view=view).SerializeToString()
    return _joined(head, _WRITE_BATCH_TAG, batch)


def ingest_request(project: str, view: str, sequence: int, batch: WireBatch, load: str = "") -> bytes:
    """An IngestFeaturesRequest that can stand anywhere in a stream."""
    head = wire.IngestFeaturesRequest(project=project, view=view, sequence=sequence, load=load).SerializeToString()
    return _joined(head, _INGEST_BATCH_TAG, batch)


def delete_request(project: str, view: str, keys: Sequence[WireColumn], event_timestamps_us: Buffer | None) -> bytes:
    """A DeleteFeaturesRequest."""
    parts: list[Part] = [wire.DeleteFeaturesRequest(project=project, view=view).SerializeToString()]
    for column in keys:
        _append(parts, _DELETE_KEYS_TAG, column.parts, column.nbytes)
    if event_timestamps_us is not None:
        data, length = _part(event_timestamps_us)
        _append(parts, _DELETE_TIMESTAMPS_TAG, [data], length)
    return b"".join(parts)


def get_request_prefix(selection: bytes, known_schema_id: int | None) -> bytes:
    """The part of a GetFeaturesRequest that does not change from call to call: all but the keys."""
    prefix = _SELECTION_TAG + varint(len(selection)) + selection
    if known_schema_id is not None:
        prefix += _KNOWN_SCHEMA_TAG + known_schema_id.to_bytes(8, "little")
    return prefix


def ordinary_get_request(prefix: bytes, types: Mapping[str, DataType], keys: Mapping[str, Any]) -> bytes | None:
    """The GetFeaturesRequest of keys in the kinds that a model server has them in; None for all others.

    A list of int or str, an int64 array, a single int or str: encoded in as few steps as there can be, because this is on the
    way of every read. ``columns.key_column`` takes the others, and says what is wrong with those that nobody can take.
    """
    parts: list[Part] = [prefix]
    try:
        for name, values in keys.items():
            kind, text = values.__class__, types[name].text
            if text == "int64":
                if kind is list and values[0].__class__ is int:
                    head, pack = _int64s(name, len(values))
                    parts += (head, pack(*values))
                elif kind is int:
                    head, pack = _int64s(name, 1)
                    parts += (head, pack(values))
                elif kind is np.ndarray and values.dtype is _INT64 and values.ndim == 1:
                    parts += (_int64s(name, len(values))[0], values.tobytes())
                else:
                    return None
            elif text == "string" and kind is list:
                _append_texts(parts, name, values)
            elif text == "string" and kind is str:
                _append_texts(parts, name, [values])
            else:
                return None
    except (KeyError, IndexError, TypeError, UnicodeEncodeError, OverflowError, struct.error):
        return None
    return b"".join(parts)


@lru_cache(maxsize=4_096)
def _int64s(name: str, rows: int) -> tuple[bytes, Callable[..., bytes]]:
    """What precedes the values of an int64 key column in a GetFeaturesRequest, and what packs them."""
    head = _name_field(name) + _VALUES_TAGS["int64s"] + varint(8 * rows)
    return _GET_KEYS_TAG + varint(len(head) + 8 * rows) + head, struct.Struct(f"<{rows}q").pack


def _append_texts(parts: list[Part], name: str, values: list[str]) -> None:
    joined = "".join(values)
    data = joined.encode()
    lengths = map(len, values) if len(data) == len(joined) else [len(value.encode()) for value in values]
    head, offsets_head, pack = _texts(name, len(values))
    offsets = pack(*accumulate(lengths, initial=0))
    data_length = varint(len(data))
    size = len(head) + len(data_length) + len(data) + len(offsets_head) + len(offsets)
    parts += (_GET_KEYS_TAG, varint(size), head, data_length, data, offsets_head, offsets)


@lru_cache(maxsize=4_096)
def _texts(name: str, rows: int) -> tuple[bytes, bytes, Callable[..., bytes]]:
    """What a string key column begins with, what precedes its offsets, and what packs those."""
    head = _name_field(name) + _VALUES_TAGS["data"]
    return head, _OFFSETS_TAG + varint(4 * rows + 4), struct.Struct(f"<{rows + 1}i").pack


def get_request(prefix: bytes, keys: Sequence[WireColumn]) -> bytes:
    """A GetFeaturesRequest. The fields of a message may come in any order, so the keys follow the prefix."""
    parts: list[Part] = [prefix]
    for column in keys:
        _append(parts, _GET_KEYS_TAG, column.parts, column.nbytes)
    return b"".join(parts)


def matrix_head(schema_id: int, array_field: str, rows: int, matrix_bytes: int) -> bytes:
    """What precedes the matrix in a GetFeaturesResponse that leaves out its schema."""
    column = _VALUES_TAGS[array_field] + varint(matrix_bytes)
    head = _ROWS_TAG + varint(rows) + _SCHEMA_ID_TAG + schema_id.to_bytes(8, "little")
    return head + _MATRIX_TAG + varint(len(column) + matrix_bytes) + column
