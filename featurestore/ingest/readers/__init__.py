"""Readers: one a format, each of which yields bounded record batches that know where their rows stood."""

from featurestore.ingest.readers.chunks import Chunk, Malformed, Part, Reader, Token, Wanted
from featurestore.ingest.sources import Format, Source

__all__ = ["Chunk", "Malformed", "Part", "Reader", "Token", "Wanted", "open_reader"]


def open_reader(source: Source, delimiter: str | None = None) -> Reader:
    """The reader of a source's format. ``delimiter`` is CSV's, by default a comma (a tab for .tsv)."""
    # pyarrow's modules take long to import, so each is imported where its format turns up.
    match source.format:
        case Format.PARQUET:
            from featurestore.ingest.readers.columnar import ParquetReader  # noqa: PLC0415

            return ParquetReader(source)
        case Format.ARROW:
            from featurestore.ingest.readers.columnar import ArrowReader  # noqa: PLC0415

            return ArrowReader(source)
        case Format.CSV:
            from featurestore.ingest.readers.csv import CsvReader  # noqa: PLC0415

            return CsvReader(source, delimiter)
        case Format.JSON_LINES:
            from featurestore.ingest.readers.json_lines import JsonLinesReader  # noqa: PLC0415

            return JsonLinesReader(source)
