"""Versions of a view's rows on disk: each a journal of its own, as a snapshot is, of one table.

    DIRECTORY/versions/<project>.<view>/<number>-<records>/    the rows, in so many records
    DIRECTORY/versions/<project>.<view>/<random>.new/          being written

Which of them count is the registry's to say. Invariant: a directory with a version's name is whole and on the disk.
"""

import shutil
import tempfile
from collections.abc import Mapping, Set
from pathlib import Path
from typing import NamedTuple

from featurestore.durability.reading import sync_directory
from featurestore.errors import InternalError

_NAME = "versions"


class VersionFiles(NamedTuple):
    """Where the rows of a version are."""

    directory: Path
    number: int
    records: int


def find_version(directory: Path, view: str, number: int) -> VersionFiles | None:
    """The files of a version of ``view`` (``project.view``); None where there are none."""
    return next((found for found in _versions(directory / _NAME / view) if found.number == number), None)


def version_files(directory: Path, project: str, view: str, number: int) -> VersionFiles:
    """Those of a version that has to be there. InternalError where they are not."""
    files = find_version(directory, f"{project}.{view}", number)
    if files is None:
        raise InternalError(f"{directory}: got no files of version {number} of view {view!r}, expected its rows: put them back")
    return files


def begin_version(directory: Path, view: str) -> Path:
    """An empty directory to write one into."""
    parent = directory / _NAME / view
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(".new", "", parent))


def finish_version(directory: Path, view: str, written: Path, number: int, records: int) -> VersionFiles:
    """Makes what was written there, and synced, the version of that number, in place of what was there of it."""
    parent = directory / _NAME / view
    for found in _versions(parent):
        if found.number == number:
            shutil.rmtree(found.directory)
    target = parent / f"{number}-{records}"
    written.rename(target)
    for each in (parent, parent.parent, directory):
        sync_directory(each)
    return VersionFiles(target, number, records)


def keep_versions(directory: Path, wanted: Mapping[str, set[int]], *, untouched: Set[str] = frozenset()) -> None:
    """Removes all but these, by view, and what was left half-written; but nothing of the views where one is being written."""
    for parent in (directory / _NAME).glob("*"):
        if parent.name in untouched:
            continue
        numbers = wanted.get(parent.name, set())
        kept = {found.directory for found in _versions(parent) if found.number in numbers}
        for path in parent.iterdir():
            if path not in kept:
                shutil.rmtree(path)
        if not kept:
            parent.rmdir()


def _versions(parent: Path) -> list[VersionFiles]:
    found = []
    for path in parent.glob("*-*"):
        number, _, records = path.name.partition("-")
        if number.isdecimal() and records.isdecimal():
            found.append(VersionFiles(path, int(number), int(records)))
    return found
