"""Subjects: the feature store and what people use instead, all behind the same few methods.

Each takes keys and batches in the form that suits it best; making that form is not timed, which favours the peers. Each answers
what a model needs: a float32 NumPy matrix of one row a key, and its string features apart. Invariant: a reader sees every
``write`` that returned before it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from bench.cores import ANY
from bench.dataset import Chunk, Dataset, Floats, Indices

Read = Callable[[Any], Any]


class UnavailableError(Exception):
    """A subject cannot run here; the text says what is missing."""


class Subject(ABC):
    """One way to hold a dataset. ``directory`` is in memory (tmpfs) and its own; its servers run on ``server_cores``."""

    in_process = True
    """Whether rows are in the memory of its own process, rather than in what ``outside_bytes`` counts alone."""

    def __init__(self, dataset: Dataset, directory: Path, server_cores: frozenset[int] = ANY) -> None:
        self.dataset = dataset
        self.directory = directory
        self.server_cores = server_cores

    @abstractmethod
    def open(self) -> None:
        """Makes it ready, without rows. Raises UnavailableError, having left nothing behind, where it cannot run here."""

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
        """Writes the first rows, by the fastest way there is from a NumPy matrix."""
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


class Listed(NamedTuple):
    """Where a subject's class is, so that a process imports only the one that it runs, and by whose Python it is run."""

    where: str
    environment: str = ""
    """One of ``bench.environments``; empty: the Python that runs the bench."""

    strings: bool = True
    """Whether it takes part where there are string keys and string features."""

    def kind(self) -> type[Subject]:
        """The class."""
        module, _, name = self.where.partition(".")
        found: type[Subject] = getattr(import_module(f"bench.subjects.{module}"), name)
        return found


SUBJECTS = {
    "featurestore": Listed("featurestore_table.FeaturestoreTable"),
    "lmdb": Listed("lmdb_rows.LmdbRows"),
    "dict_numpy": Listed("dictionaries.DictNumpy"),
    "dict_lists": Listed("dictionaries.DictLists"),
    "redis_hash": Listed("redis_rows.RedisHash", strings=False),
    "redis_packed": Listed("redis_rows.RedisPacked"),
}
"""The kernel, called in the process, and what a model server might hold or ask on its own host instead."""

PEERS = {
    "featurestore_shm": Listed("featurestore_served.FeaturestoreShm"),
    "featurestore_unix": Listed("featurestore_served.FeaturestoreUnix"),
    "featurestore_grpc": Listed("featurestore_served.FeaturestoreGrpc"),
    "featurestore_grpcio": Listed("featurestore_served.FeaturestoreGrpcio"),
    "redis_raw": Listed("redis_rows.RedisRawTcp"),
    "redis_packed": Listed("redis_rows.RedisPackedTcp"),
    "redis_hash": Listed("redis_rows.RedisHashTcp"),
    "memcached": Listed("memcached_rows.MemcachedRows", "memcached"),
    "lmdb": Listed("lmdb_rows.LmdbRows"),
    "quorin": Listed("quorin_segment.QuorinSegment", "quorin"),
    "feast_redis": Listed("feast_online.FeastRedis", "feast"),
    "feast_sqlite": Listed("feast_online.FeastSqlite", "feast"),
    "feast_http": Listed("feast_online.FeastHttp", "feast"),
}
"""The feature store as a model server sees it, by each of its ways, and its peers as their own documentation tunes them."""
