"""The asyncio client: the methods of ``client.py``, awaited.

What goes over the wire and how answers are read is the same code; only the sending differs. Invariant: both clients have the
same methods with the same arguments (tested).
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from featurestore_client import calls
from featurestore_client.answers import FeatureBatch
from featurestore_client.backups import BackupFile, BackupPart, backup_part, backup_request
from featurestore_client.calls import Call, DeleteCounts, ReplaceChecks, Replaced, WriteCounts
from featurestore_client.client import (
    APPLY_TIMEOUT_S,
    INGEST_TIMEOUT_S,
    NOT_PICKLED,
    REPLACE_TIMEOUT_S,
    SNAPSHOT_TIMEOUT_S,
    TIMEOUT_S,
)
from featurestore_client.definitions import ApplyResult, Document
from featurestore_client.errors import (
    DeadlineExceededError,
    FeatureStoreError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from featurestore_client.exports import TIMESTAMP_COLUMN, AsyncExport, export_request
from featurestore_client.ingestion import WINDOW, IngestOptions, IngestProgress, ingest_async
from featurestore_client.reads import Selections
from featurestore_client.retry import Attempts, Deadline, RetryPolicy, checked_timeout
from featurestore_client.transport import BACKUP, EXPORT_FEATURES, GET_FEATURES, GET_SHARED_MEMORY, AsyncTransport
from featurestore_client.types import ViewSchema

if TYPE_CHECKING:
    from featurestore_client.shared_reads import LocalReads, SharedMemory

Answer = TypeVar("Answer")


class AsyncClient:
    """A client of one server. Get one from ``connect_async``; use it in an ``async with`` block, in one event loop.

    Deadlines and retries are those of ``Client``, whose methods say more.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        *,
        timeout_s: float = TIMEOUT_S,
        retry: RetryPolicy | None = None,
        shared: "SharedMemory | None" = None,
    ) -> None:
        """``shared``: where reads find the tables without a call, if they do."""
        self._transport = transport
        self._shared = shared
        self._timeout_s = checked_timeout(timeout_s)
        self._retry = retry or RetryPolicy()
        self._selections = Selections()
        self._views: dict[tuple[str, str], ViewSchema] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(NOT_PICKLED)

    async def close(self) -> None:
        """Ends the calls under way and the connection, and lets go of the server's memory."""
        await self._transport.close()
        self._selections.forget()
        if self._shared is not None:
            self._shared.close()

    # --------------------------------------------------------------------------------------------------------------- values

    async def get(
        self,
        features: str | Sequence[str],
        keys: Any,
        *,
        project: str = "default",
        event_timestamps: bool = False,
        expired_values: bool = False,
        timeout_s: float | None = None,
    ) -> FeatureBatch:
        """Reads feature vectors by key: see ``Client.get``."""
        if timeout_s is None and features.__class__ is str:  # what a model server does a million times, by the shortest way
            usual = self._selections.known.get((features, project, event_timestamps, expired_values))
            if usual is not None and usual.quick is not None and (batch := usual.quick(keys)) is not None:
                return batch
        selection = self._selections.find(features, project, event_timestamps, expired_values)
        local = selection.local
        if local is not None:
            batch = local.read(keys) if timeout_s is None else local.read_within(keys, checked_timeout(timeout_s))
            if batch is not None:
                return batch
        if self._shared is None:
            request, known = selection.request(keys)
            return selection.answer(await self._unary(GET_FEATURES, request, timeout_s, repeatable=True), known)[0]
        deadline = self._deadline(timeout_s)
        reads = await self._local_reads(self._shared, deadline)
        version = 0 if reads is None else reads.version
        request, known = selection.request(keys)
        answer = await self._unary(GET_FEATURES, request, deadline.left_s(), repeatable=True)
        batch, schema = selection.answer(answer, known)
        if reads is not None:
            reads.learn(selection, schema, version)
        return batch

    async def _local_reads(self, shared: "SharedMemory", deadline: Deadline) -> "LocalReads | None":
        if shared.wants_to_attach() and await self._is_beside(shared, deadline):
            timeout_s = shared.ask_s(deadline.left_s())
            try:
                shared.attach(await self._unary(GET_SHARED_MEMORY, b"", timeout_s, repeatable=True))
            except (UnavailableError, DeadlineExceededError) as error:
                shared.unanswered(error)
            except FeatureStoreError as error:
                shared.refuse(error)
        return shared.local

    @staticmethod
    async def _is_beside(shared: "SharedMemory", deadline: Deadline) -> bool:
        if shared.unresolved is None:
            return True
        host, port = shared.unresolved.host, shared.unresolved.port
        try:
            async with asyncio.timeout(shared.ask_s(deadline.left_s())):  # a name server may take its time
                resolved = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            return shared.is_beside([])
        return shared.is_beside(resolved)

    async def write(
        self,
        view: str,
        data: Any,
        *,
        event_timestamps: Any = None,
        timestamp_column: str | None = None,
        project: str = "default",
        timeout_s: float | None = None,
    ) -> WriteCounts:
        """Writes one batch of rows to a view: see ``Client.write``."""
        return await self._of_view(
            view, project, timeout_s, lambda schema: calls.write(schema, data, event_timestamps, timestamp_column)
        )

    async def delete(
        self,
        view: str,
        keys: Any,
        *,
        event_timestamps: Any = None,
        project: str = "default",
        timeout_s: float | None = None,
    ) -> DeleteCounts:
        """Deletes rows of a view by key: see ``Client.delete``."""
        return await self._of_view(view, project, timeout_s, lambda schema: calls.delete(schema, keys, event_timestamps))

    async def ingest(
        self,
        view: str,
        data: Any,
        *,
        timestamp_column: str | None = None,
        resume_after: int = 0,
        window: int = WINDOW,
        batch_rows: int | None = None,
        progress: Callable[[IngestProgress], None] | None = None,
        project: str = "default",
        timeout_s: float = INGEST_TIMEOUT_S,
    ) -> WriteCounts:
        """Writes any amount of rows to a view: see ``Client.ingest``. The data may be an async iterable of tables too."""
        options = IngestOptions(
            timestamp_column, resume_after, window, batch_rows, progress, checked_timeout(timeout_s), self._retry
        ).check()
        return await ingest_async(self._transport, await self.view_schema(view, project=project), data, options)

    async def replace(
        self,
        view: str,
        data: Any,
        *,
        source: str = "",
        checks: ReplaceChecks | None = None,
        timestamp_column: str | None = None,
        window: int = WINDOW,
        batch_rows: int | None = None,
        progress: Callable[[IngestProgress], None] | None = None,
        project: str = "default",
        timeout_s: float = INGEST_TIMEOUT_S,
    ) -> Replaced:
        """Replaces all rows of a view by these, at one instant for whoever reads, or leaves it as it was."""
        checks = checks or ReplaceChecks()
        load = await self._run(calls.begin_replace(project, view, source, checks.rows_min or 0), timeout_s)
        try:
            options = IngestOptions(
                timestamp_column, 0, window, batch_rows, progress, checked_timeout(timeout_s), self._retry, load
            ).check()
            await ingest_async(self._transport, await self.view_schema(view, project=project), data, options)
            return await self._run(calls.commit_replace(load, checks), REPLACE_TIMEOUT_S)
        except BaseException:
            with suppress(FeatureStoreError):
                await self._run(calls.abort_replace(load), timeout_s)
            raise

    async def rollback(
        self, view: str, *, version: int | None = None, project: str = "default", timeout_s: float | None = None
    ) -> Replaced:
        """Brings back the rows that a view had before they were replaced."""
        timeout_s = REPLACE_TIMEOUT_S if timeout_s is None else timeout_s
        return await self._run(calls.rollback(project, view, version), timeout_s)

    # ---------------------------------------------------------------------------------------------------------- definitions

    async def apply(
        self,
        definitions: Any,
        *,
        dry_run: bool = False,
        prune: bool = False,
        base_version: int | None = None,
        timeout_s: float | None = None,
    ) -> ApplyResult:
        """Plans and, unless ``dry_run``, applies definitions: see ``Client.apply``."""
        timeout_s = APPLY_TIMEOUT_S if timeout_s is None else timeout_s
        call = calls.apply(definitions, dry_run=dry_run, prune=prune, base_version=base_version)
        return await self._run(call, timeout_s)

    async def list_projects(self, *, timeout_s: float | None = None) -> list[Document]:
        """All projects."""
        return await self._run(calls.listing("ListProjects", "projects", None), timeout_s)

    async def list_entities(self, *, project: str | None = None, timeout_s: float | None = None) -> list[Document]:
        """The entities of a project, or of all; as in the YAML document."""
        return await self._run(calls.listing("ListEntities", "entities", project), timeout_s)

    async def list_feature_views(self, *, project: str | None = None, timeout_s: float | None = None) -> list[Document]:
        """The feature views of a project, or of all; as in the YAML document."""
        return await self._run(calls.listing("ListFeatureViews", "feature_views", project), timeout_s)

    async def list_feature_services(self, *, project: str | None = None, timeout_s: float | None = None) -> list[Document]:
        """The feature services of a project, or of all; as in the YAML document."""
        return await self._run(calls.listing("ListFeatureServices", "feature_services", project), timeout_s)

    async def list_tables(self, *, project: str | None = None, timeout_s: float | None = None) -> list[Document]:
        """The rows and memory of each view of a project, or of all."""
        return await self._run(calls.listing("ListTables", "tables", project), timeout_s)

    async def describe_entity(self, name: str, *, project: str = "default", timeout_s: float | None = None) -> Document:
        """``entity`` and the names of its ``feature_views``. Raises NotFoundError with the nearest names."""
        return await self._run(calls.description("DescribeEntity", project, name), timeout_s)

    async def describe_feature_view(self, name: str, *, project: str = "default", timeout_s: float | None = None) -> Document:
        """``feature_view``, its ``table`` and the names of the ``feature_services`` that read it."""
        return await self._run(calls.description("DescribeFeatureView", project, name), timeout_s)

    async def describe_feature_service(
        self, name: str, *, project: str = "default", timeout_s: float | None = None
    ) -> Document:
        """``feature_service`` and the ``schema`` of its answers: features with types, views, join keys."""
        return await self._run(calls.description("DescribeFeatureService", project, name), timeout_s)

    async def export(
        self,
        view: str,
        *,
        expired_rows: bool = False,
        timestamp_column: str = TIMESTAMP_COLUMN,
        project: str = "default",
        timeout_s: float | None = None,
    ) -> AsyncExport:
        """All rows of a view, for ``async for``: see ``Client.export``."""
        schema = await self.view_schema(view, project=project)
        request = export_request(schema, expired_rows=expired_rows)
        return await AsyncExport(schema, timestamp_column, self._stream(EXPORT_FEATURES, request, timeout_s)).begin()

    async def take_snapshot(self, *, timeout_s: float = SNAPSHOT_TIMEOUT_S) -> Document:
        """Has the server write all rows down: see ``Client.take_snapshot``."""
        return await self._run(calls.take_snapshot(), timeout_s)

    async def backup(self, known: Iterable[BackupFile] = (), *, timeout_s: float | None = None) -> AsyncIterator[BackupPart]:
        """The files from which the store can be made again as it is now, for ``async for``: see ``Client.backup``."""
        responses = self._stream(BACKUP, backup_request(known), timeout_s)
        return (backup_part(response) async for response in responses)

    async def status(self, *, timeout_s: float | None = None) -> Document:
        """The server's ``version``, its ``processes``, and what its start ``recovered``.

        Each process has ``role``, ``number``, ``state``, ``pid``, ``uptime_s``, ``restarts``, ``connections`` (None where the
        engine does not tell), ``requests``, ``refused``, ``resident_bytes`` and ``shared_bytes``, as the proto's ``Process``
        explains.
        ``recovered`` has ``records``, ``tables``, ``cut_bytes`` and ``seconds``; it is None where there is no journal.
        """
        return await self._run(calls.status(), timeout_s)

    async def view_schema(self, name: str, *, project: str = "default", timeout_s: float | None = None) -> ViewSchema:
        """The types of a view's join keys and features, for ``featurestore_client.columns``; asked of the server each time."""
        deadline = self._deadline(timeout_s)
        described = await self.describe_feature_view(name, project=project, timeout_s=deadline.left_s())
        view = described["feature_view"]
        owner = await self.describe_entity(view["entity"], project=project, timeout_s=deadline.left_s())
        schema = calls.view_schema(view, owner["entity"])
        self._views[project, name] = schema
        return schema

    # -------------------------------------------------------------------------------------------------------------- sending

    async def _of_view(
        self, view: str, project: str, timeout_s: float | None, make: Callable[[ViewSchema], Call[Answer]]
    ) -> Answer:
        """Runs a call that needs the view's schema; once more by a fresh one where a remembered one may have led it astray."""
        deadline = self._deadline(timeout_s)
        remembered = self._views.get((project, view))
        if remembered is not None:
            try:
                return await self._run(make(remembered), deadline.left_s())
            except (InvalidArgumentError, NotFoundError):
                self._views.pop((project, view), None)
                fresh = await self.view_schema(view, project=project, timeout_s=deadline.left_s())
                if fresh == remembered:
                    raise
        else:
            fresh = await self.view_schema(view, project=project, timeout_s=deadline.left_s())
        return await self._run(make(fresh), deadline.left_s())

    def _deadline(self, timeout_s: float | None) -> Deadline:
        return Deadline(self._timeout_s if timeout_s is None else checked_timeout(timeout_s))

    async def _run(self, call: Call[Answer], timeout_s: float | None) -> Answer:
        return call.decode(await self._unary(call.method_path, call.request, timeout_s, repeatable=call.repeatable))

    def _stream(self, method_path: str, request: bytes, timeout_s: float | None) -> AsyncIterator[bytes]:
        timeout_s = None if timeout_s is None else checked_timeout(timeout_s)
        return self._transport.stream(method_path, _one(request), timeout_s=timeout_s)

    async def _unary(self, method_path: str, request: bytes, timeout_s: float | None, *, repeatable: bool) -> bytes:
        timeout_s = self._timeout_s if timeout_s is None else checked_timeout(timeout_s)
        deadline = Deadline(timeout_s)
        attempts: Attempts | None = None
        while True:
            try:
                return await self._transport.unary(method_path, request, timeout_s=timeout_s, repeatable=repeatable)
            except UnavailableError as error:
                attempts = attempts or Attempts(self._retry, deadline, repeatable=repeatable)
                delay_s = attempts.delay_after(error)
            await asyncio.sleep(delay_s)
            timeout_s = deadline.left_s()


async def _one(request: bytes) -> AsyncIterator[bytes]:
    yield request
