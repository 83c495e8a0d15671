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
    """That can be read, from its beginning on."""
    problem: str = ""
    """A sentence with the byte, where something is wrong."""
    tail_bytes: int = 0
    """Behind the last whole record, where nothing says that they were ever more: a start cuts them off."""


class JournalCheck(NamedTuple):
    """What all of them hold."""

    files: list[FileCheck]
    last: int
    """The record up to which all can be read."""
    behind: int
    """Whole records behind that one."""


def check_journal(files: Sequence[MappedFile], after: int, problem_of: MessageProblem) -> JournalCheck:
    """Checks files that are to hold the records behind ``after``, in their order."""
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
        elif not is_broken:
            last = file.first_sequence - 1
            while (record := unpack(file.data, offset, journal)) is not None and record.sequence == last + 1:
                wrong = problem_of(record.entry.message)
                if wrong and not problem:
                    problem = f"record {record.sequence} at byte {offset} is as it was written, but {wrong}"
                last, records, offset = record.sequence, records + 1, offset + record.record_bytes
        rest = len(file.data) - offset
        found = 0
        if rest or is_broken:
            found = sum(1 for _ in records_behind(file.data, offset, max(last + 1, file.first_sequence), journal))
            behind += found
        ends_here = place == len(files) - 1 and not found
        if is_broken or (rest and not problem and not ends_here):
            what = "what is wrong in a file before it" if is_broken else f"damage at byte {offset}, where record {last + 1} was"
            problem = problem or f"{found} whole records in it lie behind {what}"
        is_broken = is_broken or bool(rest and not ends_here) or isinstance(number, str) or not begins
        checks.append(FileCheck(records, problem, 0 if problem else rest))
    return JournalCheck(checks, last, behind)


def _journal_of(file: MappedFile) -> int | str:
    """The journal's number, or what is wrong with the file's head."""
    try:
        return journal_in(file.data, file.path, file.first_sequence)
    except FeatureStoreError as error:
        return error.message
