"""The reading half of the online store, for every process that reads: the one that owns the store, and those that map it.

Invariant: ``version`` has moved before anybody can learn that the definitions did (``apply`` returns after that), so that a
plan which is kept while it stands is never older than what its caller knows of.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from featurestore_client.tables.alignment import align
from featurestore_client.tables.columns import Values
from featurestore_client.tables.table import TableReader

from featurestore.errors import ResourceExhaustedError
from featurestore.registry import Definitions, ViewVersions
from featurestore.service.read_plan import ReadPlan, Selection

_Result = TypeVar("_Result")

LONG_READS = 2
"""Threads for what takes long and writes nothing."""
LONG_WAITING_MAX = 1_000
"""What may wait for them; more is refused at once."""


@dataclass(frozen=True)
class ServiceLimits:
    """What one request may ask for. Passing one is answered with RESOURCE_EXHAUSTED and its name."""

    read_rows_max: int = 10_000
    read_bytes_max: int = 256 << 20
    replace_idle_s: float = 60.0
    """After so long without a stream that fills it a load that replaces is given up."""


class OnlineReader(ABC):
    """Resolves selections and says what a read may be; see the module."""

    version: int
    """Rises with each change of the definitions or of a table's layout: plans of an earlier one are to be made again."""

    def __init__(self, limits: ServiceLimits | None = None) -> None:
        self.limits = limits or ServiceLimits()
        self._workers = ThreadPoolExecutor(LONG_READS, "featurestore-work")
        self._beside = 0

    @property
    @abstractmethod
    def definitions(self) -> Definitions:
        """The definitions that are in force."""

    @abstractmethod
    def versions(self, project: str, view: str) -> ViewVersions:
        """The versions of a view's rows."""

    @abstractmethod
    def table(self, project: str, view: str) -> TableReader:
        """The table of a view. NotFoundError with the nearest names."""

    def read_plan(self, selection: Selection) -> ReadPlan:
        """Resolves a selection. The caller keeps the plan while ``version`` stands."""
        return ReadPlan(selection, self.definitions, self.table)

    def quick_rows_max(self, plan: ReadPlan) -> int:
        """So many rows pass every limit of ``align``, and their answer is made so fast that the event loop may do it."""
        return min(plan.quick_rows_max, self.limits.read_rows_max, self.limits.read_bytes_max // max(1, plan.row_bytes))

    def align(self, plan: ReadPlan, keys: Sequence[Values]) -> tuple[Sequence[Values], int]:
        """The key columns of a request, all of one length, and that length; refuses what passes a limit."""
        keys, rows = align(plan.key_names, keys, self.limits.read_rows_max)
        answer_bytes = rows * plan.row_bytes
        if answer_bytes > self.limits.read_bytes_max:
            raise ResourceExhaustedError.of(
                "read_bytes_max", answer_bytes, self.limits.read_bytes_max, "read fewer rows or features in a request"
            )
        return keys, rows

    async def beside_the_loop(self, call: Callable[[], _Result]) -> _Result:
        """Runs something long that writes nothing, in a worker thread."""
        if self._beside >= LONG_WAITING_MAX:
            raise ResourceExhaustedError(
                f"long_waiting_max: {self._beside} large requests wait for their turn; this one was not begun. Try again in a "
                "second, and ask for less in a request"
            )
        self._beside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._workers, call)
        finally:
            self._beside -= 1

    async def close(self) -> None:
        """Finishes what is under way."""
        self._workers.shutdown()
