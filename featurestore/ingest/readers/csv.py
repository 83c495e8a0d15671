"""CSV: a header line, then records of as many fields, in blocks that are parsed by pyarrow straight to the wanted types.

A block that does not parse so (a letter among the numbers) is parsed once more as raw text, and the conversion that all formats
share finds the values that are wrong. Records with too few or too many fields are handed on as malformed. Invariant: every
record of the source is either a row or malformed.
"""

import codecs
import csv as standard_csv
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from featurestore.errors import InvalidArgumentError
from featurestore.ingest.readers.blocks import Block, blocks, last_record_end, record_ends, record_lines
from featurestore.ingest.readers.chunks import Chunk, Malformed, Token, Wanted, has_infinity
from featurestore.ingest.sources import OpenText, Source

_HEADER_BYTES_MAX = 4 << 20
_HEADER_SHOWN_MAX = 200


class CsvReader:
    """One CSV source. Fields are quoted by ``"``, a quote within is doubled; the text is UTF-8."""

    position_unit = "line"

    def __init__(self, source: Source, delimiter: str | None = None) -> None:
        self._source = source
        name = Path(source.name)
        if source.compression is not None and not source.member:
            name = name.with_suffix("")
        self._delimiter = delimiter or ("\t" if name.suffix.lower() == ".tsv" else ",")
        self._stream: OpenText | None = OpenText(source)
        try:
            self._names, self._body, self._rest = self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> tuple[list[str], Token, bytes]:
        """The column names, where the records begin, and the bytes already read of them."""
        assert self._stream is not None
        data = b""
        end = 0
        start = len(codecs.BOM_UTF8)
        while not end:
            read = self._stream.read(1 << 16)
            data += read
            if not data.startswith(codecs.BOM_UTF8):
                start = 0
            while data[start : start + 1] in (b"\n", b"\r"):
                start += 1
            ends = record_ends(data[start:], self._delimiter.encode())
            end = start + int(ends[0]) + 1 if len(ends) else 0
            if len(read) < 1 << 16:
                end = end or len(data)
                break
            if len(data) > _HEADER_BYTES_MAX:
                raise InvalidArgumentError.of(self._source.name, "no end of the first line", "CSV with a header line")
        try:
            header = data[start:end].decode()
        except UnicodeDecodeError as error:
            raise InvalidArgumentError.of(f"{self._source.name} line 1", data[start:end], "a header in UTF-8") from error
        try:
            names = next(standard_csv.reader(io.StringIO(header), delimiter=self._delimiter), [])
        except standard_csv.Error as error:
            expected = f"a header whose line ends in a newline: {error}"
            raise InvalidArgumentError.of(f"{self._source.name} line 1", header[:_HEADER_SHOWN_MAX], expected) from error
        return [name.strip() for name in names], {"offset": end, "line": 1 + data[:end].count(b"\n")}, data[end:]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(name, pa.null()) for name in self._names])

    def parts(self, wanted: Wanted, start: Token | None = None) -> Iterator["_CsvPart"]:
        if start is None:
            stream: OpenText = _Resumed(self._stream, self._rest) if self._stream else OpenText(self._source)
            token = self._body
        else:
            self.close()
            stream, token = OpenText(self._source, start["offset"]), start
        self._stream = stream
        parse = _Parse(self._names, wanted, self._delimiter)
        last_cut = partial(last_record_end, delimiter=self._delimiter.encode())
        for block in blocks(stream, self._source.name, token, last_cut):
            yield _CsvPart(block, parse)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class _Resumed(OpenText):
    """A stream of which some bytes were already read."""

    def __init__(self, stream: OpenText, rest: bytes) -> None:
        self._inner, self._rest = stream, rest

    def read(self, size: int) -> bytes:
        if not self._rest:
            return self._inner.read(size)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data + self._inner.read(size - len(data)) if len(data) < size else data

    @property
    def fraction(self) -> float | None:
        return self._inner.fraction

    def close(self) -> None:
        self._inner.close()


class _Parse:
    """How the blocks of one source are parsed: the pyarrow options, made once."""

    def __init__(self, names: list[str], wanted: Wanted, delimiter: str) -> None:
        self.names, self.delimiter = names, delimiter.encode()
        self._delimiter = delimiter
        asked = [(name, kind) for name, kind in wanted.columns.items() if name in names]
        self._typed = {name: _parsed_as(kind) for name, kind in asked if kind is not None}
        self._columns = [name for name, _ in asked]
        self._floats = [name for name, kind in self._typed.items() if pa.types.is_floating(kind)]
        # "" is an empty text and nothing between the delimiters is null; where no text is wanted, quotes say nothing.
        self._quotes_matter = any(kind in (pa.string(), pa.binary()) for _, kind in asked)
        self._null_values = ["", *wanted.null_values]

    def typed(self, data: bytes, invalid: list[arrow_csv.InvalidRow]) -> pa.Table | None:
        """The block with its columns of the wanted types; None where some value is not of its type."""
        try:
            table = self._read(data, self._typed, invalid)
        except pa.ArrowInvalid:
            return None
        for name in self._floats:
            # 1e99 as float32 parses as infinity: whether infinity was meant, only the text can say.
            if any(has_infinity(chunk) for chunk in table[name].chunks):
                return None
        return table

    def raw(self, data: bytes, invalid: list[arrow_csv.InvalidRow]) -> pa.Table:
        """The block with the typed columns as the bytes that stand there."""
        return self._read(data, dict.fromkeys(self._typed, pa.binary()), invalid)

    def _read(self, data: bytes, types: dict[str, pa.DataType], invalid: list[arrow_csv.InvalidRow]) -> pa.Table:
        invalid.clear()

        def skip(row: arrow_csv.InvalidRow) -> str:
            invalid.append(row)
            return "skip"

        return arrow_csv.read_csv(
            pa.py_buffer(data),
            read_options=arrow_csv.ReadOptions(use_threads=False, column_names=self.names, block_size=len(data) + 1),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._delimiter,
                quote_char='"' if b'"' in data else False,
                newlines_in_values=True,
                invalid_row_handler=skip,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types,
                include_columns=self._columns,
                null_values=self._null_values,
                strings_can_be_null=True,
                quoted_strings_can_be_null=not self._quotes_matter,
            ),
        )


def _parsed_as(kind: pa.DataType) -> pa.DataType:
    """Times and vectors have many spellings: they are left to the conversion."""
    return pa.string() if pa.types.is_temporal(kind) or pa.types.is_fixed_size_list(kind) else kind


class _CsvPart:
    """One block."""

    def __init__(self, block: Block, parse: _Parse) -> None:
        self._block, self._parse = block, parse
        self._lines: list[int] | None = None

    def place_behind(self, records: int) -> tuple[Token, int]:
        return self._block.token, records

    @property
    def fraction(self) -> float | None:
        return self._block.fraction

    def read(self) -> Chunk:
        invalid: list[arrow_csv.InvalidRow] = []
        data = self._block.data
        if data[:1] in b"\r\n" and not data.strip(b"\r\n"):
            return Chunk(pa.record_batch([], schema=pa.schema([])), 0)
        table = self._parse.typed(data, invalid)
        if table is None:
            table = self._parse.raw(data, invalid)
        malformed = [
            Malformed(row.number - 1, row.text, f"{row.actual_columns} fields, expected {row.expected_columns}")
            for row in invalid
        ]
        records = table.num_rows + len(malformed)
        row_records = None
        if malformed:
            row_records = np.delete(np.arange(records), [each.record for each in malformed])
        batch = pa.record_batch([_whole(column) for column in table.columns], names=table.column_names)
        return Chunk(batch, records, row_records, malformed)

    def position_of(self, record: int) -> int:
        if self._lines is None:
            data = self._block.data
            self._lines = record_lines(data, record_ends(data, self._parse.delimiter), self._block.line).tolist()
        return self._lines[min(record, len(self._lines) - 1)]


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
