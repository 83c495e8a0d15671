"""The blocking client.

Each method says what goes over the wire (``reads.py``, ``calls.py``, ``ingestion.py``), sends it by the transport and reads the
answer. Invariant: thread-safe, and all that it remembers can be lost without anyone noticing more than a slower call.
"""

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from featurestore_client import calls
from featurestore_client.answers import FeatureBatch
from featurestore_client.backups import BackupFile, BackupPart, backup_part, backup_request
from featurestore_client.calls import Call, DeleteCounts, ReplaceChecks, Replaced, WriteCounts
from featurestore_client.definitions import ApplyResult, Document
from featurestore_client.errors import (
    DeadlineExceededError,
    FeatureStoreError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from featurestore_client.exports import TIMESTAMP_COLUMN, Export, export_request
from featurestore_client.ingestion import WINDOW, IngestOptions, IngestProgress, ingest
from featurestore_client.reads import Selections
from featurestore_client.retry import Attempts, Deadline, RetryPolicy, checked_timeout
from featurestore_client.transport import BACKUP, EXPORT_FEATURES, GET_FEATURES, GET_SHARED_MEMORY, Transport
from featurestore_client.types import ViewSchema

if TYPE_CHECKING:
    from featurestore_client.shared_reads import LocalReads, SharedMemory

TIMEOUT_S = 10.0
"""Of a call that does not say."""
APPLY_TIMEOUT_S = 300.0
"""Of apply, which may rebuild tables."""
INGEST_TIMEOUT_S = 60.0
REPLACE_TIMEOUT_S = 3_600.0
"""Of what makes other rows those of a view, which writes them to the disk first."""
SNAPSHOT_TIMEOUT_S = 3_600.0
"""Of a snapshot, which writes all rows down."""

NOT_PICKLED = "a client cannot be copied or pickled: connect in the process that uses it, or make it before a fork"

Answer = TypeVar("Answer")


class Client:
    """A client of one server. Get one from ``connect``; close it, or use it in a ``with`` block.

    Every method takes ``timeout_s``: the call ends with DeadlineExceededError once that has passed, retries included. Calls
    that do no harm when done twice are tried again, with growing random delays, while the server is not to be reached.
    """

    def __init__(
        self,
        transport: Transport,
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(NOT_PICKLED)

    def close(self) -> None:
        """Ends the calls under way and the connection, and lets go of the server's memory."""
        self._transport.close()
        self._selections.forget()
        if self._shared is not None:
            self._shared.close()

    # --------------------------------------------------------------------------------------------------------------- values

    def get(
        self,
        features: str | Sequence[str],
        keys: Any,
        *,
        project: str = "default",
        event_timestamps: bool = False,
        expired_values: bool = False,
        timeout_s: float | None = None,
    ) -> FeatureBatch:
        """Reads feature vectors by key.

        ``features`` is the name of a feature service, or a list of ``"view:feature"`` (``"view:feature as name"``). ``keys``
        has n values for each join key, of ints or strings: a mapping of lists, NumPy, Arrow or pandas, in which a single value
        stands for n equal ones, or a table as for ``write``. ``event_timestamps`` asks for the rows' event times,
        ``expired_values`` for the values of rows past their TTL too.

        Raises NotFoundError for an unknown name, InvalidArgumentError for missing or mistyped keys.

        >>> client.get("delay_model_v1", {"carrier": ["AA", "UA"], "dest": ["LAX", "SFO"]}).to_numpy()
        """
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
            return selection.answer(self._unary(GET_FEATURES, request, timeout_s, repeatable=True), known)[0]
        deadline = self._deadline(timeout_s)
        reads = self._local_reads(self._shared, deadline)
        version = 0 if reads is None else reads.version
        request, known = selection.request(keys)
        answer = self._unary(GET_FEATURES, request, deadline.left_s(), repeatable=True)
        batch, schema = selection.answer(answer, known)
        if reads is not None:
            reads.learn(selection, schema, version)
        return batch

    def _local_reads(self, shared: "SharedMemory", deadline: Deadline) -> "LocalReads | None":
        if shared.wants_to_attach() and self._is_beside(shared):
            timeout_s = shared.ask_s(deadline.left_s())
            try:
                shared.attach(self._unary(GET_SHARED_MEMORY, b"", timeout_s, repeatable=True))
            except (UnavailableError, DeadlineExceededError) as error:
                shared.unanswered(error)
            except FeatureStoreError as error:
                shared.refuse(error)
        return shared.local

    @staticmethod
    def _is_beside(shared: "SharedMemory") -> bool:
        if shared.unresolved is None:
            return True
        try:
            resolved = socket.getaddrinfo(shared.unresolved.host, shared.unresolved.port, type=socket.SOCK_STREAM)
        except OSError:
            resolved = []
        return shared.is_beside(resolved)

    def write(
        self,
        view: str,
        data: Any,
        *,
        event_timestamps: Any = None,
        timestamp_column: str | None = None,
        project: str = "default",
        timeout_s: float | None = None,
    ) -> WriteCounts:
        """Writes one batch of rows to a view: whole, or not at all where something in it is wrong.

        ``data`` is a mapping of columns (lists, NumPy, Arrow, pandas), an Arrow record batch or table, a pandas frame or a
        structured array, with the view's join keys and those features that are to be written; features that are left out keep
        their values. None (in pandas also NaN) is null. The event times are ``event_timestamps`` (one for all, or one a row),
        or the column ``timestamp_column`` (``event_timestamp`` where it is there), or else the server's clock.

        >>> client.write("carrier_delays", {"carrier": ["AA"], "mean_delay": [7.5]}, event_timestamps=datetime.now(UTC))
        """
        return self._of_view(
            view, project, timeout_s, lambda schema: calls.write(schema, data, event_timestamps, timestamp_column)
        )

    def delete(
        self,
        view: str,
        keys: Any,
        *,
        event_timestamps: Any = None,
        project: str = "default",
        timeout_s: float | None = None,
    ) -> DeleteCounts:
        """Deletes rows of a view by key. Event times as in ``write``: a delete does not remove a row that is newer."""
        return self._of_view(view, project, timeout_s, lambda schema: calls.delete(schema, keys, event_timestamps))

    def ingest(
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
        """Writes any amount of rows to a view, over one stream.

        ``data`` is an Arrow table or record batch reader, a pandas frame, a mapping of columns, or an iterable of any of them,
        with the columns of ``write``. It is cut into batches of about 3 MB (or of ``batch_rows``), of which at most
        ``window`` are under way. ``progress`` is called, in this thread, as they are acknowledged. A server that went away is
        waited for, and what it had not acknowledged is sent again; ``timeout_s`` is the longest time without an
        acknowledgement. Where that fails, the error carries ``acknowledged_sequence``: with the same data,
        ``resume_after=error.acknowledged_sequence`` goes on from there.
        """
        options = IngestOptions(
            timestamp_column, resume_after, window, batch_rows, progress, checked_timeout(timeout_s), self._retry
        ).check()
        return ingest(self._transport, self.view_schema(view, project=project), data, options)

    def replace(
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
        """Replaces all rows of a view by these, at one instant for whoever reads, or leaves it as it was.

        The rows are loaded as ``ingest`` does, beside those that serve; what is written to the view meanwhile is in the new
        rows too. ``source`` is for people, who see it with the versions of the view. Raises FailedPreconditionError where one
        of the ``checks`` fails, ResourceExhaustedError where the server has no memory for both.

        >>> client.replace("carrier_stats", table, source="nightly", checks=ReplaceChecks(rows_min=1000, max_drop=0.2))
        """
        checks = checks or ReplaceChecks()
        load = self._run(calls.begin_replace(project, view, source, checks.rows_min or 0), timeout_s)
        try:
            options = IngestOptions(
                timestamp_column, 0, window, batch_rows, progress, checked_timeout(timeout_s), self._retry, load
            ).check()
            ingest(self._transport, self.view_schema(view, project=project), data, options)
            return self._run(calls.commit_replace(load, checks), REPLACE_TIMEOUT_S)
        except BaseException:
            with suppress(FeatureStoreError):
                self._run(calls.abort_replace(load), timeout_s)
            raise

    def rollback(
        self, view: str, *, version: int | None = None, project: str = "default", timeout_s: float | None = None
    ) -> Replaced:
        """Brings back the rows that a view had before they were replaced: the latest version that is kept, or the one named.

        They are as they were at that time: what was written since is not in them, but what is written from now on is. Raises
        NotFoundError where that version is not kept.
        """
        timeout_s = REPLACE_TIMEOUT_S if timeout_s is None else timeout_s
        return self._run(calls.rollback(project, view, version), timeout_s)

    # ---------------------------------------------------------------------------------------------------------- definitions

    def apply(
        self,
        definitions: Any,
        *,
        dry_run: bool = False,
        prune: bool = False,
        base_version: int | None = None,
        timeout_s: float | None = None,
    ) -> ApplyResult:
        """Plans and, unless ``dry_run``, applies definitions: all of the plan or none of it.

        ``definitions`` is the YAML document's mapping (lists ``projects``, ``entities``, ``feature_views``,
        ``feature_services``), or a list of definition objects. ``prune`` deletes what stands in the named projects and not in
        the definitions. With the ``base_version`` that a dry run answered nothing is done but what that showed. Raises
        InvalidArgumentError with all mistakes, FailedPreconditionError for a change that is refused, or if something else was
        applied since ``base_version``.
        """
        timeout_s = APPLY_TIMEOUT_S if timeout_s is None else timeout_s
        call = calls.apply(definitions, dry_run=dry_run, prune=prune, base_version=base_version)
        return self._run(call, timeout_s)

    def list_projects(self, *, timeout_s: float | None = None) -> list[Document]:
        """All projects."""
        return self._run(calls.listing("ListProjects", "projects", None), timeout_s)

    def list_entities(self, *, project: str | None = None, timeout_s: float | None = None) -> list[Document]:
        """The entities of a project, or of all; as in the YAML document."""
        return self._run(calls.listing("ListEntities", "entities", project), timeout_s)

    def list_feature_views(self, *, project: str | None = None, timeout_s: float | None = None) -> list[Document]:
        """The feature views of a project, or of all; as in the YAML document."""
        return self._run(calls.listing("ListFeatureViews", "feature_views", project), timeout_s)

    def list_feature_services(self, *, project: str | None = None, timeout_s: float | None = None) -> list[Document]:
        """The feature services of a project, or of all; as in the YAML document."""
        return self._run(calls.listing("ListFeatureServices", "feature_services", project), timeout_s)

    def list_tables(self, *, project: str | None = None, timeout_s: float | None = None) -> list[Document]:
        """The rows and memory of each view of a project, or of all."""
        return self._run(calls.listing("ListTables", "tables", project), timeout_s)

    def describe_entity(self, name: str, *, project: str = "default", timeout_s: float | None = None) -> Document:
        """``entity`` and the names of its ``feature_views``. Raises NotFoundError with the nearest names."""
        return self._run(calls.description("DescribeEntity", project, name), timeout_s)

    def describe_feature_view(self, name: str, *, project: str = "default", timeout_s: float | None = None) -> Document:
        """``feature_view``, its ``table`` and the names of the ``feature_services`` that read it."""
        return self._run(calls.description("DescribeFeatureView", project, name), timeout_s)

    def describe_feature_service(self, name: str, *, project: str = "default", timeout_s: float | None = None) -> Document:
        """``feature_service`` and the ``schema`` of its answers: features with types, views, join keys."""
        return self._run(calls.description("DescribeFeatureService", project, name), timeout_s)

    def export(
        self,
        view: str,
        *,
        expired_rows: bool = False,
        timestamp_column: str = TIMESTAMP_COLUMN,
        project: str = "default",
        timeout_s: float | None = None,
    ) -> Export:
        """All rows of a view, to be iterated over as Arrow record batches, which come as fast as they are taken.

        They have the join keys, the event time as ``timestamp_column``, and the features. Rows that are written meanwhile come
        as they were before or after; each other row once. Rows past the TTL come with ``expired_rows``. ``ingest`` of what
        comes makes the same rows. ``timeout_s`` is for all of it; without it there is no bound. Needs pyarrow.
        FailedPreconditionError, at whichever batch it is then, where a load replaces all rows meanwhile.

        >>> pyarrow.Table.from_batches(client.export("carrier_delays"))
        """
        schema = self.view_schema(view, project=project)
        request = export_request(schema, expired_rows=expired_rows)
        return Export(schema, timestamp_column, self._stream(EXPORT_FEATURES, request, timeout_s))

    # --------------------------------------------------------------------------------------------------------------- on disk

    def take_snapshot(self, *, timeout_s: float = SNAPSHOT_TIMEOUT_S) -> Document:
        """Has the server write all rows down, and take away the part of its journal that they stand for.

        Answers ``base`` (the journal's record up to which the snapshot stands for it), ``records``, ``bytes``, ``seconds``.
        """
        return self._run(calls.take_snapshot(), timeout_s)

    def backup(self, known: Iterable[BackupFile] = (), *, timeout_s: float | None = None) -> Iterator[BackupPart]:
        """The files from which the store can be made again as it is now; ``featurestore backup`` keeps them.

        First comes a BackupState. Then for each of its files, in their order, its content in pieces of bytes, and a
        BackupFile; of a file that is among ``known``, and is still what it was, the BackupFile alone.
        """
        return map(backup_part, self._stream(BACKUP, backup_request(known), timeout_s))

    def status(self, *, timeout_s: float | None = None) -> Document:
        """The server's ``version``, its ``processes``, and what its start ``recovered``.

        Each process has ``role``, ``number``, ``state``, ``pid``, ``uptime_s``, ``restarts``, ``connections`` (None where the
        engine does not tell), ``requests``, ``refused``, ``resident_bytes`` and ``shared_bytes``, as the proto's ``Process``
        explains.
        ``recovered`` has ``records``, ``tables``, ``cut_bytes`` and ``seconds``; it is None where there is no journal.
        """
        return self._run(calls.status(), timeout_s)

    def view_schema(self, name: str, *, project: str = "default", timeout_s: float | None = None) -> ViewSchema:
        """The types of a view's join keys and features, for ``featurestore_client.columns``; asked of the server each time."""
        deadline = self._deadline(timeout_s)
        described = self.describe_feature_view(name, project=project, timeout_s=deadline.left_s())
        view = described["feature_view"]
        owner = self.describe_entity(view["entity"], project=project, timeout_s=deadline.left_s())
        schema = calls.view_schema(view, owner["entity"])
        self._views[project, name] = schema
        return schema

    # -------------------------------------------------------------------------------------------------------------- sending

    def _of_view(self, view: str, project: str, timeout_s: float | None, make: Callable[[ViewSchema], Call[Answer]]) -> Answer:
        """Runs a call that needs the view's schema; once more by a fresh one where a remembered one may have led it astray."""
        deadline = self._deadline(timeout_s)
        remembered = self._views.get((project, view))
        if remembered is not None:
            try:
                return self._run(make(remembered), deadline.left_s())
            except (InvalidArgumentError, NotFoundError):
                self._views.pop((project, view), None)
                fresh = self.view_schema(view, project=project, timeout_s=deadline.left_s())
                if fresh == remembered:
                    raise
        else:
            fresh = self.view_schema(view, project=project, timeout_s=deadline.left_s())
        return self._run(make(fresh), deadline.left_s())

    def _deadline(self, timeout_s: float | None) -> Deadline:
        return Deadline(self._timeout_s if timeout_s is None else checked_timeout(timeout_s))

    def _run(self, call: Call[Answer], timeout_s: float | None) -> Answer:
        return call.decode(self._unary(call.method_path, call.request, timeout_s, repeatable=call.repeatable))

    def _stream(self, method_path: str, request: bytes, timeout_s: float | None) -> Iterator[bytes]:
        timeout_s = None if timeout_s is None else checked_timeout(timeout_s)
        return self._transport.stream(method_path, iter((request,)), timeout_s=timeout_s)

    def _unary(self, method_path: str, request: bytes, timeout_s: float | None, *, repeatable: bool) -> bytes:
        timeout_s = self._timeout_s if timeout_s is None else checked_timeout(timeout_s)
        deadline = Deadline(timeout_s)
        attempts: Attempts | None = None
        while True:
            try:
                return self._transport.unary(method_path, request, timeout_s=timeout_s)
            except UnavailableError as error:
                attempts = attempts or Attempts(self._retry, deadline, repeatable=repeatable)
                delay_s = attempts.delay_after(error)
            time.sleep(delay_s)
            timeout_s = deadline.left_s()
