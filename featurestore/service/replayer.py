"""Applies what the journal says once more: at a start, and to a table that is to take another one's place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from featurestore.durability import Entry, Record
from featurestore.errors import FeatureStoreError
from featurestore.registry import Registry
from featurestore.service.write_plan import WritePlan

Apply = Callable[[], object]
Replay = Callable[[Entry, WritePlan, frozenset[str]], Apply]
"""Decodes an entry; what it gives back applies it to the plan's table, of its features only those."""


class Replayer:
    """Applies records under the definitions that hold now."""

    def __init__(self, registry: Registry, replay: Replay) -> None:
        self._registry = registry
        self._replay = replay

    def decode(self, directory: Path, record: Record, plan: WritePlan) -> Apply | None:
        """What applies a record of a journal to the table of its view; None where it is of another one that had its name.

        Raises an error that names the record where it cannot be applied; so does what it gives back.
        """
        entry = record.entry
        features = self._registry.features_known(plan.project, plan.view, entry.definitions)
        if features is None:
            return None
        with _told_of(directory, record):
            apply = self._replay(entry, plan, features)

        def apply_told() -> None:
            with _told_of(directory, record):
                apply()

        return apply_told

    def apply(self, directory: Path, record: Record, plan: WritePlan) -> bool:
        """Decodes and applies it. False where it is of another view."""
        apply = self.decode(directory, record, plan)
        if apply is None:
            return False
        apply()
        return True


@contextmanager
def _told_of(directory: Path, record: Record) -> Iterator[None]:
    """Says in a sentence which record cannot be applied."""
    try:
        yield
    except FeatureStoreError as error:
        raise type(error)(
            f"{directory}: record {record.sequence}, a write to view {record.entry.view!r}, cannot be applied again: "
            f"{error.message}"
        ) from None
