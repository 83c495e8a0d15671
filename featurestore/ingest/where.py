"""Which rows to load: a condition in SQL over the columns of the file, evaluated by DuckDB a batch at a time.

DuckDB is here for its expressions alone: it sees one batch, no file, no network. Columns that are also keys, features or the
time have their converted types, so a CSV's times compare as times. Invariant: the mask has one value
a row, and null is false.
"""

import re
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore.errors import InvalidArgumentError


class Where:
    """A condition such as ``carrier = 'AA' AND dep_delay > 10``."""

    def __init__(self, condition: str) -> None:
        try:
            import duckdb  # noqa: PLC0415  large, and only needed here
        except ImportError as error:
            raise InvalidArgumentError.of("--where", condition, "the package duckdb: pip install duckdb") from error
        self._condition = condition
        self._one_at_a_time = threading.Lock()
        self._error: type[Exception] = duckdb.Error
        self._connection: Any = duckdb.connect(
            ":memory:", config={"threads": 1, "enable_external_access": "false", "autoinstall_known_extensions": "false"}
        )

    def columns(self, names: Iterable[str]) -> list[str]:
        """Those of the columns that the condition may speak of."""
        return [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", self._condition, re.IGNORECASE)]

    def mask(self, rows: pa.Table) -> npt.NDArray[np.bool_]:
        """Whether the condition holds, row by row. Raises InvalidArgumentError where it makes no sense."""
        try:
            with self._one_at_a_time:
                relation = self._connection.from_arrow(rows).project(
                    f"coalesce(({self._condition}\n)::BOOLEAN, false) AS holds"
                )
                holds = relation.to_arrow_table().column(0)
        except self._error as error:
            sentence = str(error).strip().splitlines()[0]
            raise InvalidArgumentError.of(
                "--where", self._condition, f"a condition in SQL over the file's columns: {sentence}"
            ) from error
        if len(holds) != rows.num_rows:
            raise InvalidArgumentError.of("--where", self._condition, "a condition on each row, without aggregates")
        return np.array(holds, np.bool_)
