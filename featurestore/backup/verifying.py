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
from featurestore.durability import find_version, latest_snapshot
from featurestore.durability.checking import JournalCheck, MappedFile, MessageProblem, check_journal
from featurestore.durability.ending import FILE_NAME as NOTE
from featurestore.durability.ending import noted_end
from featurestore.durability.reading import journal_files, mapped
from featurestore.errors import FailedPreconditionError, FeatureStoreError, InternalError, NotFoundError
from featurestore.registry import Registry
from featurestore.registry.registry import FILE_NAME as REGISTRY
from featurestore.registry.versions import Versions, journal_needed_after
from featurestore.service.recovery import DIRECTORY_NAME as JOURNAL

_ATTEMPTS_MAX = 10
_WHOLE = re.compile(
    rf"{JOURNAL}/(snapshot-(?P<base>[0-9]+)-(?P<of_snapshot>[0-9]+)(-(?P<definitions>[0-9]+))?"
    r"|versions/(?P<view>[^/]+)/(?P<number>[0-9]+)-(?P<of_version>[0-9]+))/"
)
"""The names of files in a snapshot, or in a version of a view's rows."""


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
    versions_lost: tuple[str, ...] = ()
    """Former versions of views' rows, ``project.view version 3``, that rollback cannot bring back: a start does without."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not any(file.problem for file in self.files)


class _Files(NamedTuple):
    """The files of a store, or of a backup, by their names in a store's directory, in the order in which they are read."""

    paths: dict[str, Path]
    whole: list[str]
    """The names of the directories of a snapshot and of versions."""
    problems: dict[str, str]
    """What is wrong with a file already."""
    ended: int = 0
    """The last record of the journal when it was closed, as far as that is known."""


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
                views = {name: stack.enter_context(mapped(path)) for name, path in files.paths.items()}
                if [*_files_in(root).paths][: len(files.paths)] != [*files.paths]:
                    continue  # a snapshot was finished meanwhile
                return _check(files, views, problem_of)
        except FileNotFoundError:
            continue
    raise FailedPreconditionError(f"{root} changes faster than it can be read: try again")


def _files_in(root: Path) -> _Files:
    """Those that a start, or a rollback, would read."""
    snapshot = latest_snapshot(root / JOURNAL)
    covered = snapshot.definitions if snapshot is not None else 0
    whole = [snapshot.directory] if snapshot is not None else []
    versions, _ = _registry_in(root)
    for view, each in versions.items():
        found = [find_version(root / JOURNAL, view, number) for number in sorted(each.numbers_on_disk(covered))]
        whole += [files.directory for files in found if files is not None]
    paths = [file.path for directory in (*whole, root / JOURNAL) for file in journal_files(directory)]
    names = {str(path.relative_to(root)): path for path in (root / REGISTRY, *paths) if path.exists()}
    try:
        problems, ended = {}, noted_end(root / JOURNAL).last
    except FeatureStoreError as error:
        problems, ended = {f"{JOURNAL}/{NOTE}": error.message}, 0
    return _Files(names, [f"{path.relative_to(root)}/" for path in whole], problems, ended)


def _registry_in(directory: Path) -> tuple[Versions, str]:
    """The versions of views' rows by what is written there, and what is wrong with it."""
    try:
        return Registry.open(directory).all_versions, ""
    except FeatureStoreError as error:
        return {}, error.message


def _verify_backup(place: Destination, problem_of: MessageProblem) -> Verification:
    manifest = existing_manifest(place)
    files = _Files({}, [], {})
    with ExitStack() as stack:
        copies = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="featurestore-verify-")))
        for file in manifest.files:
            is_here = isinstance(place, DirectoryDestination)
            path = place.root / file.place if isinstance(place, DirectoryDestination) else copies / file.name
            try:
                _read_over(content_of(place, file), None if is_here else path)
            except InternalError as error:
                files.problems[file.name] = error.message
            if path.exists():
                files.paths[file.name] = path
            if (whole := _WHOLE.match(file.name)) and whole[0] not in files.whole:
                files.whole.append(whole[0])
        views = {name: stack.enter_context(mapped(path)) for name, path in files.paths.items()}
        return _check(files, views, problem_of)


def _read_over(pieces: Iterator[bytes], copy: Path | None) -> None:
    if copy is not None:
        copy.parent.mkdir(parents=True, exist_ok=True)
    with copy.open("wb") if copy is not None else nullcontext() as target:
        for piece in pieces:
            if target is not None:
                target.write(piece)


def _check(files: _Files, views: Mapping[str, memoryview], problem_of: MessageProblem) -> Verification:
    versions, wrong = _registry_in(files.paths[REGISTRY].parent) if REGISTRY in files.paths else ({}, "")
    if REGISTRY not in files.paths and len(files.paths) > 0:
        wrong = f"{REGISTRY} is not there, and without it nobody knows the views of the rows"
    findings = [FileFinding(REGISTRY, len(views.get(REGISTRY, b"")), 0, files.problems.get(REGISTRY) or wrong)]
    base = covered = behind = 0
    there = set()
    lost: list[str] = []
    is_damaged = bool(findings[0].problem)
    for whole in files.whole:
        found = _WHOLE.match(whole)
        assert found is not None
        if found["base"]:
            base, covered = int(found["base"]), int(found["definitions"] or 0)
        else:
            there.add((found["view"], int(found["number"])))
        check, of_group = _check_group(files, whole, 0, views, problem_of)
        kept = versions[found["view"]].kept if found["view"] in versions else ()
        is_former = not found["base"] and int(found["number"]) in {version.number for version in kept}
        expected = int(found["of_snapshot"] or found["of_version"])
        if check.last != expected and not any(each.problem for each in of_group):
            of_group.append(
                FileFinding(whole, 0, 0, f"{whole}: got {check.last} records, expected {expected}: files are missing")
            )
        findings += of_group
        if not is_former:
            is_damaged |= any(each.problem for each in of_group)
            behind += check.last + check.behind
        elif any(each.problem for each in of_group):
            lost.append(f"{found['view']} version {found['number']}")
    for view, each in versions.items():
        for number in sorted(each.numbers_on_disk(covered)):
            if (view, number) not in there:
                name = f"{JOURNAL}/versions/{view}/{number}"
                wrong = f"{name} is not there, expected the rows of that version of the view"
                findings.append(FileFinding(name, 0, 0, wrong))
                if number in {version.number for version in each.kept}:
                    lost.append(f"{view} version {number}")
                else:
                    is_damaged = True
    after = journal_needed_after(versions, base, covered)
    check, of_journal = _check_group(files, "", after, views, problem_of)
    findings += of_journal
    last = max(check.last, base)
    if last < files.ended and not any(each.problem for each in of_journal):
        wrong = f"{JOURNAL}/: got {last} as its last record, expected {files.ended}, which it had when it was closed"
        findings.append(FileFinding(f"{JOURNAL}/", 0, 0, f"{wrong}: files are missing"))
    told = {each.name for each in findings}
    findings += [FileFinding(name, 0, 0, problem) for name, problem in files.problems.items() if name not in told]
    if is_damaged:
        return Verification(findings, base, 0, behind + max(check.last - after, 0) + check.behind, tuple(lost))
    return Verification(findings, base, last, check.behind, tuple(lost))


def _check_group(
    files: _Files, whole: str, after: int, views: Mapping[str, memoryview], problem_of: MessageProblem
) -> tuple[JournalCheck, list[FileFinding]]:
    """Checks the files of a snapshot or a version; of the journal where that is empty."""
    names = [
        name for name in files.paths if name != REGISTRY and (name.startswith(whole) if whole else _WHOLE.match(name) is None)
    ]
    found = [MappedFile(files.paths[name], int(Path(name).stem), views[name]) for name in names]
    check = check_journal(found, after, problem_of, is_complete=bool(whole))
    findings = []
    for name, each in zip(names, check.files, strict=True):
        problem = files.problems.get(name) or (f"{files.paths[name]}: {each.problem}" if each.problem else "")
        findings.append(FileFinding(name, len(views[name]), each.records, problem, each.tail_bytes, each.is_behind))
    return check, findings
