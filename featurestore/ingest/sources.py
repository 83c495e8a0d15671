"""Where rows come from: paths, directories, globs, URLs, zip archives and standard input, opened as byte streams.

What the bytes mean is the readers' business. Invariant: the order of the sources depends on the arguments and on file names
only, so that a load that is taken up again finds the same source at the same place.
"""

import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, cast

import pyarrow as pa

from featurestore.errors import InvalidArgumentError, NotFoundError, nearest
from featurestore.urls import file_system_of

STANDARD_INPUT = "-"


class Format(Enum):
    """What files hold."""

    PARQUET = "parquet"
    CSV = "csv"
    ARROW = "arrow"
    JSON_LINES = "jsonl"


_SUFFIXES = {
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".arrow": Format.ARROW,
    ".arrows": Format.ARROW,
    ".feather": Format.ARROW,
    ".ipc": Format.ARROW,
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
    ".json": Format.JSON_LINES,
}
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_TEXT = (Format.CSV, Format.JSON_LINES)
_KNOWN_SUFFIXES = ", ".join(_SUFFIXES) + ", .zip, and text with .gz, .bz2 or .zst behind it"


class ByteStream(Protocol):
    """What the text readers need of a file."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Source:
    """One file, one member of an archive, or standard input."""

    name: str
    """As a person is told of it: the path or URL, for a member of an archive ``archive.zip/member.csv``."""
    format: Format
    location: str
    """The path or URL of the file itself; ``-`` is standard input."""
    member: str = ""
    """Within a zip archive."""
    compression: str | None = None
    size_bytes: int | None = None
    """Of the file, or of the compressed member; None where it is not known."""
    modified: str = ""
    """When the file was last changed, in whatever terms its file system has."""

    @property
    def is_standard_input(self) -> bool:
        return self.location == STANDARD_INPUT


# --------------------------------------------------------------------------------------------------------------- finding


def find_sources(arguments: Sequence[str], format: Format | None = None) -> list[Source]:  # noqa: A002  the option's word
    """The sources that paths, directories, globs, URLs and ``-`` stand for, in their order; sorted within each.

    ``format`` overrides what the names say. Raises NotFoundError where nothing is there, InvalidArgumentError for a file whose
    format is not known.
    """
    sources = [source for argument in arguments for source in _find(argument, format)]
    if sum(source.is_standard_input for source in sources) > 1:
        raise InvalidArgumentError.of("FILES", "- twice", "standard input once")
    return sources


def _find(argument: str, wanted: Format | None) -> Iterator[Source]:
    if argument == STANDARD_INPUT:
        if wanted is None:
            raise InvalidArgumentError.of("--format", None, "parquet, csv, arrow or jsonl, which standard input cannot tell")
        yield Source("standard input", wanted, STANDARD_INPUT)
    elif "://" in argument:
        yield from _find_url(argument, wanted)
    elif Path(argument).is_file():
        yield from _sources_of(argument, wanted, _local_identity(argument))
    elif Path(argument).is_dir():
        yield from _all_of(
            argument, ((str(path), _local_identity(path)) for path in Path(argument).rglob("*") if path.is_file()), wanted
        )
    elif any(character in argument for character in "*?["):
        # A literal part may hold no wildcard, so the pattern is matched from the first part that has one.
        parts = Path(argument).parts
        first = next(i for i, part in enumerate(parts) if any(character in part for character in "*?["))
        paths = sorted(path for path in Path(*parts[:first]).glob(str(Path(*parts[first:]))) if path.is_file())
        if not paths:
            raise NotFoundError(f"FILES: no file matches {argument!r}")
        for path in paths:
            yield from _sources_of(str(path), wanted, _local_identity(path))
    else:
        parent = Path(argument).parent
        beside = (str(parent / path.name) for path in parent.iterdir()) if parent.is_dir() else ()
        raise NotFoundError(f"FILES: {argument!r} does not exist: expected {_nearest_file(argument, beside)}")


def _nearest_file(argument: str, beside: Iterable[str]) -> str:
    names = list(beside)
    return nearest(argument, names) if names else "the path of a file, a directory, a glob, a URL, or -"


def _local_identity(path: str | Path) -> tuple[int, str]:
    status = Path(path).stat()
    return status.st_size, str(status.st_mtime_ns)


def _find_url(url: str, wanted: Format | None) -> Iterator[Source]:
    file_system, path = file_system_of("FILES", url)
    prefix = url[: url.index("://") + 3]

    def named(entry: str) -> str:
        return prefix + str(file_system._strip_protocol(entry)).lstrip("/") if prefix != "file://" else prefix + entry

    try:
        if any(character in path for character in "*?["):
            found = sorted(str(entry) for entry in file_system.glob(path))
        elif file_system.isdir(path) and not file_system.isfile(path):
            entries = [(named(str(entry)), _remote_identity(file_system.info(entry))) for entry in file_system.find(path)]
            yield from _all_of(url, entries, wanted)
            return
        else:
            found = [path] if file_system.exists(path) else []
        identities = [_remote_identity(file_system.info(entry)) for entry in found]
    except OSError as error:
        raise InvalidArgumentError.of("FILES", url, f"a URL that can be read: {error}") from error
    if not found:
        raise NotFoundError(f"FILES: no file at {url!r}")
    for entry, identity in zip(found, identities, strict=True):
        yield from _sources_of(named(entry) if len(found) > 1 or entry != path else url, wanted, identity)


def _remote_identity(info: dict[str, Any]) -> tuple[int | None, str]:
    modified = next(
        (info[key] for key in ("mtime", "LastModified", "last_modified", "ETag", "etag", "created") if key in info), ""
    )
    size = info.get("size")
    return (int(size) if size is not None else None), str(modified)


def _all_of(directory: str, entries: Iterable[tuple[str, tuple[int | None, str]]], wanted: Format | None) -> Iterator[Source]:
    """Everything in a directory whose format is known; what starts with a dot or an underscore is not data."""
    found = False
    for path, identity in sorted(entries):
        inner = Path(path.removeprefix(directory).lstrip("/"))
        if any(part.startswith((".", "_")) for part in inner.parts):
            continue
        if wanted is not None or _format_of(path)[0] is not None or path.endswith(".zip"):
            found = True
            yield from _sources_of(path, wanted, identity)
    if not found:
        raise NotFoundError(f"FILES: the directory {directory!r} holds no file that ends in one of {_KNOWN_SUFFIXES}")


def _format_of(name: str) -> tuple[Format | None, str | None]:
    stem, suffix = name, Path(name).suffix.lower()
    compression = _COMPRESSIONS.get(suffix)
    if compression:
        stem = name[: -len(suffix)]
    return _SUFFIXES.get(Path(stem).suffix.lower()), compression


def _sources_of(location: str, wanted: Format | None, identity: tuple[int | None, str]) -> Iterator[Source]:
    size_bytes, modified = identity
    if location.lower().endswith(".zip"):
        yield from _members(location, wanted, modified)
        return
    known, compression = _format_of(location)
    yield Source(location, _checked(location, wanted or known, compression), location, "", compression, size_bytes, modified)


def _checked(name: str, format: Format | None, compression: str | None) -> Format:  # noqa: A002  the option's word
    if format is None:
        raise InvalidArgumentError.of("FILES", name, f"a name that ends in one of {_KNOWN_SUFFIXES}; or say --format")
    if compression is not None and format not in _TEXT:
        raise InvalidArgumentError.of(
            "FILES", name, f"CSV or JSON lines: {format.value} is read out of order, so it cannot lie within a compressed file"
        )
    return format


def _members(location: str, wanted: Format | None, modified: str) -> Iterator[Source]:
    try:
        with _open_raw(location) as raw, zipfile.ZipFile(raw) as archive:
            members = sorted((info.filename, info.compress_size) for info in archive.infolist() if not info.is_dir())
    except (zipfile.BadZipFile, OSError) as error:
        raise InvalidArgumentError.of("FILES", location, f"a zip archive: {error}") from error
    members = [(name, size) for name, size in members if not Path(name).name.startswith((".", "_")) and "__MACOSX" not in name]
    if wanted is None and len(members) > 1:  # a README beside the data is no mistake
        members = [(name, size) for name, size in members if _format_of(name)[0] is not None]
    if not members:
        raise NotFoundError(f"FILES: the archive {location!r} holds no file that ends in one of {_KNOWN_SUFFIXES}")
    for member, size in members:
        name = f"{location}/{member}"
        known, compression = _format_of(member)
        if compression:
            raise InvalidArgumentError.of("FILES", name, "a member of the archive that is not compressed a second time")
        yield Source(name, _checked(name, wanted or known, "zip"), location, member, "zip", size, modified)


# --------------------------------------------------------------------------------------------------------------- opening


def _open_raw(location: str) -> Any:
    if "://" in location:
        import fsspec  # noqa: PLC0415  only where a URL is read

        return fsspec.open(location, "rb").open()
    return Path(location).open("rb")


class OpenText:
    """The bytes of a text source, decompressed, from an offset on; and how far into the file they reach."""

    def __init__(self, source: Source, offset: int = 0) -> None:
        self._raw: Any = None
        self._start = 0
        self._size_bytes = source.size_bytes
        if source.is_standard_input:
            self._stream: ByteStream = sys.stdin.buffer
        elif source.member:
            archive = zipfile.ZipFile(_open_raw(source.location))
            self._stream = cast(ByteStream, archive.open(source.member))
            self._raw = archive.fp
            self._start = archive.getinfo(source.member).header_offset
        else:
            self._raw = _open_raw(source.location)
            if source.compression:
                self._stream = pa.CompressedInputStream(pa.PythonFile(self._raw, "rb"), source.compression)
            else:
                self._stream = self._raw
        if offset and self._raw is not None and not source.compression:
            self._raw.seek(offset)
        else:
            while offset:
                skipped = len(self.read(min(offset, 1 << 20)))
                if not skipped:
                    break
                offset -= skipped

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; fewer only at the end, which a stream from afar (HTTP without ranges) does not promise."""
        data = self._stream.read(size)
        while data and len(data) < size and (more := self._stream.read(size - len(data))):
            data += more
        return data

    @property
    def fraction(self) -> float | None:
        """How much of the file has been read, from 0 to 1; None where its size is not known."""
        if self._raw is None or not self._size_bytes:
            return None
        read_bytes: int = self._raw.tell() - self._start
        return min(1.0, read_bytes / self._size_bytes)

    def close(self) -> None:
        if self._raw is not None:  # standard input stays open: it is not ours
            self._stream.close()
            self._raw.close()


def open_random(source: Source) -> pa.NativeFile:
    """A source for a reader that jumps about in it. Standard input goes through a temporary file on disk."""
    if source.is_standard_input:
        with tempfile.NamedTemporaryFile(prefix="featurestore-ingest-") as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool, 1 << 20)
            spool.flush()
            return pa.OSFile(spool.name)  # the open file outlives its name
    if "://" in source.location:
        return pa.PythonFile(_open_raw(source.location), "rb")
    return pa.OSFile(source.location)
