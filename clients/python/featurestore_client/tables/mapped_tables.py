"""The tables of a directory that another process owns, each mapped when it is first read, and again after definitions moved."""

from pathlib import Path

from featurestore_client.tables.catalog import Catalog
from featurestore_client.tables.table import ReadLimits, TableReader


class MappedTables:
    """Tables by project and view. Reads that are under way keep what they have mapped."""

    def __init__(self, directory: Path, catalog: Catalog) -> None:
        self._directory, self._catalog = directory, catalog
        self._limits = ReadLimits(
            key_bytes_max=catalog.key_bytes_max,
            batch_rows_max=catalog.read_rows_max,
            read_string_bytes_max=catalog.read_bytes_max,
        )
        self._version = 0
        self._tables: dict[tuple[str, str], TableReader] = {}

    def table(self, project: str, view: str) -> TableReader:
        """The table of a view. NotFoundError or FileNotFoundError where there is none."""
        if self._catalog.version != self._version:
            self._version = self._catalog.version
            self._tables = {}
        table = self._tables.get((project, view))
        if table is None:
            table = self._tables[project, view] = TableReader.attach(self._directory / f"{project}.{view}", limits=self._limits)
        return table
