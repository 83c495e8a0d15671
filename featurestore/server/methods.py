"""The one table of methods. An engine serves it; no handler knows which.

A handler takes a request's bytes and a CallContext. A UNARY one gives back the answer's bytes, or something to await where the
work is long; a STREAM one takes an async iterator of requests and gives back one of answers. ``inline`` tells an engine that
the method answers most requests at once, so that it need not make a task before it has asked.

What holds for every method is put around the handlers here, once: the API key, the deadline, and that streams end when the
server drains. Invariant: a handler raises FeatureStoreError for whatever a caller can do wrong; anything else is a defect.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import NamedTuple, NoReturn

from featurestore.errors import FailedPreconditionError, UnavailableError
from featurestore.server.api_keys import ApiKeys
from featurestore.server.backup_methods import BackupMethods
from featurestore.server.context import CallContext
from featurestore.server.definition_methods import DefinitionChanges, DefinitionReads
from featurestore.server.export_methods import ExportMethods
from featurestore.server.feature_methods import FeatureReads, FeatureWrites
from featurestore.server.guard import Guard
from featurestore.server.health import Health
from featurestore.server.reflection import Reflection
from featurestore.server.replace_methods import ReplaceMethods
from featurestore.server.shared_memory import SharedMemory
from featurestore.server.status import ProcessSlot, StatusBoard
from featurestore.server.status_methods import StatusMethods
from featurestore.server.wire import featurestore_pb2 as public
from featurestore.service import Loads, MappedStore, OnlineReader, OnlineStore

UnaryHandler = Callable[[bytes, CallContext], bytes | Awaitable[bytes]]
StreamHandler = Callable[[AsyncIterator[bytes], CallContext], AsyncIterator[bytes]]

PREFIX = "/featurestore.v1.FeatureStore/"
PROBE_BYTES_MAX = 4 << 10
"""Of the name of a service."""


class UnaryMethod(NamedTuple):
    """One request, one answer."""

    path: str
    handler: UnaryHandler
    inline: bool
    sheds: bool = False
    """Whether calls may be refused while there are too many: those that come by the thousand."""
    takes_turns: bool = False
    """Whether a long request may be made to wait, so that others pass it (``write_turns.py``)."""
    check: Callable[[CallContext], object] | None = None
    """Raises what ``handler`` would before it begins: asked where there is work to do before it can be called."""
    request_bytes_max: int | None = None
    """Of one whose requests are short, and that anybody may call; else the engine's own limit holds."""


class StreamMethod(NamedTuple):
    """Requests and answers, each in its own time; or one request and many answers, which an engine need not tell apart."""

    path: str
    handler: StreamHandler
    request_bytes_max: int | None = None
    """As above."""


Method = UnaryMethod | StreamMethod


def own_methods(service: OnlineStore, board: StatusBoard, slot: ProcessSlot) -> list[Method]:
    """All of FeatureStore's, over the store that this process owns; ``slot`` is its row of the board."""
    loads, backups = Loads(service), BackupMethods(service)
    writes, replacing = FeatureWrites(service, loads), ReplaceMethods(loads)
    shared = SharedMemory(service.store.segments, lambda: service.catalog, is_shared=service.shares_memory)
    return [
        *_reading_methods(service, FeatureReads(service).get, board, slot),
        UnaryMethod(PREFIX + "WriteFeatures", writes.write, inline=True, sheds=True, takes_turns=True),
        UnaryMethod(PREFIX + "DeleteFeatures", writes.delete, inline=True, sheds=True, takes_turns=True),
        StreamMethod(PREFIX + "IngestFeatures", writes.ingest),
        UnaryMethod(PREFIX + "BeginReplace", replacing.begin, inline=False),
        UnaryMethod(PREFIX + "CommitReplace", replacing.commit, inline=False),
        UnaryMethod(PREFIX + "AbortReplace", replacing.abort, inline=False),
        UnaryMethod(PREFIX + "Rollback", replacing.roll_back, inline=False),
        UnaryMethod(PREFIX + "Apply", DefinitionChanges(service).apply, inline=False),
        UnaryMethod(PREFIX + "GetSharedMemory", shared.get, inline=True),
        UnaryMethod(PREFIX + "TakeSnapshot", backups.take_snapshot, inline=False),
        StreamMethod(PREFIX + "Backup", backups.backup),
    ]


def read_only_methods(reader: MappedStore, board: StatusBoard, slot: ProcessSlot) -> list[Method]:
    """Those that only read, over a store that another process owns, or owned; the others are refused."""
    reads = FeatureReads(reader)

    def get(data: bytes, context: CallContext) -> bytes | Awaitable[bytes]:
        reader.check_owner()
        return reads.get(data, context)

    methods = _reading_methods(reader, get, board, slot)
    known = {method.path for method in methods}
    for method in public.DESCRIPTOR.services_by_name["FeatureStore"].methods:
        if PREFIX + method.name not in known:
            methods.append(_refused(PREFIX + method.name, is_stream=method.server_streaming))
    return methods


def _reading_methods(service: OnlineReader, get: UnaryHandler, board: StatusBoard, slot: ProcessSlot) -> list[Method]:
    definitions = DefinitionReads(service)
    return [
        UnaryMethod(PREFIX + "GetFeatures", get, inline=True, sheds=True),
        UnaryMethod(PREFIX + "ListProjects", definitions.list_projects, inline=True),
        UnaryMethod(PREFIX + "ListEntities", definitions.list_entities, inline=True),
        UnaryMethod(PREFIX + "ListFeatureViews", definitions.list_feature_views, inline=True),
        UnaryMethod(PREFIX + "ListFeatureServices", definitions.list_feature_services, inline=True),
        UnaryMethod(PREFIX + "ListTables", definitions.list_tables, inline=True),
        UnaryMethod(PREFIX + "DescribeEntity", definitions.describe_entity, inline=True),
        UnaryMethod(PREFIX + "DescribeFeatureView", definitions.describe_feature_view, inline=True),
        UnaryMethod(PREFIX + "DescribeFeatureService", definitions.describe_feature_service, inline=True),
        UnaryMethod(PREFIX + "GetStatus", StatusMethods(board, slot).get_status, inline=True),
        StreamMethod(PREFIX + "ExportFeatures", ExportMethods(service).export),
    ]


def _refused(path: str, *, is_stream: bool) -> Method:
    refusal = f"{path.removeprefix(PREFIX)}: the store was opened read-only: open it for writing, or go through its server"

    def refuse(*_: object) -> NoReturn:
        raise FailedPreconditionError(refusal)

    return StreamMethod(path, refuse) if is_stream else UnaryMethod(path, refuse, inline=True)


class Methods:
    """The table: FeatureStore's methods behind their guards, and those that every server has. ``by_path`` is what an engine
    serves, ``drain`` what is called before it stops."""

    def __init__(self, feature_store: Iterable[Method], api_keys: ApiKeys | None = None) -> None:
        self._draining = asyncio.Event()
        health, reflection = Health(self._draining), Reflection()
        guarded = [
            *feature_store,
            StreamMethod("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", reflection.info),
            StreamMethod("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", reflection.info),
        ]
        rows: tuple[Method, ...] = (
            *(self._guarded(row, api_keys) for row in guarded),
            # An orchestrator's probe has no key, and what it learns is no secret.
            UnaryMethod("/grpc.health.v1.Health/Check", health.check, inline=True, request_bytes_max=PROBE_BYTES_MAX),
            StreamMethod("/grpc.health.v1.Health/Watch", health.watch, PROBE_BYTES_MAX),
        )
        self.by_path = {row.path: row for row in rows}

    def drain(self) -> None:
        """Health says NOT_SERVING from now on, and streams end after the message they are at."""
        self._draining.set()

    def _guarded(self, method: Method, api_keys: ApiKeys | None) -> Method:
        if isinstance(method, StreamMethod):
            return method._replace(handler=self._guarded_stream(method.handler, api_keys))
        guard = Guard(method.handler, api_keys)
        return method._replace(handler=guard.call, check=guard.check)

    def _guarded_stream(self, handler: StreamHandler, api_keys: ApiKeys | None) -> StreamHandler:
        guard = Guard(handler, api_keys)

        def guarded(requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
            guard.check(context)
            return handler(self._until_draining(requests), context)

        return guarded

    async def _until_draining(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            while not draining.done():
                message = asyncio.ensure_future(_next(requests))
                try:
                    await asyncio.wait((message, draining), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not message.done():
                        message.cancel()
                if not message.done() or message.cancelled():
                    break
                data = message.result()
                if data is None:
                    return
                yield data
            raise UnavailableError("the server is draining: go on at another one, or at this one when it is back")
        finally:
            draining.cancel()


async def _next(requests: AsyncIterator[bytes]) -> bytes | None:
    return await anext(requests, None)
