"""Reads a journal back, and says where it ends: at the last whole record that follows from those before it.

A process that dies leaves at most one record half-written. A machine that loses power may also lose pages in any order of what
was not synced. So whatever is not whole, or not there, is cut off together with all behind it, unless a record behind it, or
what was noted when the journal was closed, says that it had been synced: then the disk has damaged it, or somebody has taken it
away, and nobody but its owner may decide what to do. Invariant: what is read is a prefix of what was written.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from featurestore.durability.ending import FILE_NAME as NOTE
from featurestore.durability.ending import noted_end
from featurestore.durability.record import (
    FILE_HEAD,
    FILE_HEAD_BYTES,
    FORMAT,
    HEAD_BYTES,
    MAGIC,
    SEQUENCE_WORD,
    Record,
    file_head,
    seal,
    unpack,
)
from featurestore.errors import FailedPreconditionError, InternalError

SUFFIX = ".journal"


class JournalFile(NamedTuple):
    """One file, by its name."""

    path: Path
    first_sequence: int


class End(NamedTuple):
    """Where a journal ends, and what was cut off there."""

    sequence: int
    """Of the last record; 0 where there is none."""
    journal: int
    """The journal's own number; 0 where there is no file."""
    cut_bytes: int


def journal_path(directory: Path, first_sequence: int) -> Path:
    """The file that begins with that record."""
    return directory / f"{first_sequence:020d}{SUFFIX}"


def journal_files(directory: Path) -> list[JournalFile]:
    """The files of a journal in order."""
    paths = sorted(directory.glob(f"*{SUFFIX}"))
    return [JournalFile(path, int(path.stem)) for path in paths if path.stem.isdecimal()]


def journal_number(directory: Path) -> int:
    """The journal's own number, as its first file gives it; 0 where there is none."""
    for file in journal_files(directory)[:1]:
        with mapped(file.path) as data:
            return journal_in(data, *file)
    return 0


def needless_files(files: Sequence[JournalFile], after: int) -> int:
    """How many of them, from the first on, have no record behind ``after``. Never the last one, which may get more."""
    return sum(following.first_sequence <= after + 1 for following in files[1:])


def journal_bytes(directory: Path, base: int) -> int:
    """Bytes of the files with records behind ``base``."""
    files = journal_files(directory)
    return sum(file.path.stat().st_size for file in files[needless_files(files, base) :])


class JournalReader:
    """Reads the records behind ``after``, once; then ``cut`` makes the journal end where it was whole.

    ``had``: up to this record it had them all since the machine was started. Raises InternalError for damage, and
    FailedPreconditionError for a newer format or a missing file, each naming the file.
    """

    def __init__(self, directory: Path, after: int = 0, had: int = 0) -> None:
        self._directory = directory
        self._after = after
        self._had = had
        self._noted = noted_end(directory)
        self._files = journal_files(directory)
        self._last = after
        self._journal = 0
        self._broken: tuple[int, int] | None = None  # (index of the file, offset) from which on nothing is whole

    def __iter__(self) -> Iterator[Record]:
        first = max((place for place, file in enumerate(self._files) if file.first_sequence <= self._after + 1), default=0)
        if not self._files:
            self._refuse_end(0)
            return
        if self._files[first].first_sequence > self._after + 1:
            raise FailedPreconditionError(
                f"{self._directory}: got a journal that begins with record {self._files[0].first_sequence}, expected record "
                f"{self._after + 1} in it: put the missing files back"
            )
        self._last = self._files[first].first_sequence - 1
        for place in range(first, len(self._files)):
            if self._files[place].first_sequence != self._last + 1:
                self._refuse_missing(place)
                self._broken = (place - 1, self._files[place - 1].path.stat().st_size)
                return
            yield from self._read(place)
            if self._broken is not None:
                self._refuse_damage(place)
                return
        self._refuse_end(self._last)

    def _read(self, place: int) -> Iterator[Record]:
        path, first_sequence = self._files[place]
        with mapped(path) as data:
            self._check_head(data, path, first_sequence)
            offset = FILE_HEAD_BYTES
            while offset < len(data):
                record = unpack(data, offset, self._journal)
                if record is None or record.sequence != self._last + 1:
                    self._broken = (place, offset)
                    return
                self._last = record.sequence
                offset += record.record_bytes
                if record.sequence > self._after:
                    yield record

    def _check_head(self, data: memoryview, path: Path, first_sequence: int) -> None:
        journal = journal_in(data, path, first_sequence)
        if self._journal and journal != self._journal:
            raise FailedPreconditionError(
                f"{path}: got a file of another journal than the one before it, expected record {first_sequence} of that one: "
                "put the right file back"
            )
        self._journal = journal

    def _refuse_damage(self, place: int) -> None:
        """Raises unless all behind the break may be what the disk never got."""
        assert self._broken is not None
        path, offset = self._files[place].path, self._broken[1]
        if self._is_proven(place, offset):
            raise self._damage_of(path, offset)

    def _refuse_missing(self, place: int) -> None:
        """Raises unless all from that file on, and what is missing before it, may be what the disk never got."""
        for file in self._files[place:]:
            with mapped(file.path) as data:
                self._check_head(data, *file)  # what is not this journal's own is not to be cut
        is_behind = self._files[place].first_sequence > self._last
        if not is_behind or self._had > self._last or self._is_proven(place, FILE_HEAD_BYTES):
            raise self._missing(place)

    def _refuse_end(self, last: int) -> None:
        """Raises where the journal, of which that is the last record, had more when it was closed."""
        if self._noted.last > last and self._journal in (0, self._noted.journal):
            found = f"a journal that ends with record {last}" if self._files else "no file of a journal"
            raise FailedPreconditionError(
                f"{self._directory}: got {found}, expected record {self._noted.last} as its last one, as when it was closed: "
                f"put the missing files back, or, to go on without them, take {NOTE} away"
            )

    def _is_proven(self, place: int, offset: int) -> bool:
        """Whether the note, or a record in that file from there on or behind it, says that more had been synced than is."""
        if self._noted.last > self._last and self._noted.journal == self._journal:
            return True
        for file in self._files[place:]:
            with mapped(file.path) as data:
                behind = records_behind(data, offset, max(self._last + 1, file.first_sequence), self._journal)
                if any(record.synced > self._last for record in behind):
                    return True
            offset = FILE_HEAD_BYTES
        return False

    def _missing(self, place: int) -> FailedPreconditionError:
        path, first_sequence = self._files[place]
        return FailedPreconditionError(
            f"{path}: got a file that begins with record {first_sequence}, expected {self._last + 1}, the one after the "
            "file before it: put the missing files back"
        )

    def _damage_of(self, path: Path, offset: int) -> InternalError:
        return _damage(path, offset, f"record {self._last + 1}, which had been written and synced")

    def expect_end(self, last: int) -> None:
        """Raises InternalError unless all was whole, up to record ``last`` and no further: of what was synced as a whole."""
        if self._broken is not None:
            place, offset = self._broken
            path = self._files[place].path
            raise self._missing(place + 1) if offset == path.stat().st_size else self._damage_of(path, offset)
        if self._last != last:
            raise InternalError(f"{self._directory}: got {self._last} records, expected {last}: put the missing files back")

    def cut(self) -> End:
        """Takes off what is not whole, and has the disk take all the rest. To be called when all records were read."""
        cut_bytes = 0
        if self._broken is not None:
            place, offset = self._broken
            for file in reversed(self._files[place + 1 :]):
                cut_bytes += file.path.stat().st_size
                file.path.unlink()
            path = self._files[place].path
            cut_bytes += path.stat().st_size - offset
            os.truncate(path, offset)
        for beside in self._directory.glob("[0-9]*.new"):
            with suppress(OSError):  # of a disk that is read-only: reads go on
                beside.unlink()  # of a file that had not begun
        if self._files:
            sync_journal(self._directory)
        return End(self._last, self._journal, cut_bytes)


class mapped:  # noqa: N801  reads as a function
    """The bytes of a file, while they are needed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> memoryview:
        with self._path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else None
        self._view = memoryview(self._map if self._map is not None else b"")
        return self._view

    def __exit__(self, *_: object) -> None:
        self._view.release()
        if self._map is not None:
            self._map.close()


def journal_in(data: memoryview, path: Path, first_sequence: int) -> int:
    # The head was on the disk before the file had its name, so that it is never what a loss of power left of it.
    found = FILE_HEAD.unpack_from(data) if len(data) >= FILE_HEAD_BYTES else (b"", 0, 0, 0, 0)
    magic, format_version, _, journal, _ = found
    if magic == MAGIC and format_version > FORMAT and data[FILE_HEAD.size : FILE_HEAD_BYTES] == seal(data[: FILE_HEAD.size]):
        raise FailedPreconditionError(
            f"{path}: got format {format_version}, expected at most {FORMAT}: a newer featurestore wrote it; start that one"
        )
    if not 1 <= format_version <= FORMAT or data[:FILE_HEAD_BYTES] != file_head(journal, first_sequence, format_version):
        raise _damage(path, 0, f"the head of a journal's file that begins with record {first_sequence}")
    return int(journal)


def _damage(path: Path, offset: int, expected: str) -> InternalError:
    # A snapshot, and a version of a view's rows, is of use as a whole alone.
    is_whole = path.parent.name.startswith("snapshot-") or path.parent.parent.parent.name == "versions"
    of_journal = "; or, to go on with what stands before it, cut the file there and take later ones away"
    way_out = ", or restore a backup" if is_whole else of_journal
    return InternalError(
        f"{path}: got damage at byte {offset}, expected {expected}: the disk has changed it. Put a copy of the file "
        f"back{way_out}"
    )


def records_behind(data: memoryview, offset: int, sequence_min: int, journal: int) -> Iterator[Record]:
    """Whole records behind a break, wherever they begin: they are found by a sequence that they may have."""
    start = -(-offset // 8) * 8
    words = np.frombuffer(data[start : len(data) // 8 * 8], np.uint64)
    sequence_max = sequence_min + len(data) // HEAD_BYTES + 1
    places = np.flatnonzero((words >= sequence_min) & (words <= sequence_max)) - SEQUENCE_WORD
    del words  # else the file stays mapped
    records = (unpack(data, start + place * 8, journal) for place in places.tolist() if place >= 0)
    return (record for record in records if record is not None)


def sync_journal(directory: Path) -> None:
    """Has the disk take all that is in a journal's files, whoever writes to them. Raises OSError."""
    for file in journal_files(directory):
        with suppress(FileNotFoundError):  # a snapshot stands for it by now
            _sync(file.path)
    sync_directory(directory)


def sync_directory(path: Path) -> None:
    """Has the disk take the names in a directory."""
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
