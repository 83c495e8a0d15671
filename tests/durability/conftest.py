"""Journals of a few records, written by the real thing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from featurestore.durability import Entry, Journal, JournalReader, Kind, Message, Record
from featurestore.durability.reading import End

NUMBER = 0x1234_5678_9ABC_DEF0


def entry(number: int, message: bytes | None = None) -> Entry:
    """The nth entry; no two are alike."""
    data = message if message is not None else bytes([number % 251]) * (number * 7 % 40)
    return Entry(Message(Kind(1 + number % 3), data, 1_000 + number), "default", f"view_{number % 2}", number // 3)


def read(directory: Path, after: int = 0) -> tuple[list[Record], End]:
    """All records behind ``after``, and what the end was."""
    reader = JournalReader(directory, after)
    return list(reader), reader.cut()


@pytest.fixture
def make_journal(tmp_path: Path) -> Callable[..., Journal]:
    """A journal in the test's directory; going on behind record ``last``."""

    def make(last: int = 0, fsync: str = "never", number: int = NUMBER, **options: object) -> Journal:
        options = {"fsync_interval_s": 1.0, **options}
        return Journal(tmp_path, number, last, fsync=fsync, **options)  # type: ignore[arg-type]

    return make


def append(journal: Journal, numbers: range) -> None:
    """Entries of these numbers, applied at once."""
    for number in numbers:
        journal.applied(journal.append(*entry(number)))
