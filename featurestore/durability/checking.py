"""Reads a journal over, all of it, without changing anything: what of it is right, and what a start would make of the rest.

Where ``reading.py`` stops at the first thing that is wrong, this goes on, to say how much lies behind it. Works on files that
are mapped, so that a server may go on meanwhile.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from featurestore.durability.reading import journal_in, records_behind
from featurestore.durability.record import FILE_HEAD_BYTES, Message, unpack
from featurestore.errors import FeatureStoreError

MessageProblem = Callable[[Message], str | None]
"""What is wrong with the message of a whole record; None where nothing is."""


class MappedFile(NamedTuple):
    """A journal's file."""

    path: Path
    first_sequence: int
    data: memoryview


class FileCheck(NamedTuple):
    """What one file holds."""

    records: int
    """Whole ones: from its beginning on, or wherever they lie where that is not whole."""
    problem: str = ""
    """A sentence with the byte, where something is wrong."""
    tail_bytes: int = 0
    """Behind the last whole record, where nothing says that they were ever more: a start cuts them off."""
    is_behind: bool = False
    """Whether a file before it is damaged, or missing."""


class JournalCheck(NamedTuple):
    """What all of them hold."""

    files: list[FileCheck]
    last: int
    """The record up to which all can be read."""
    behind: int
    """Whole records behind that one."""


def check_journal(
    files: Sequence[MappedFile], after: int, problem_of: MessageProblem, *, is_complete: bool = False
) -> JournalCheck:
    """Checks files that are to hold the records behind ``after``, in their order. ``is_complete``: nobody writes to them."""
    numbers = [_journal_of(file) for file in files]
    journal = next((number for number in numbers if isinstance(number, int)), 0)
    checks: list[FileCheck] = []
    last, behind, is_broken = after, 0, False
    for place, (file, number) in enumerate(zip(files, numbers, strict=True)):
        offset, records, problem = FILE_HEAD_BYTES, 0, ""
        begins = file.first_sequence == last + 1 or (place == 0 and file.first_sequence <= last)
        if isinstance(number, str):
            problem = number
        elif number != journal:
            problem = "it is a file of another journal than the others"
        elif not (begins or is_broken):
            problem = (
                f"it begins with record {file.first_sequence}, expected {last + 1}: the files with those between are missing"
            )
        if is_broken or problem:
            found = _count_behind(file, offset, file.first_sequence, journal)
            checks.append(FileCheck(found, problem, is_behind=is_broken))
            is_broken = True
        else:
            last = file.first_sequence - 1
            while (record := unpack(file.data, offset, journal)) is not None and record.sequence == last + 1:
                wrong = problem_of(record.entry.message)
                if wrong and not problem:
                    problem = f"record {record.sequence} at byte {offset} is as it was written, but {wrong}"
                last, records, offset = record.sequence, records + 1, offset + record.record_bytes
            tail_bytes = len(file.data) - offset
            found = _count_behind(file, offset, last + 1, journal) if tail_bytes else 0
            if tail_bytes and (found or is_complete or place < len(files) - 1):
                is_broken, tail_bytes = True, 0
                problem = problem or f"it is damaged at byte {offset}, where record {last + 1} was"
            checks.append(FileCheck(records, problem, tail_bytes))
        behind += found
    return JournalCheck(checks, last, behind)


def _count_behind(file: MappedFile, offset: int, sequence_min: int, journal: int) -> int:
    return sum(1 for _ in records_behind(file.data, offset, sequence_min, journal))


def _journal_of(file: MappedFile) -> int | str:
    """The journal's number, or what is wrong with the file's head."""
    try:
        return journal_in(file.data, file.path, file.first_sequence)
    except FeatureStoreError as error:
        return error.message
