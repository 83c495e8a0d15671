"""Snapshots on disk: each a journal of its own in a directory, named by what it stands for.

    DIRECTORY/snapshot-<base>-<records>-<definitions>/    holds everything that the journal's records up to ``base`` did, in so
                                                          many records; begun under that version of the definitions
    DIRECTORY/snapshot.<number>.new/                      being written

Invariant: a directory with a snapshot's name is whole and on the disk. What it makes needless goes only after that.
"""

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from featurestore.durability.reading import journal_files, needless_files, sync_directory, sync_journal

_PREFIX = "snapshot-"


class Snapshot(NamedTuple):
    """One snapshot."""

    directory: Path
    base: int
    records: int
    definitions: int

    @property
    def bytes(self) -> int:
        """On disk."""
        return sum(file.path.stat().st_size for file in journal_files(self.directory))


def latest_snapshot(directory: Path) -> Snapshot | None:
    """The snapshot to start from, if there is one."""
    return max(_snapshots(directory), key=lambda each: (each.base, each.definitions), default=None)


def begin_snapshot(directory: Path) -> Path:
    """An empty directory to write one into, of a new name: who may still be writing an earlier one is left without his."""
    for left in directory.glob("snapshot.*.new"):
        shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(".new", "snapshot.", directory))


def finish_snapshot(directory: Path, written: Path, base: int, records: int, definitions: int, after: int) -> Snapshot:
    """Makes what was written there, and synced, a snapshot. The ones before it go, and journal files that it stands for.

    It stands for no record that the disk has not: a journal that ends before ``base`` would go on with a gap. ``after``: files
    with records behind this one stay all the same.
    """
    target = directory / f"{_PREFIX}{base:020d}-{records}-{definitions}"
    shutil.rmtree(target, ignore_errors=True)
    sync_journal(directory)
    written.rename(target)
    sync_directory(directory)
    for each in _snapshots(directory):
        if each.directory != target:
            shutil.rmtree(each.directory)
    files = journal_files(directory)
    for file in files[: needless_files(files, min(base, after))]:
        file.path.unlink()
    return Snapshot(target, base, records, definitions)


def _snapshots(directory: Path) -> list[Snapshot]:
    found = []
    for path in directory.glob(f"{_PREFIX}*"):
        numbers = path.name.removeprefix(_PREFIX).split("-")
        if len(numbers) in (2, 3) and all(number.isdecimal() for number in numbers):
            base, records, definitions = map(int, (*numbers, "0")[:3])  # the first format had no definitions, and no versions
            found.append(Snapshot(path, base, records, definitions))
    return found
