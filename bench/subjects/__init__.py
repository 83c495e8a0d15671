"""Subjects: the feature store and what people use instead, all behind the same few methods.

Each takes keys and batches in the form that suits it best; making that form is not timed, which favours the peers. Each answers
what a model needs: a float32 NumPy matrix of one row a key, and its string features apart. Invariant: a reader sees every
``write`` that returned before it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.dataset import Chunk, Dataset, Floats, Indices

Read = Callable[[Any], Any]


class Subject(ABC):
    """One way to hold a dataset. ``directory`` is in memory (tmpfs) and the subject's own."""

    name: str
    has_strings = True
    """Whether it takes part where there are string keys and string features."""

    def __init__(self, dataset: Dataset, directory: Path) -> None:
        self.dataset = dataset
        self.directory = directory

    @classmethod
    def missing(cls) -> str:
        """What this machine lacks to run it; empty when nothing."""
        return ""

    @abstractmethod
    def open(self) -> None:
        """Makes it ready, without rows."""

    @abstractmethod
    def close(self) -> None:
        """Stops what ``open`` started."""

    @abstractmethod
    def keys(self, indices: Indices) -> Any:
        """The keys of these rows as one call of a reader takes them."""

    def calls(self, indices: Indices) -> list[Any]:
        """Keys for many calls: one call for each row of ``indices``."""
        return [self.keys(each) for each in indices]

    @abstractmethod
    def reader(self) -> Read:
        """A function of one call's keys, for one thread: answers the float matrix, or with strings a tuple of both."""

    @abstractmethod
    def batch(self, chunk: Chunk) -> Any:
        """Rows as ``write`` takes them."""

    @abstractmethod
    def write(self, batch: Any) -> None:
        """Writes rows, new ones or over the old."""

    def load(self, chunk: Chunk) -> None:
        """Writes rows when nothing is timed."""
        self.write(self.batch(chunk))

    def settle(self) -> bool:
        """Does a step of what it does by itself in service, in the quiet after a load. False when nothing is left to do."""
        return False

    def outside_bytes(self) -> int:
        """Memory it takes outside the private memory of its process."""
        return 0

    @abstractmethod
    def decode(self, answer: Any) -> tuple[Floats, Sequence[Sequence[str]]]:
        """An answer as the matrix and, for each string feature, its strings: what answers are compared by."""


SUBJECTS = {
    "featurestore": "featurestore_table.FeaturestoreTable",
    "lmdb": "lmdb_rows.LmdbRows",
    "dict_numpy": "dictionaries.DictNumpy",
    "dict_lists": "dictionaries.DictLists",
    "redis_hash": "redis_rows.RedisHash",
    "redis_packed": "redis_rows.RedisPacked",
}
"""Every subject, ours first: its name, and where its class is, so that a process imports only the one that it runs."""


def subject(name: str) -> type[Subject]:
    """The class of a subject."""
    module, _, kind = SUBJECTS[name].partition(".")
    found: type[Subject] = getattr(import_module(f"bench.subjects.{module}"), kind)
    return found
