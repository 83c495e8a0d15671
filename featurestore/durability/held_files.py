"""The files of a directory at one instant, held while they are copied: a snapshot that is finished meanwhile may take their
names away, but not them.

They are hard links in a directory of their own. What a journal's file held up to some byte never changes, so a file that is
still written to is held as long as it was then. Invariant: what is held is a snapshot, the versions that views
have beside it, and the records behind them; or all records from the first one on.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from featurestore.durability.journal import Position
from featurestore.durability.reading import journal_files, journal_path, needless_files
from featurestore.durability.record import file_head
from featurestore.durability.snapshot import Snapshot
from featurestore.durability.version import VersionFiles

_PREFIX, _SUFFIX = "held.", ".new"


class HeldFile(NamedTuple):
    """The first ``bytes`` of a file."""

    name: str
    """Its path from the store's directory."""
    path: Path
    bytes: int


class Held:
    """What is held; ``release`` it. ``journal`` and ``position`` are the journal's own."""

    def __init__(self, directory: Path, files: Sequence[HeldFile], journal: int, base: int, position: Position) -> None:
        self._directory = directory
        self.files = files
        self.journal = journal
        self.base = base
        """Of the snapshot; 0: there is none."""
        self.last = position.last

    def release(self) -> None:
        """Lets them go."""
        shutil.rmtree(self._directory, ignore_errors=True)


def hold_files(
    directory: Path,
    snapshot: Snapshot | None,
    versions: Iterable[VersionFiles],
    journal: int,
    after: int,
    position: Position,
    beside: Mapping[str, bytes],
) -> Held:
    """Holds the journal in ``directory`` behind a record and up to a position, a snapshot and versions. ``beside``: contents of
    other files, by name.

    Whoever takes files away waits meanwhile. Raises OSError.
    """
    place = Path(tempfile.mkdtemp(_SUFFIX, _PREFIX, directory))
    found: list[HeldFile] = []
    try:
        for name, content in beside.items():
            path = place / str(len(found))
            path.write_bytes(content)
            found.append(HeldFile(name, path, len(content)))
        if not beside:
            snapshot = None  # there are no definitions yet, and so no rows: it would be one without those
        whole = [each.directory for each in (*((snapshot,) if snapshot is not None else ()), *versions)]
        journals = [each for each in journal_files(directory) if each.first_sequence <= position.last]
        del journals[: needless_files(journals, after)]
        for each in whole:
            if not journal_files(each):  # nothing was in it to be written down, and that is to be known too
                path = place / str(len(found))
                path.write_bytes(file_head(journal, 1))
                name = str(journal_path(each, 1).relative_to(directory.parent))
                found.append(HeldFile(name, path, path.stat().st_size))
        for file in (*(file for each in whole for file in journal_files(each)), *journals):
            path = place / str(len(found))
            os.link(file.path, path)
            is_last = file in journals and file.first_sequence == position.first
            name = str(file.path.relative_to(directory.parent))
            found.append(HeldFile(name, path, position.offset if is_last else path.stat().st_size))
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return Held(place, found, journal, snapshot.base if snapshot is not None else 0, position)


def let_go(directory: Path) -> None:
    """Removes what a process held that is gone."""
    for left in directory.glob(f"{_PREFIX}*{_SUFFIX}"):
        shutil.rmtree(left, ignore_errors=True)
