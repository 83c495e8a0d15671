"""Reads over all that a store, or a backup of one, has on disk, and changes nothing: every checksum, every record, and whether
a start could use it. A server may be running on it.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import NamedTuple

from featurestore.backup.copying import content_of, existing_manifest
from featurestore.backup.destination import Destination, DirectoryDestination
from featurestore.backup.manifest import FILE_NAME as MANIFEST
from featurestore.durability import latest_snapshot
from featurestore.durability.checking import MappedFile, MessageProblem, check_journal
from featurestore.durability.reading import journal_files, mapped
from featurestore.errors import FailedPreconditionError, FeatureStoreError, InternalError, NotFoundError
from featurestore.registry import Registry
from featurestore.registry.registry import FILE_NAME as REGISTRY
from featurestore.service.recovery import DIRECTORY_NAME as JOURNAL

_ATTEMPTS_MAX = 10
_SNAPSHOT = re.compile(rf"{JOURNAL}/snapshot-([0-9]+)-([0-9]+)/")


class FileFinding(NamedTuple):
    """What was found in one file."""

    name: str
    bytes: int
    records: int
    problem: str = ""
    """A sentence with the byte; empty where nothing is wrong."""
    tail_bytes: int = 0
    """Behind the last whole record: of a write that did not end, or has not ended yet. A start cuts them off."""
    is_behind: bool = False
    """Whether it lies behind what is wrong in another."""


class Verification(NamedTuple):
    """What was found in all of them."""

    files: list[FileFinding]
    base: int
    """Of the snapshot; 0: there is none."""
    last: int
    """The record up to which everything can be recovered."""
    behind: int
    """Whole records behind that one, which cannot."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not any(file.problem for file in self.files)


def verify(place: Destination, problem_of: MessageProblem) -> Verification:
    """Reads a store's directory, or a backup. ``problem_of`` says what is wrong with a message.

    NotFoundError where neither is there.
    """
    if not isinstance(place, DirectoryDestination) or place.read(MANIFEST) is not None:
        return _verify_backup(place, problem_of)
    root = place.root
    if not (root / REGISTRY).exists() and not (root / JOURNAL).is_dir():
        expected = f"{REGISTRY} and {JOURNAL}, or {MANIFEST}, in it"
        raise NotFoundError(f"{root} holds neither a store nor a backup: expected {expected}")
    for _ in range(_ATTEMPTS_MAX):
        files = _files_in(root)
        try:
            with ExitStack() as stack:
                views = {name: stack.enter_context(mapped(path)) for name, path in files.items()}
                if [*_files_in(root)][: len(files)] != [*files]:
                    continue  # a snapshot was finished meanwhile
                return _check(files, views, {}, problem_of)
        except FileNotFoundError:
            continue
    raise FailedPreconditionError(f"{root} changes faster than it can be read: try again")


def _files_in(root: Path) -> dict[str, Path]:
    """The files that a start would read, by name."""
    snapshot = latest_snapshot(root / JOURNAL)
    paths = [file.path for file in journal_files(snapshot.directory)] if snapshot is not None else []
    journal = journal_files(root / JOURNAL, snapshot.base if snapshot is not None else 0)
    paths = [root / REGISTRY, *paths, *(file.path for file in journal)]
    return {str(path.relative_to(root)): path for path in paths if path.exists()}


def _verify_backup(place: Destination, problem_of: MessageProblem) -> Verification:
    manifest = existing_manifest(place)
    paths: dict[str, Path] = {}
    problems: dict[str, str] = {}
    with ExitStack() as stack:
        copies = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="featurestore-verify-")))
        for file in manifest.files:
            is_here = isinstance(place, DirectoryDestination)
            paths[file.name] = place.root / file.place if isinstance(place, DirectoryDestination) else copies / file.name
            try:
                _read_over(content_of(place, file), None if is_here else paths[file.name])
            except InternalError as error:
                problems[file.name] = error.message
        paths = {name: path for name, path in paths.items() if path.exists()}
        views = {name: stack.enter_context(mapped(path)) for name, path in paths.items()}
        found = _check(paths, views, problems, problem_of)
    missing = [FileFinding(file.name, 0, 0, problems[file.name]) for file in manifest.files if file.name not in paths]
    return found._replace(files=[*found.files, *missing])


def _read_over(pieces: Iterator[bytes], copy: Path | None) -> None:
    if copy is not None:
        copy.parent.mkdir(parents=True, exist_ok=True)
    with copy.open("wb") if copy is not None else nullcontext() as target:
        for piece in pieces:
            if target is not None:
                target.write(piece)


def _check(
    paths: Mapping[str, Path], views: Mapping[str, memoryview], problems: Mapping[str, str], problem_of: MessageProblem
) -> Verification:
    findings = []
    if REGISTRY in paths:
        findings.append(
            FileFinding(REGISTRY, len(views[REGISTRY]), 0, problems.get(REGISTRY) or _registry_problem(paths[REGISTRY]))
        )
    in_journal = [name for name in paths if name != REGISTRY]
    if in_journal and REGISTRY not in paths:
        findings.append(
            FileFinding(REGISTRY, 0, 0, f"{REGISTRY} is not there, and without it nobody knows the views of the rows")
        )
    in_snapshot = {name: found for name in in_journal if (found := _SNAPSHOT.match(name))}
    base, records = map(int, next(iter(in_snapshot.values())).groups()) if in_snapshot else (0, 0)
    ends = []
    for names, after in (([*in_snapshot], 0), ([name for name in in_journal if name not in in_snapshot], base)):
        files = [MappedFile(paths[name], int(Path(name).stem), views[name]) for name in names]
        check = check_journal(files, after, problem_of, is_complete=bool(names) and names[0] in in_snapshot)
        ends.append(check)
        for name, each in zip(names, check.files, strict=True):
            problem = problems.get(name) or (f"{paths[name]}: {each.problem}" if each.problem else "")
            findings.append(FileFinding(name, len(views[name]), each.records, problem, each.tail_bytes, each.is_behind))
    of_snapshot, of_journal = ends
    if in_snapshot and of_snapshot.last != records:
        place = next(index for index, each in enumerate(findings) if each.name in in_snapshot)
        directory = paths[findings[place].name].parent
        wrong = f"{directory}: got {of_snapshot.last} records, expected {records}: files of it are missing, or cut"
        findings[place] = findings[place]._replace(problem=findings[place].problem or wrong)
    last, behind = max(of_journal.last, base), of_journal.behind
    if any(each.problem for each in findings if each.name in in_snapshot or each.name == REGISTRY):
        last, behind = 0, of_snapshot.last + of_snapshot.behind + max(of_journal.last - base, 0) + behind
    return Verification(findings, base, last, behind)


def _registry_problem(path: Path) -> str:
    try:
        Registry.open(path.parent)
    except FeatureStoreError as error:
        return error.message
    return ""
