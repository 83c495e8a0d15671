"""Reads over all that a store, or a backup of one, has on disk, and changes nothing: every checksum, every record, and whether
a start could use it. A server may be running on it.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import NamedTuple

from featurestore.backup.copying import content_of, existing_manifest
from featurestore.backup.destination import Destination, DirectoryDestination
from featurestore.backup.manifest import FILE_NAME as MANIFEST
from featurestore.durability import find_version, latest_snapshot
from featurestore.durability.checking import JournalCheck, MappedFile, MessageProblem, check_journal
from featurestore.durability.reading import journal_files, mapped
from featurestore.errors import FailedPreconditionError, FeatureStoreError, InternalError, NotFoundError
from featurestore.registry import Registry
from featurestore.registry.registry import FILE_NAME as REGISTRY
from featurestore.registry.versions import Versions
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
    """The files that a start, or a rollback, would read, by name."""
    snapshot = latest_snapshot(root / JOURNAL)
    whole = [snapshot.directory] if snapshot is not None else []
    versions, _ = _registry_in(root)
    for view, each in versions.items():
        found = (
            find_version(root / JOURNAL, view, number)
            for number in sorted(each.numbers_on_disk(snapshot.definitions if snapshot is not None else 0))
        )
        whole += [files.directory for files in found if files is not None]
    paths = [file.path for directory in (*whole, root / JOURNAL) for file in journal_files(directory)]
    return {str(path.relative_to(root)): path for path in (root / REGISTRY, *paths) if path.exists()}


def _registry_in(directory: Path) -> tuple[Versions, str]:
    """The versions of views' rows by what is written there, and what is wrong with it."""
    try:
        return Registry.open(directory).all_versions, ""
    except FeatureStoreError as error:
        return {}, error.message


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
    versions, wrong = _registry_in(paths[REGISTRY].parent) if REGISTRY in paths else ({}, "")
    in_journal = [name for name in paths if name != REGISTRY]
    if REGISTRY not in paths and in_journal:
        wrong = f"{REGISTRY} is not there, and without it nobody knows the views of the rows"
    findings = [FileFinding(REGISTRY, len(views.get(REGISTRY, b"")), 0, problems.get(REGISTRY) or wrong)]
    places = {name: found for name in in_journal if (found := _WHOLE.match(name))}
    groups: dict[str, list[str]] = {}
    for name, found in places.items():
        groups.setdefault(found[0], []).append(name)
    snapshot = next((found for found in places.values() if found["base"]), None)
    base, covered = (int(snapshot["base"]), int(snapshot["definitions"] or 0)) if snapshot else (0, 0)
    is_damaged, behind = bool(findings[0].problem), 0
    for place, names in groups.items():
        found = places[names[0]]
        check, of_group = _check_group(names, 0, paths, views, problems, problem_of, is_complete=True)
        expected = int(found["of_snapshot"] or found["of_version"])
        if check.last != expected and not any(each.problem for each in of_group):
            wrong = f"{place}: got {check.last} records, expected {expected}: files of it are missing"
            of_group[0] = of_group[0]._replace(problem=wrong)
        findings += of_group
        is_damaged |= any(each.problem for each in of_group)
        behind += check.last + check.behind
    there = {(found["view"], int(found["number"])) for found in places.values() if found["view"]}
    for view, each in versions.items():
        for number in sorted(each.numbers_on_disk(covered)):
            if (view, number) not in there:
                name = f"{JOURNAL}/versions/{view}/{number}"
                findings.append(
                    FileFinding(name, 0, 0, f"{name} is not there, and it has the rows of version {number} of {view}")
                )
                is_damaged = True
    after = min([base, *(each.after for each in versions.values() if each.since > covered)])
    check, of_group = _check_group(
        [name for name in in_journal if name not in places], after, paths, views, problems, problem_of, is_complete=False
    )
    if is_damaged:
        return Verification([*findings, *of_group], base, 0, behind + max(check.last - after, 0) + check.behind)
    return Verification([*findings, *of_group], base, max(check.last, base), check.behind)


def _check_group(
    names: Sequence[str],
    after: int,
    paths: Mapping[str, Path],
    views: Mapping[str, memoryview],
    problems: Mapping[str, str],
    problem_of: MessageProblem,
    *,
    is_complete: bool,
) -> tuple[JournalCheck, list[FileFinding]]:
    """Checks the files of one journal."""
    files = [MappedFile(paths[name], int(Path(name).stem), views[name]) for name in names]
    check = check_journal(files, after, problem_of, is_complete=is_complete)
    findings = []
    for name, each in zip(names, check.files, strict=True):
        problem = problems.get(name) or (f"{paths[name]}: {each.problem}" if each.problem else "")
        findings.append(FileFinding(name, len(views[name]), each.records, problem, each.tail_bytes, each.is_behind))
    return check, findings
