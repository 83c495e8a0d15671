"""The tables of a store that another process owns, each mapped read-only when it is first asked for."""

from pathlib import Path

from featurestore.errors import NotFoundError
from featurestore.store.table import Limits, TableReader, table_directory


class MappedTables:
    """Tables by project and view, in ``segments``. Whoever learns that tables were made or dropped says ``forget``."""

    def __init__(self, segments: Path, limits: Limits) -> None:
        self._segments = segments
        self._limits = limits
        self._tables: dict[tuple[str, str], TableReader] = {}

    def table(self, project: str, view: str) -> TableReader:
        """The table of a view. Raises NotFoundError when there is none."""
        table = self._tables.get((project, view))
        if table is None:
            try:
                table = TableReader.attach(table_directory(self._segments, project, view), limits=self._limits)
            except FileNotFoundError:  # dropped while it was looked at
                raise NotFoundError.of("feature view", view, ()) from None
            self._tables[project, view] = table
        return table

    def forget(self) -> None:
        """Maps all of them anew when they are next asked for. Reads under way keep theirs."""
        self._tables = {}
