"""Reads without a call: from tables that are mapped into this process, because they lie in this machine's memory or are our
own.

The server resolves names, checks, and refuses: the first read of a selection goes to it, and its answer's schema says which
tables and columns to read from then on. Whatever a local read cannot serve exactly as the server would (keys that are wrong,
too many rows, a server that is gone, definitions that have changed) is no local read, and goes to the server too. So every
promise, and every error, has one origin. Invariant: a local read makes no system call, and answers by definitions that are in
force.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from featurestore_client.addresses import Address, is_own
from featurestore_client.answers import AnswerSchema, FeatureBatch
from featurestore_client.columns import columns_in, flat_values
from featurestore_client.errors import DeadlineExceededError, FailedPreconditionError, FeatureStoreError, PermissionDeniedError
from featurestore_client.reads import Selection
from featurestore_client.tables.alignment import align
from featurestore_client.tables.catalog import Catalog
from featurestore_client.tables.columns import Values, VarColumn
from featurestore_client.tables.lookups import LookupFeature, Lookups, LookupTable
from featurestore_client.tables.mapped_tables import MappedTables
from featurestore_client.tables.quick_read import MatrixRead
from featurestore_client.tables.table import TableReader
from featurestore_client.types import DataType
from featurestore_client.wire import featurestore_raw_pb2 as wire

ATTACH_AGAIN_S: Final = 60.0
"""After a server did not let its memory be mapped, before it is asked again."""
AWAY_AGAIN_S: Final = 5.0
"""After it did not answer in time: what owns the memory may be away while other processes read on (``serve --workers``)."""
ASK_SHARE: Final = 0.1
ASK_S_MAX: Final = 0.5
"""What a read gives of its time, at most, for memory that it can do without."""

Tables = Callable[[str, str], TableReader]
"""The table of a view, by its project and name."""


class LocalRead:
    """One selection, compiled from the schema of an answer. ``read`` gives None for what the server must answer."""

    __slots__ = (
        "_catalog",
        "_expired_values",
        "_lookups",
        "_rows_max",
        "_schema",
        "_version",
        "quick",
    )

    def __init__(self, selection: Selection, schema: AnswerSchema, catalog: Catalog, version: int, tables: Tables) -> None:
        self._schema, self._catalog, self._version = schema, catalog, version
        self._expired_values = selection.expired_values
        found = [
            LookupTable(tables(selection.project, view), keys)
            for view, keys in zip(schema.views, schema.view_keys, strict=True)
        ]
        features = [
            LookupFeature(feature, data_type, view)
            for feature, data_type, view in zip(schema.features, schema.types, schema.view_indexes.tolist(), strict=True)
        ]
        self._lookups = lookups = Lookups(
            found,
            features,
            len(schema.join_keys),
            event_timestamps=selection.event_timestamps,
            expired_values=selection.expired_values,
        )
        self._rows_max = min(catalog.read_rows_max, catalog.read_bytes_max // max(1, lookups.row_bytes))
        self.quick: Callable[[Any], FeatureBatch | None] | None = None
        key_types = [each.text for each in schema.join_keys.values()]
        if (
            lookups.is_matrix
            and len(found) == 1
            and key_types == ["int64"]
            and not (selection.event_timestamps or selection.expired_values)
        ):
            projection = found[0].table.projection(schema.features, null_row_bytes=(len(features) + 7) // 8)
            key_name = next(iter(schema.join_keys))
            quick: MatrixRead[FeatureBatch] = MatrixRead(
                catalog,
                version,
                found[0].table,
                projection,
                key_name,
                self._rows_max,
                schema,
                FeatureBatch,
                _message,
                _NOTHING_ELSE,
            )
            self.quick = quick.read

    def read(self, keys: Any) -> FeatureBatch | None:
        """The rows of these keys."""
        if self.quick is not None and (batch := self.quick(keys)) is not None:
            return batch
        if not self._catalog.is_served or self._catalog.version != self._version:
            return None
        types = self._schema.join_keys
        try:
            given = keys if keys.__class__ is dict else columns_in(keys)
            if given.keys() != types.keys():
                return None
            columns = [_values(name, given[name], data_type) for name, data_type in types.items()]
            aligned, rows = align([*types], columns, self._rows_max)
            return self._read(aligned, rows)
        except FeatureStoreError:
            return None

    def read_within(self, keys: Any, timeout_s: float) -> FeatureBatch | None:
        """The same, for a caller who said how long he waits. Raises DeadlineExceededError."""
        started_s = time.monotonic()
        batch = self.read(keys)
        if time.monotonic() - started_s >= timeout_s:
            raise DeadlineExceededError(f"GetFeatures did not end within {timeout_s:.3g} s")
        return batch

    def _read(self, keys: Any, rows: int) -> FeatureBatch:
        matrix: memoryview | None = None
        if self._lookups.is_matrix:
            matrix = memoryview(bytearray(rows * self._lookups.row_bytes))
        blocks, statuses, nulls, times = self._lookups.read(keys, rows, matrix, now_us=time.time_ns() // 1_000)
        answer = _message(statuses, nulls, times)
        answer.rows = rows
        if matrix is None:
            for source, data_type in zip(self._lookups.sources, self._schema.types, strict=True):
                values, strings = blocks[source.lookup]
                if source.is_variable:
                    data, offsets = strings[source.place]
                    answer.columns.add(data=data, offsets=offsets)
                else:
                    assert values is not None
                    start = rows * source.place
                    column = answer.columns.add()
                    setattr(column, data_type.wire_field, values[start : start + rows * source.width_bytes])
        return FeatureBatch(
            self._schema,
            rows,
            None if matrix is None else matrix.toreadonly(),
            answer,
            expired_values=self._expired_values,
        )


_NOTHING_ELSE = wire.GetFeaturesResponse()


def _message(statuses: bytes | None, nulls: bytes | None, times: bytes | None = None) -> wire.GetFeaturesResponse:
    return wire.GetFeaturesResponse(row_statuses=statuses or b"", nulls=nulls or b"", event_timestamps_us=times or b"")


def _values(name: str, given: Any, data_type: DataType) -> Values:
    """A key column as the kernel takes it. Raises InvalidArgumentError."""
    flat = flat_values(name, given, data_type)
    if flat.validity is not None:
        raise FailedPreconditionError(f"{name}: a null among the keys")  # the server says it in its own words
    if data_type.is_variable:
        assert flat.offsets is not None
        return VarColumn(np.frombuffer(flat.values, np.uint8), np.frombuffer(flat.offsets, np.int32))
    return np.frombuffer(flat.values, np.int64)


class LocalReads:
    """The local reads of one client, over one store's tables."""

    def __init__(self, catalog: Catalog, tables: Tables) -> None:
        self._catalog, self._tables = catalog, tables

    @property
    def version(self) -> int:
        """Of the definitions: taken before the server is asked, so that what is learned from its answer is not taken for
        newer."""
        return self._catalog.version

    def learn(self, selection: Selection, schema: AnswerSchema, version: int) -> None:
        """Compiles a selection that the server has just answered, for the reads that follow.

        ``schema`` is that of this very answer: by now another thread may have taken in an older one.
        """
        if not schema.view_keys or self._catalog.version != version:
            return
        try:
            local = LocalRead(selection, schema, self._catalog, version, self._tables)
        except (FeatureStoreError, OSError):
            selection.local = selection.quick = None  # a table that goes at this moment: the next answer says more
        else:
            selection.local, selection.quick = local, local.quick


class SharedMemory:
    """The local reads of one client, in the memory of a server of this machine: found, mapped, and found again.

    Where the address requires it there is an error if it cannot be had; else reads go to the server.
    """

    def __init__(self, address: Address | None) -> None:
        self._address = address
        self._required = address is not None and address.memory == "required"
        self._find: Callable[[], tuple[Catalog, Tables]] | None = None
        self._local: LocalReads | None = None
        self._catalog: Catalog | None = None
        self._again_at = 0.0

    @classmethod
    def own(cls, find: Callable[[], tuple[Catalog, Tables]]) -> "SharedMemory":
        """Of a store in this process, which ``find`` gives; asked again, because its owner may be another process."""
        memory = cls(None)
        memory._find = find
        return memory

    @property
    def local(self) -> LocalReads | None:
        """What is mapped, while its owner is there."""
        if self._find is not None:
            catalog, tables = self._find()
            if catalog is not self._catalog:
                self._catalog, self._local = catalog, LocalReads(catalog, tables)
        return self._local if self._catalog is not None and self._catalog.is_served else None

    def wants_to_attach(self) -> bool:
        """Whether the server, if it ``is_beside``, is to be asked for its memory now: nothing is mapped, or it has gone.

        Where it is only preferred, one read at a time is told so, and the others go to the server meanwhile.
        """
        if self.local is not None or self._address is None:
            return False
        if self._required:
            return True
        now_s = time.monotonic()
        if now_s < self._again_at:
            return False
        self._again_at = now_s + AWAY_AGAIN_S
        return True

    def ask_s(self, left_s: float) -> float:
        """How long a read waits for what ``attach`` takes, with so much of its time left."""
        return left_s if self._required else min(ASK_S_MAX, ASK_SHARE * left_s)

    def unanswered(self, error: FeatureStoreError) -> None:
        """The server did not answer. Raises the reason where its memory is required; what is mapped is read once it is back."""
        if self._required:
            raise error

    def is_beside(self, resolved: Iterable[tuple[Any, ...]]) -> bool:
        """Whether the server is on this machine; ``resolved`` is what getaddrinfo says of its host."""
        if any(is_own((family, sockaddr)) for family, _, _, _, sockaddr in resolved):
            return True
        self._again_at = time.monotonic() + ATTACH_AGAIN_S
        return False

    @property
    def unresolved(self) -> Address | None:
        """The address to be resolved for ``is_beside``; None where the server is asked in any case, and says why not."""
        return None if self._required else self._address

    def attach(self, response: bytes) -> None:
        """Maps what a GetSharedMemoryResponse names. Raises FailedPreconditionError or PermissionDeniedError where required."""
        found = wire.GetSharedMemoryResponse.FromString(response)
        directory = Path(found.directory)
        try:
            catalog = Catalog.attach(str(directory))
            if catalog.instance != found.instance:
                raise FailedPreconditionError(f"{directory} is of another server than the one that answered")
        except FeatureStoreError as error:
            self.refuse(error)
        except PermissionError:
            self.refuse(
                PermissionDeniedError(
                    f"{directory}: this process may not read the server's memory: run it as a user of the server's group, or "
                    "start the server with --shared-memory all"
                )
            )
        except OSError as error:
            self.refuse(
                FailedPreconditionError(
                    f"{directory}: {error.strerror}: the server's memory is not this machine's (in another container, share "
                    "/dev/shm); use featurestore:// instead of shm://"  # noqa: S108  no temporary file: what it is called
                )
            )
        else:
            self._catalog = catalog
            self._again_at = 0.0
            self._local = LocalReads(catalog, MappedTables(directory, catalog).table)

    def close(self) -> None:
        """Lets go of what is mapped."""
        self._catalog = self._local = None

    def refuse(self, error: FeatureStoreError) -> None:
        """The server did not let its memory be mapped. Raises the reason where it is required."""
        self.close()
        self._again_at = time.monotonic() + ATTACH_AGAIN_S
        if self._required:
            raise error
