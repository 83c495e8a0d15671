"""The online store as a process sees it that does not own it: definitions from the registry's file, rows from mapped segments.

Invariant: what is resolved here follows the owner by one comparison of a counter that the owner moves before it answers
``apply``; nothing is asked of the owner, so that reads go on while it is away.
"""

from pathlib import Path
from typing import Protocol

from featurestore.errors import FeatureStoreError
from featurestore.registry import Definitions, Registry
from featurestore.registry.registry import FILE_NAME
from featurestore.service.online_reader import OnlineReader, ServiceLimits
from featurestore.service.read_plan import ReadPlan, Selection
from featurestore.store import Limits
from featurestore.store.mapped_tables import MappedTables


class Changes(Protocol):
    """Tells that the definitions or the tables changed."""

    @property
    def version(self) -> int:
        """Another one after each change."""
        ...


class RegistryFile:
    """``Changes`` by the registry's file, which is replaced by each commit."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME

    @property
    def version(self) -> int:
        """Of the file that is there now; 0 where there is none."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0
        return hash((found.st_ino, found.st_mtime_ns, found.st_size))


class MappedStore(OnlineReader):
    """Reads the store of ``directory``, whose rows are in ``segments``."""

    def __init__(
        self, directory: Path, segments: Path, changes: Changes, *, table_limits: Limits, limits: ServiceLimits | None = None
    ) -> None:
        super().__init__(limits)
        self._directory = directory
        self._changes = changes
        self._tables = MappedTables(segments, table_limits)
        self._follow(changes.version)

    @property
    def version(self) -> int:  # type: ignore[override]
        """Of the definitions that hold now, which have been taken up when it returns."""
        version = self._changes.version
        if version != self._seen:
            self._follow(version)
        return version

    def _follow(self, version: int) -> None:
        # The counter was read before the file: a change between the two is taken up once more, and never missed.
        self._definitions: Definitions = Registry.open(self._directory).current
        self._tables.forget()
        self._seen = version

    def read_plan(self, selection: Selection) -> ReadPlan:
        """Resolves a selection by the definitions that hold now."""
        while True:
            version = self.version
            try:
                return ReadPlan(selection, self._definitions, self._tables)
            except FeatureStoreError:
                if self._changes.version == version:
                    raise  # else a table may have been dropped between its definition and its mapping
