"""Readers: one a format, each of which yields bounded record batches that know where their rows stood."""

from featurestore.ingest.readers.chunks import Chunk, Malformed, Part, Reader, Token, Wanted
from featurestore.ingest.sources import Format, Source

__all__ = ["Chunk", "Malformed", "Part", "Reader", "Token", "Wanted", "open_reader"]


def open_reader(source: Source, delimiter: str | None = None) -> Reader:
    """The reader of a source's format. ``delimiter`` is CSV's, by default a comma (a tab for .tsv)."""
    # pyarrow's modules take long to import, so each is imported where its format turns up.
    match source.format:
        case Format.PARQUET:
            from featurestore.ingest.readers.columnar import ParquetReader

            return ParquetReader(source)
        case Format.ARROW:
            from featurestore.ingest.readers.columnar import ArrowReader

            return ArrowReader(source)
        case Format.CSV:
            from featurestore.ingest.readers.csv import CsvReader

            return CsvReader(source, delimiter)
        case Format.JSON_LINES:
            from featurestore.ingest.readers.json_lines import JsonLinesReader

            return JsonLinesReader(source)
