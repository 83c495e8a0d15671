"""Applies what the journal says once more: at a start, and to a table that is to take another one's place."""

from collections.abc import Callable
from pathlib import Path

from featurestore.durability import Entry, Record
from featurestore.errors import FeatureStoreError
from featurestore.registry import Registry
from featurestore.service.write_plan import WritePlan

Replay = Callable[[Entry, WritePlan, frozenset[str]], None]
"""Applies an entry to the plan's table; of its features only those."""


class Replayer:
    """Applies records under the definitions that hold now."""

    def __init__(self, registry: Registry, replay: Replay) -> None:
        self._registry = registry
        self._replay = replay

    def apply(self, directory: Path, record: Record, plan: WritePlan) -> bool:
        """Applies a record of a journal to the table of its view. False where it is of another view that had the name before.

        Raises an error that names the record where it cannot be applied.
        """
        entry = record.entry
        features = self._registry.features_known(plan.project, plan.view, entry.definitions)
        if features is None:
            return False
        try:
            self._replay(entry, plan, features)
        except FeatureStoreError as error:
            raise type(error)(
                f"{directory}: record {record.sequence}, a write to view {plan.view!r}, cannot be applied again: "
                f"{error.message}"
            ) from None
        return True
