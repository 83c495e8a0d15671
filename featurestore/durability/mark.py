"""How much of the journal is in the segments, in a small mapped file beside them: it lives and dies with them.

    | magic 8 | format 8 | journal 8 | place 8 | mark 8 |

``mark``: every record up to it is applied. One aligned store moves it, after the stores of the rows it speaks of, so that it
holds whenever the process ends. ``place``: the boot, the journal's directory, and what the last start left in a file there. So
the mark says nothing after a reboot: tables in memory are gone then, and of tables in files nobody knows which pages the disk
had got. Nor does it where the journal was restored, since it, or the definitions, may have gone on otherwise; the directory
alone does not tell, which may have the number of one that was removed. Invariant: a mark that ``attach`` gives back is of this
journal, in this directory and boot, and neither has had another start since.
"""

import mmap
import os
import secrets
from contextlib import suppress
from pathlib import Path

from featurestore.durability.checksum import checksum

FILE_NAME = "journal-mark"
START_FILE_NAME = "start"
"""Beside the journal: a number of each start's own, which no backup has. (Not synced: a reboot takes the mark.)"""
_MAGIC = int.from_bytes(b"FTRMARK1", "little")
_FORMAT = 2
_WORDS = 5
_MARK = 4


class Mark:
    """The mark of one directory of segments."""

    def __init__(self, path: Path, directory: Path) -> None:
        self._directory = directory
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, 8 * _WORDS)
            self._map = mmap.mmap(handle, 8 * _WORDS)
        finally:
            os.close(handle)
        self._words = memoryview(self._map).cast("Q")

    @classmethod
    def attach(cls, segments: Path, directory: Path, journal: int) -> tuple["Mark", int | None]:
        """The mark, and what it says; None where it says nothing of this journal, in this directory and boot."""
        mark = cls(segments / FILE_NAME, directory)
        expected = (_MAGIC, _FORMAT, journal, mark._place())
        return mark, mark._words[_MARK] if tuple(mark._words[:_MARK]) == expected else None

    def begin(self, journal: int, sequence: int) -> None:
        """Says that of this journal everything up to ``sequence`` is in the segments."""
        self._words[0] = 0  # while it is half-said it says nothing
        with suppress(OSError):  # of a disk that is full, or read-only
            (self._directory / START_FILE_NAME).write_bytes(secrets.token_bytes(8))
        self._words[1], self._words[2], self._words[3], self._words[_MARK] = _FORMAT, journal, self._place(), sequence
        self._words[0] = _MAGIC

    def _place(self) -> int:
        left = b""
        with suppress(OSError):
            left = (self._directory / START_FILE_NAME).read_bytes()
        return checksum(_boot() + b"%d" % self._directory.stat().st_ino + left)

    def forget(self) -> None:
        """Says nothing any more: the segments are being filled."""
        self._words[0] = 0

    @property
    def word(self) -> memoryview:
        """A uint64, for the sequence up to which everything is in the segments."""
        return self._words[_MARK:]

    def close(self) -> None:
        """Gives the file up; what it says stays."""
        self._words.release()
        self._map.close()


def _boot() -> bytes:
    return Path("/proc/sys/kernel/random/boot_id").read_bytes()
