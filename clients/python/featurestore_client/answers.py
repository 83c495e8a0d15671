"""The answer to a read: feature values as they came over the wire, and the forms that people want them in.

Invariant: the arrays of ``to_numpy`` are views of the received bytes (read-only, so that nobody writes into an answer); nothing
is computed that is not asked for. Optional packages are imported by the method that needs them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from featurestore_client.encoding import matrix_head
from featurestore_client.types import DataType, ValueStatus, parse_type
from featurestore_client.values import pack_validity
from featurestore_client.wire import featurestore_raw_pb2 as wire

if TYPE_CHECKING:
    import pandas
    import pyarrow
    import torch


@dataclass(frozen=True, eq=False)
class AnswerSchema:
    """What the answers to one selection are made of; received once and remembered."""

    schema_id: int
    names: tuple[str, ...]
    types: tuple[DataType, ...]
    views: tuple[str, ...]
    view_indexes: npt.NDArray[np.intp]
    """Of each feature: its view's place in ``views``."""
    join_keys: Mapping[str, DataType]
    features: tuple[str, ...]
    """Of each feature: its name in its view."""
    view_keys: tuple[tuple[int, ...], ...]
    """Of each view: which of ``join_keys`` it is looked up by, in its entity's order."""
    positions: Mapping[str, int] = field(init=False)
    element_offsets: tuple[int, ...] = field(init=False)
    """Of each feature: its first element in a row of the matrix; and the elements of a row at the end."""
    matrix_row_bytes: int = field(init=False)
    """Of the matrix that features of one type make; 0 where they have several types, or are strings or bytes."""

    def __post_init__(self) -> None:
        offsets = [0]
        for each in self.types:
            offsets.append(offsets[-1] + each.elements)
        object.__setattr__(self, "positions", {name: position for position, name in enumerate(self.names)})
        object.__setattr__(self, "element_offsets", tuple(offsets))
        dtype = self.types[0].dtype if len({each.scalar for each in self.types}) == 1 else None
        object.__setattr__(self, "matrix_row_bytes", 0 if dtype is None else offsets[-1] * dtype.itemsize)

    @classmethod
    def decode(cls, schema_id: int, encoded: bytes) -> "AnswerSchema":
        """Reads the wire's AnswerSchema."""
        schema = wire.AnswerSchema.FromString(encoded)
        return cls(
            schema_id,
            tuple(feature.name for feature in schema.features),
            tuple(parse_type(feature.type) for feature in schema.features),
            tuple(schema.views),
            np.array([feature.view_index for feature in schema.features], np.intp),
            {key.name: parse_type(key.type) for key in schema.join_keys},
            tuple(feature.feature for feature in schema.features),
            tuple(tuple(keys.join_keys) for keys in schema.view_keys),
        )


_NOTHING_ELSE = wire.GetFeaturesResponse()


def matrix_of(encoded: bytes, schema: AnswerSchema) -> tuple[int, bytes, wire.GetFeaturesResponse] | None:
    """The rows of an answer of this schema, its matrix, and what follows it; None for an answer of other beginnings.

    What precedes the matrix is the same in all answers of so many rows: it is compared, and not read.
    """
    if not schema.matrix_row_bytes or len(encoded) < 4:
        return None
    rows, following = encoded[1], encoded[2]
    if rows >= 0x80:  # a varint of more bytes
        rows = rows & 0x7F | (following & 0x7F) << 7
        if following >= 0x80:
            rows |= encoded[3] << 14
    head, start, end = _matrix_place(schema, rows)
    if not encoded.startswith(head) or end > len(encoded):
        return None
    # Copied rather than viewed: within the answer it may begin at any byte, and arrays of floats do not.
    return (
        rows,
        encoded[start:end],
        _NOTHING_ELSE if end == len(encoded) else wire.GetFeaturesResponse.FromString(encoded[end:]),
    )


@lru_cache(maxsize=4_096)
def _matrix_place(schema: AnswerSchema, rows: int) -> tuple[bytes, int, int]:
    matrix_bytes = rows * schema.matrix_row_bytes
    head = matrix_head(schema.schema_id, schema.types[0].wire_field, rows, matrix_bytes)
    return head, len(head), len(head) + matrix_bytes


class FeatureBatch:
    """``rows`` feature vectors, in the order of the keys that were asked for.

    Where a value is not there, the element is NaN for floats, and 0, False or empty for the others: ``statuses`` says why.

    >>> batch = client.get("delay_model_v1", {"carrier": ["AA", "UA"], "dest": ["LAX", "SFO"]})
    >>> model.predict(batch.to_numpy())
    """

    __slots__ = ("_answer", "_event_timestamps", "_expired_values", "_matrix", "_schema", "_statuses", "_values", "rows")

    def __init__(
        self,
        schema: AnswerSchema,
        rows: int,
        matrix: bytes | memoryview | None,
        answer: wire.GetFeaturesResponse,
        *,
        expired_values: bool = False,
    ) -> None:
        self.rows = rows
        self._schema = schema
        self._matrix = matrix
        self._answer = answer  # the message, perhaps without the matrix and what precedes it
        self._expired_values = expired_values
        self._values: npt.NDArray[Any] | dict[str, npt.NDArray[Any]] | None = None
        self._statuses: npt.NDArray[np.uint8] | None = None
        self._event_timestamps: npt.NDArray[np.datetime64] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Of a read through shared memory the matrix is a view, which no other process can have.
        matrix = None if self._matrix is None else bytes(self._matrix)
        make = partial(FeatureBatch, expired_values=self._expired_values)
        return make, (self._schema, self.rows, matrix, self._answer)

    @classmethod
    def decode(cls, answer: wire.GetFeaturesResponse, schema: AnswerSchema, *, expired_values: bool = False) -> "FeatureBatch":
        """Of the wire's message."""
        flat = answer.HasField("matrix") and not schema.types[0].is_variable
        matrix = getattr(answer.matrix, schema.types[0].wire_field) if flat else None
        return cls(schema, answer.rows, matrix, answer, expired_values=expired_values)

    def __len__(self) -> int:
        return self.rows

    def __repr__(self) -> str:
        return f"FeatureBatch({self.rows} rows of {', '.join(self.names[:8])}{', ...' if len(self.names) > 8 else ''})"

    @property
    def names(self) -> tuple[str, ...]:
        """The features, in the order of the columns."""
        return self._schema.names

    @property
    def types(self) -> dict[str, str]:
        """The type of each feature, as in its definition: ``float32``, ``float32[16]``."""
        return {name: each.text for name, each in zip(self.names, self._schema.types, strict=True)}

    @property
    def views(self) -> tuple[str, ...]:
        """The views that the features are of: the columns of ``event_timestamps``."""
        return self._schema.views

    # -------------------------------------------------------------------------------------------------------------- values

    @overload
    def to_numpy(self, *, structured: Literal[False] = False) -> npt.NDArray[Any] | dict[str, npt.NDArray[Any]]: ...
    @overload
    def to_numpy(self, *, structured: Literal[True]) -> npt.NDArray[Any]: ...

    def to_numpy(self, *, structured: bool = False) -> npt.NDArray[Any] | dict[str, npt.NDArray[Any]]:
        """The values, without a copy: one matrix where all features share a type, otherwise a dict of an array a feature.

        The matrix has shape (rows, features); a vector takes its length in columns. In the dict a scalar has shape (rows,), a
        vector (rows, length). Timestamps are datetime64[us] in UTC, strings and bytes objects. The arrays are read-only.
        With ``structured``, one structured array with a field a feature (a copy), whatever the types.
        """
        if self._values is None:
            self._values = self._decode()
        if not structured:
            return self._values
        described: list[Any] = []
        for name, each in zip(self.names, self._schema.types, strict=True):
            dtype = np.dtype(object) if each.dtype is None else each.dtype
            described.append((name, dtype) if each.length is None else (name, dtype, (each.length,)))
        table = np.empty(self.rows, described)
        for name in self.names:
            table[name] = self[name]
        return table

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """The values of one feature, without a copy: shape (rows,), of a vector (rows, length). KeyError for another name."""
        values = self.to_numpy()
        if isinstance(values, dict):
            return values[name]
        position = self._schema.positions[name]
        start = self._schema.element_offsets[position]
        if self._schema.types[position].length is None:
            return values[:, start]
        return values[:, start : self._schema.element_offsets[position + 1]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def _decode(self) -> npt.NDArray[Any] | dict[str, npt.NDArray[Any]]:
        schema = self._schema
        if self._matrix is not None:
            return np.frombuffer(self._matrix, schema.types[0].dtype).reshape(self.rows, schema.element_offsets[-1])
        if self._answer.HasField("matrix"):  # of strings
            return _elements(self._answer.matrix, schema.types[0]).reshape(self.rows, schema.element_offsets[-1])
        columns = {}
        for name, each, column in zip(schema.names, schema.types, self._answer.columns, strict=True):
            elements = _elements(column, each)
            columns[name] = elements if each.length is None else elements.reshape(self.rows, each.length)
        return columns

    # ------------------------------------------------------------------------------------------------------ statuses, times

    @property
    def statuses(self) -> npt.NDArray[np.uint8]:
        """A ValueStatus for each value: uint8 of shape (rows, features)."""
        if self._statuses is None:
            self._statuses = self._decode_statuses()
        return self._statuses

    def _decode_statuses(self) -> npt.NDArray[np.uint8]:
        features = len(self.names)
        row_statuses = self._answer.row_statuses
        if row_statuses:
            by_view = np.frombuffer(row_statuses, np.uint8).reshape(len(self.views), self.rows)
            statuses = np.ascontiguousarray(by_view[self._schema.view_indexes].T)
        else:
            statuses = np.zeros((self.rows, features), np.uint8)
        null = self._null()
        if null is not None:
            statuses[null & (statuses == ValueStatus.PRESENT)] = ValueStatus.NULL
        statuses.flags.writeable = False
        return statuses

    def _null(self) -> npt.NDArray[np.bool_] | None:
        nulls = self._answer.nulls
        if not nulls:
            return None
        bits = np.frombuffer(nulls, np.uint8).reshape(self.rows, -1)
        return np.unpackbits(bits, axis=1, count=len(self.names), bitorder="little").view(np.bool_)

    def _present(self) -> npt.NDArray[np.bool_] | None:
        """Which elements are values, (rows, features); None where all are."""
        if not self._answer.row_statuses and not self._answer.nulls:
            return None
        present: npt.NDArray[np.bool_] = self.statuses == ValueStatus.PRESENT
        if self._expired_values:
            present |= self.statuses == ValueStatus.EXPIRED
            null = self._null()
            if null is not None:
                present &= ~null
        return present

    @property
    def event_timestamps(self) -> npt.NDArray[np.datetime64] | None:
        """The event time of each row in each view: datetime64[us] (UTC) of shape (rows, views), NaT where there is no row.

        None unless they were asked for.
        """
        received = self._answer.event_timestamps_us
        if self._event_timestamps is None and received:
            times = np.frombuffer(received, "<M8[us]").reshape(len(self.views), self.rows).T.copy()
            if self._answer.row_statuses:
                by_view = np.frombuffer(self._answer.row_statuses, np.uint8).reshape(len(self.views), self.rows)
                times[by_view.T == ValueStatus.NOT_FOUND] = np.datetime64("NaT")
            times.flags.writeable = False
            self._event_timestamps = times
        return self._event_timestamps

    # ---------------------------------------------------------------------------------------------------------- other forms

    def to_dict(self) -> dict[str, list[Any]]:
        """A list of Python values for each feature; None where a value is not there. Timestamps are datetimes in UTC."""
        present = self._present()
        columns = {}
        for position, name in enumerate(self.names):
            listed = self[name].tolist()
            if self._schema.types[position].scalar == "timestamp":
                listed = [value.replace(tzinfo=UTC) if isinstance(value, datetime) else value for value in listed]
            if present is not None:
                listed = [value if there else None for value, there in zip(listed, present[:, position].tolist(), strict=True)]
            columns[name] = listed
        return columns

    def to_pandas(self) -> "pandas.DataFrame":
        """A pandas frame with a column a feature, which is missing (NaN, NA, NaT, None) where a value is not there."""
        try:
            import pandas as pd  # noqa: PLC0415  an optional extra
        except ImportError as error:
            raise _absent("to_pandas", "pandas") from error
        present = self._present()
        columns: dict[str, Any] = {}
        for position, name in enumerate(self.names):
            values, each = self[name], self._schema.types[position]
            missing = None if present is None or present[:, position].all() else ~present[:, position]
            if each.length is not None:
                column = pd.Series(list(values.copy()), dtype=object)
                columns[name] = column if missing is None else column.where(~missing, None)
            elif each.scalar == "timestamp":
                times = values.copy()
                if missing is not None:
                    times[missing] = np.datetime64("NaT")
                columns[name] = pd.Series(times).dt.tz_localize("UTC")
            elif missing is None or each.scalar in ("float32", "float64"):
                columns[name] = values.copy()
            elif each.scalar == "bool":
                columns[name] = pd.arrays.BooleanArray(values.copy(), missing)
            elif each.dtype is not None:
                columns[name] = pd.arrays.IntegerArray(values.copy(), missing)
            else:
                objects = values.copy()
                objects[missing] = None
                columns[name] = objects
        return pd.DataFrame(columns, index=pd.RangeIndex(self.rows))

    def to_arrow(self) -> "pyarrow.RecordBatch":
        """An Arrow record batch with a column a feature, which is null where a value is not there."""
        try:
            import pyarrow as pa  # noqa: PLC0415  an optional extra
        except ImportError as error:
            raise _absent("to_arrow", "pyarrow", "arrow") from error
        elements = {
            "bool": pa.bool_(),
            "int32": pa.int32(),
            "int64": pa.int64(),
            "float32": pa.float32(),
            "float64": pa.float64(),
            "timestamp": pa.timestamp("us", tz="UTC"),
            "string": pa.string(),
            "bytes": pa.binary(),
        }
        present = self._present()
        arrays = []
        for position, name in enumerate(self.names):
            each = self._schema.types[position]
            kind = elements[each.scalar]
            bits = None if present is None else pack_validity(present[:, position])
            validity = None if bits is None else pa.py_buffer(bits)
            if each.dtype is None and not self._answer.HasField("matrix"):
                column = self._answer.columns[position]
                buffers = [validity, pa.py_buffer(column.offsets), pa.py_buffer(column.data)]
                arrays.append(pa.Array.from_buffers(kind, self.rows, buffers))
                continue
            values = np.ascontiguousarray(self[name])
            if each.dtype is None:
                mask = None if present is None else ~present[:, position]
                arrays.append(pa.array(values, kind, mask=mask))
                continue
            data = pa.py_buffer(np.packbits(values, bitorder="little") if each.scalar == "bool" else values.view(np.uint8))
            if each.length is None:
                arrays.append(pa.Array.from_buffers(kind, self.rows, [validity, data]))
            else:
                child = pa.Array.from_buffers(kind, self.rows * each.length, [None, data])
                vectors = pa.list_(kind, each.length)
                arrays.append(pa.Array.from_buffers(vectors, self.rows, [validity], children=[child]))
        return pa.RecordBatch.from_arrays(arrays, names=list(self.names))

    def to_torch(self, *, device: str | None = None) -> "torch.Tensor | dict[str, torch.Tensor]":
        """PyTorch tensors in the forms of ``to_numpy``; copies, since a tensor can be written to. Timestamps are int64 us.

        Raises TypeError for string and bytes features, of which there are no tensors.
        """
        try:
            import torch  # noqa: PLC0415  an optional extra
        except ImportError as error:
            raise _absent("to_torch", "torch") from error
        for name, each in zip(self.names, self._schema.types, strict=True):
            if each.dtype is None:
                raise TypeError(f"feature {name!r} is {each}: there is no tensor of {each}, take it from to_numpy()")

        def tensor(values: npt.NDArray[Any]) -> "torch.Tensor":
            copied = torch.from_numpy(values.astype(np.int64) if values.dtype.kind == "M" else values.copy())
            return copied if device is None else copied.to(device)

        values = self.to_numpy()
        if isinstance(values, dict):
            return {name: tensor(column) for name, column in values.items()}
        return tensor(values)


def _elements(column: wire.Column, data_type: DataType) -> npt.NDArray[Any]:
    if data_type.dtype is not None:
        return np.frombuffer(getattr(column, data_type.wire_field), data_type.dtype)
    offsets = memoryview(column.offsets).cast("i")
    data = column.data
    values = np.empty(len(offsets) - 1, object)
    if data_type.scalar == "bytes":
        values[:] = [data[offsets[i] : offsets[i + 1]] for i in range(len(values))]
    elif data.isascii():
        text = data.decode("ascii")  # where a character is a byte, the offsets hold for the text too
        values[:] = [text[offsets[i] : offsets[i + 1]] for i in range(len(values))]
    else:
        values[:] = [data[offsets[i] : offsets[i + 1]].decode() for i in range(len(values))]
    values.flags.writeable = False
    return values


def _absent(method: str, package: str, extra: str | None = None) -> ImportError:
    return ImportError(f"{method}() needs {package}: pip install 'featurestore-client[{extra or package}]'")
