"""JSON lines: one object a line, in blocks that are parsed by pyarrow with the types that the first records show.

A block that pyarrow refuses is taken apart line by line into texts, and the conversion that all formats share finds the values
that are wrong. Invariant: every line that is not blank is either a row or malformed.
"""

import codecs
import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as arrow_json

from featurestore.errors import InvalidArgumentError
from featurestore.ingest.readers.blocks import Block, blocks, last_line_end, record_lines
from featurestore.ingest.readers.chunks import Chunk, Malformed, Token, Wanted, has_infinity
from featurestore.ingest.sources import OpenText, Source

SAMPLE_RECORDS = 1_000
_INTEGERS_AMONG_FLOATS = pa.decimal128(38, 1)
"""Takes 12.0, as integers with nulls among them leave pandas, and every integer of 64 bits, which a float does not."""


class JsonLinesReader:
    """One source of JSON lines. A key that a record lacks is null; one that no record has is no column."""

    position_unit = "line"

    def __init__(self, source: Source) -> None:
        self._source = source
        self._stream = OpenText(source)
        self._blocks = self._blocks_from({"offset": 0, "line": 1})
        try:
            self._first = next(self._blocks, None)
            self._schema = _sampled_schema(self._first.data if self._first else b"", source.name)
        except BaseException:
            self.close()
            raise

    def _blocks_from(self, token: Token) -> Iterator[Block]:
        return blocks(self._stream, self._source.name, token, last_line_end)

    @property
    def schema(self) -> pa.Schema:
        return self._schema

    def parts(self, wanted: Wanted, start: Token | None = None) -> Iterator["_JsonPart"]:
        found: Iterator[Block] = self._blocks if self._first is None else chain([self._first], self._blocks)
        if start is not None:
            self.close()
            self._stream = OpenText(self._source, start["offset"])
            found = self._blocks_from(start)
        types = {
            name: _read_as(self._schema.field(name).type, kind)
            for name, kind in wanted.columns.items()
            if name in self._schema.names
        }
        types |= {name: _read_as(pa.null(), kind) for name, kind in wanted.columns.items() if name not in types}
        for block in found:
            yield _JsonPart(block, types, wanted.late)

    def close(self) -> None:
        self._stream.close()


def _sampled_schema(data: bytes, name: str) -> pa.Schema:
    """The keys of the first records, and the one kind of value that each has."""
    data = data.removeprefix(codecs.BOM_UTF8)
    if data.lstrip().startswith(b"["):
        raise InvalidArgumentError.of(
            name, "a JSON array", "JSON lines: one object a line (jq -c '.[]' makes them of an array)"
        )
    seen: dict[str, pa.DataType] = {}
    for line in data.split(b"\n", SAMPLE_RECORDS)[:SAMPLE_RECORDS]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue  # malformed, or blank, or cut short: the parts will tell
        if isinstance(record, dict):
            for key, value in record.items():
                seen[key] = _common(seen.get(key, pa.null()), _type_of(value))
    return pa.schema(list(seen.items()))


def _type_of(value: object) -> pa.DataType:
    match value:
        case None:
            return pa.null()
        case bool():
            return pa.bool_()
        case int():
            return pa.int64()
        case float():
            return pa.float64()
        case list():
            items = pa.null()
            for item in value:
                items = _common(items, _type_of(item))
            return pa.list_(items)
        case str():
            return pa.string()
        case _:
            return pa.struct([])


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(_common(one.value_type, other.value_type))
    return pa.string()


def _read_as(seen: pa.DataType, wanted: pa.DataType | None) -> pa.DataType:
    """What pyarrow is told to read a column as: the wanted type where the JSON values are of its kind, else as they look."""
    if wanted is None:
        return seen
    if pa.types.is_null(seen):
        return pa.string() if pa.types.is_temporal(wanted) else wanted
    is_number = pa.types.is_integer(seen) or pa.types.is_floating(seen)
    if is_number and (pa.types.is_floating(wanted) or (pa.types.is_integer(wanted) and pa.types.is_integer(seen))):
        return wanted
    if is_number and pa.types.is_integer(wanted):
        return _INTEGERS_AMONG_FLOATS
    if pa.types.is_list(seen) and pa.types.is_fixed_size_list(wanted):
        return pa.list_(wanted.value_type)
    return seen


class _JsonPart:
    """One block of lines."""

    def __init__(self, block: Block, types: Mapping[str, pa.DataType], late: Mapping[str, pa.DataType]) -> None:
        self._block, self._types, self._late = block, types, late
        self._lines: list[int] | None = None

    def place_behind(self, records: int) -> tuple[Token, int]:
        return self._block.token, records

    @property
    def fraction(self) -> float | None:
        return self._block.fraction

    def _data(self) -> bytes:
        return self._block.data.removeprefix(codecs.BOM_UTF8)

    def read(self) -> Chunk:
        data = self._data()
        types = dict(self._types)
        # A feature that the first records did not have: its column is there from the block on that names it.
        for name, kind in self._late.items():
            if json.dumps(name).encode() in data:
                types[name] = _read_as(pa.null(), kind)
        if not data.strip():
            return Chunk(pa.record_batch([], schema=pa.schema([])), 0)
        table = _parse(data, types)
        # One object a line is the promise; pyarrow would take several, or one over several lines.
        if table is None or table.num_rows != len(self._record_lines()):
            return _line_by_line(data, types)
        arrays = [
            column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
            for column in (table[name] for name in types)
        ]
        return Chunk(pa.record_batch(arrays, names=list(types)), table.num_rows)

    def _record_lines(self) -> list[int]:
        if self._lines is None:
            data = self._data()
            ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 0x0A)
            self._lines = record_lines(data, ends, self._block.line).tolist()
        return self._lines

    def position_of(self, record: int) -> int:
        return self._record_lines()[record]


def _parse(data: bytes, types: Mapping[str, pa.DataType]) -> pa.Table | None:
    """The block by pyarrow's parser, or None where it finds something wrong."""
    if any(pa.types.is_struct(kind) for kind in types.values()):
        return None
    try:
        table = arrow_json.read_json(
            pa.py_buffer(data),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore"
            ),
        )
    except pa.ArrowInvalid:
        return None
    for name, kind in types.items():
        # 1e99 as float32 parses as infinity: whether infinity was meant, only the text can say.
        is_list = pa.types.is_list(kind)
        if pa.types.is_floating(kind.value_type if is_list else kind):
            chunks = table[name].chunks
            if any(has_infinity(chunk.values if is_list else chunk) for chunk in chunks):
                return None
    return table


def _line_by_line(data: bytes, types: Mapping[str, pa.DataType]) -> Chunk:
    columns: dict[str, list[str | None]] = {name: [] for name in types}
    malformed: list[Malformed] = []
    rows: list[int] = []
    records = 0
    for line in data.split(b"\n"):
        if line in (b"", b"\r"):
            continue
        try:
            record: Any = json.loads(line, parse_float=_Float)
            wrong = None if isinstance(record, dict) else "not a JSON object"
            texts = [] if wrong else [_text(record.get(name)) for name in types]
            if b"\\u" in line:
                "".join(filter(None, texts)).encode()  # half of a pair of surrogates is no text
        except (ValueError, RecursionError) as error:
            wrong = f"not a JSON object: {error}"
        if wrong is None:
            rows.append(records)
            for column, text in zip(columns.values(), texts, strict=True):
                column.append(text)
        else:
            malformed.append(Malformed(records, line[:1_000].decode(errors="replace"), wrong))
        records += 1
    batch = pa.record_batch([pa.array(texts, pa.string()) for texts in columns.values()], names=list(columns))
    return Chunk(batch, records, np.array(rows, np.int64), malformed)


class _Float(str):
    """A number with a point or an exponent as it is written: a float of Python rounds it, and makes infinity of 1e999."""

    __slots__ = ()


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else _written(value)


def _written(value: Any) -> str:
    if isinstance(value, _Float):
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)}: {_written(each)}' for key, each in value.items())}}}"
    return json.dumps(value)
