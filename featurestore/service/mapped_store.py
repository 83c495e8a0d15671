"""The online store as a process sees it that does not own it: definitions from the registry's file, rows from mapped segments.

Invariant: what is resolved here follows the owner by the catalog's version, which the owner moves before it answers ``apply``;
nothing is asked of the owner, so that reads go on while it is away.
"""

from pathlib import Path

from featurestore_client.tables.catalog import Catalog
from featurestore_client.tables.mapped_tables import MappedTables
from featurestore_client.tables.table import TableReader

from featurestore.errors import FeatureStoreError, UnavailableError
from featurestore.registry import Definitions, Registry, ViewVersions
from featurestore.service.online_reader import OnlineReader, ServiceLimits
from featurestore.service.read_plan import ReadPlan, Selection


class MappedStore(OnlineReader):
    """Reads the store of ``directory``, whose rows are in ``segments``. FileNotFoundError where no owner has opened it yet."""

    def __init__(self, directory: Path, segments: Path, limits: ServiceLimits | None = None) -> None:
        super().__init__(limits)
        self._directory = directory
        self._segments = segments
        self._version = 0
        self._state = (0, 0)
        """Whose catalog it is, and its version."""
        self._follow()

    @property
    def version(self) -> int:  # type: ignore[override]
        """Of the definitions that hold now, which have been taken up when it returns."""
        if self._catalog.version != self._seen or self._catalog.closed:
            self._follow()
        return self._version

    def _follow(self) -> None:
        catalog = Catalog.attach(str(self._segments))  # each owner makes one of its own
        state = (catalog.instance, catalog.version)
        if state == self._state:
            return  # the owner is gone, and there is no other yet: nothing can have changed
        # The version was read before the file: a change between the two is taken up once more, and never missed.
        self._registry = Registry.open(self._directory)
        self._catalog, self._tables = catalog, MappedTables(self._segments, catalog)
        self._state, self._seen = state, state[1]
        self._version += 1

    @property
    def definitions(self) -> Definitions:
        """The definitions that hold now."""
        self.version  # noqa: B018  takes them up
        return self._registry.current

    def versions(self, project: str, view: str) -> ViewVersions:
        """The versions of a view's rows."""
        self.version  # noqa: B018  as above
        return self._registry.versions(project, view)

    @property
    def catalog(self) -> Catalog:
        """Of the owner there is, or was."""
        self.version  # noqa: B018  as above
        return self._catalog

    def table(self, project: str, view: str) -> TableReader:
        """The table of a view. NotFoundError or FileNotFoundError where there is none."""
        return self._tables.table(project, view)

    def read_plan(self, selection: Selection) -> ReadPlan:
        """Resolves a selection by the definitions that hold now."""
        while True:
            version = self.version
            try:
                return super().read_plan(selection)
            except (FeatureStoreError, FileNotFoundError):
                if self.version == version:
                    raise  # else a table may have been dropped between its definition and its mapping

    def check_owner(self) -> None:
        """Raises UnavailableError where the owner neither lives nor has left the tables in good order."""
        catalog = self.catalog
        if not catalog.closed and not catalog.is_served:
            raise UnavailableError(
                f"{self._segments}: the process that owns it ({catalog.owner_pid}) has been silent for "
                f"{catalog.silent_us / 1e6:.0f} s: it died, or was stopped, perhaps in the middle of a write; open the "
                "store for writing, or start its server, to set it right"
            )
