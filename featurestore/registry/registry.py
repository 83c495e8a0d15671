"""The definitions that hold now, on disk.

Owns ``registry.json`` in a store's directory, which has a checksum of itself. Invariant: the file is always whole, the old one
or the new one (written aside, synced, renamed over it, the directory synced); ``current`` is what it holds. One process owns a
directory: the store's lock sees to that, not this class. ``commit`` is called by one thread at a time.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from featurestore.durability.sealed import put_in_place, sealed, unsealed
from featurestore.errors import FailedPreconditionError, FeatureStoreError, InternalError
from featurestore.model import DEFAULT_PROJECT, Project
from featurestore.registry.births import Births, births_after, features_known
from featurestore.registry.check import check, check_distinct
from featurestore.registry.definitions import Definitions
from featurestore.registry.parse import parse_definitions, sentences
from featurestore.registry.plan import Plan, plan_changes
from featurestore.registry.versions import Versions, ViewVersions, read_versions, versions_after

FILE_NAME = "registry.json"
MAGIC = "featurestore definitions"
FORMAT = 4
"""Rises when an older featurestore could misread the file. 2 has births; a file of format 1 is read as one in which all that is
there was there from the beginning. 3 has versions; in an older one no view's rows were ever replaced. 4 has a checksum."""


class Registry:
    """Definitions with a version that rises with each commit."""

    def __init__(self, path: Path, current: Definitions, version: int, births: Births, versions: Versions) -> None:
        self.path = path
        self._current = current
        self.version = version
        """Rises with each commit; 0 before the first."""
        self._births = births
        self._versions = versions

    @classmethod
    def open(cls, directory: Path) -> "Registry":
        """The registry of a store's directory; one with the project ``default`` alone where there is none yet.

        Raises InternalError when the file is damaged and FailedPreconditionError when a newer featurestore wrote it.
        """
        path = directory / FILE_NAME
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls(path, Definitions(projects=(Project(name=DEFAULT_PROJECT),)), 0, {}, {})
        except UnicodeDecodeError as error:
            raise _damaged(path, f"byte {error.start} is not UTF-8") from None
        except OSError as error:
            raise InternalError(f"{path}: got {error.strerror}, expected a file that can be read") from error
        return cls(path, *_read(path, text))

    @property
    def current(self) -> Definitions:
        """The definitions that hold now."""
        return self._current

    def plan(self, desired: Definitions, *, prune: bool, base_version: int | None = None) -> Plan:
        """What applying ``desired`` would change.

        Raises as ``plan_changes`` does, and FailedPreconditionError when ``base_version`` is given and another one holds.
        """
        self._check_version(self.version if base_version is None else base_version)
        return replace(plan_changes(self._current, desired, prune=prune), base_version=self.version)

    def commit(self, plan: Plan) -> None:
        """Makes the result of a plan the current definitions, durably. A plan without changes writes nothing.

        FailedPreconditionError when something else was committed since the plan was made.
        """
        self._check_version(plan.base_version)
        if not plan.changes:
            return
        births = births_after(self._births, self._current, plan.result, self.version + 1)
        self._write(plan.result, births, versions_after(self._versions, self._births, births))

    def commit_versions(self, project: str, view: str, versions: ViewVersions) -> None:
        """Makes these the versions of a view's rows, durably."""
        self._write(self._current, self._births, {**self._versions, f"{project}.{view}": versions})

    def _check_version(self, base_version: int) -> None:
        if base_version != self.version:
            raise FailedPreconditionError(
                f"plan: got one made for version {base_version} of the definitions, expected version {self.version}: "
                "something else was applied meanwhile; apply again"
            )

    def _write(self, definitions: Definitions, births: Births, versions: Versions) -> None:
        version = self.version + 1
        document = {
            "magic": MAGIC,
            "format": FORMAT,
            "version": version,
            "definitions": definitions.model_dump(mode="json"),
            "births": births,
            "versions": {name: each.model_dump(mode="json") for name, each in versions.items()},
        }
        _replace(self.path, sealed(document))
        self._current, self._births, self._versions, self.version = definitions, births, versions, version

    def versions(self, project: str, view: str) -> ViewVersions:
        """The versions of a view's rows."""
        return self._versions.get(f"{project}.{view}", ViewVersions())

    @property
    def all_versions(self) -> Versions:
        """Those of all views whose rows were replaced."""
        return self._versions

    def content(self) -> dict[str, bytes]:
        """What lies on disk, by the name of the file; nothing before the first commit. Raises OSError."""
        return {FILE_NAME: self.path.read_bytes()} if self.version else {}

    def features_known(self, project: str, view: str, version: int) -> frozenset[str] | None:
        """The features of a view that were there already under an earlier version of the definitions, so that what was written
        to them then is theirs; None where the view was another one then, or is none now."""
        return features_known(self._births, project, view, version)


def _read(path: Path, text: str) -> tuple[Definitions, int, Births, Versions]:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    format_ = document.get("format") if isinstance(document, dict) else None
    if not isinstance(format_, int) or isinstance(format_, bool) or format_ < 1:
        raise _damaged(path, "there is no format number in it")
    if format_ > FORMAT:
        raise FailedPreconditionError(
            f"{path}: got format {format_}, expected at most {FORMAT}: a newer featurestore wrote it; start that one"
        )
    if format_ > 3:
        if document.get("magic") != MAGIC:
            raise _damaged(path, "it does not say that it holds definitions")
        try:
            document = unsealed(document)
        except ValueError as error:
            raise _damaged(path, str(error)) from None
    version = document.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise _damaged(path, "there is no version number in it")
    try:
        definitions = parse_definitions(document.get("definitions", {}))
    except FeatureStoreError as error:
        raise _damaged(path, error.message) from None
    violations = check_distinct(definitions) + check(definitions)
    if violations:
        raise _damaged(path, sentences(violations))
    expected = births_after({}, definitions, definitions, version)
    births = document.get("births") if format_ > 1 else expected
    if not isinstance(births, dict) or not _same_names(births, expected):
        raise _damaged(path, "the births in it are not those of its views and features")
    try:
        versions = read_versions(document.get("versions") if format_ > 2 else {})
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    if not versions.keys() <= births.keys():
        raise _damaged(path, "there are versions in it of views that it does not have")
    return definitions, version, births, versions


def _same_names(births: Mapping[str, Any], expected: Births) -> bool:
    return births.keys() == expected.keys() and all(
        isinstance(births[name], dict)
        and births[name].keys() == expected[name].keys()
        and all(type(since) is int for since in births[name].values())
        for name in expected
    )


def _damaged(path: Path, why: str) -> InternalError:
    return InternalError(
        f"{path}: got a damaged file ({why}), expected the definitions of this store: put a copy of it back, or move it away "
        "and apply your definitions again"
    )


def _replace(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            former = path.read_bytes() if path.exists() else None
            put_in_place(path, text)
            try:
                os.fsync(directory)
            except OSError:  # the name is there, and nobody knows for how long
                _put_back(path, former)
                raise
        finally:
            os.close(directory)
    except OSError as error:
        raise InternalError(f"{path}: got {error.strerror}, expected to write the definitions; they are as before") from error


def _put_back(path: Path, former: bytes | None) -> None:
    # Not synced: the disk has just failed to, and what was there is what the system is to show.
    if former is None:
        path.unlink()
    else:
        beside = path.with_name(f".{path.name}.new")
        beside.write_bytes(former)
        beside.replace(path)
