"""GetFeatures, WriteFeatures, IngestFeatures and DeleteFeatures: from the bytes of a message to the service and back.

Only translates. What a request's fixed part resolves to is kept by that part's bytes, with all that its answers have in common,
so that a read costs a walk over the request, one call of the store, and a head before the values that it wrote into the answer.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from functools import lru_cache, partial
from hashlib import blake2b

from featurestore_client.tables.columns import Values

from featurestore.durability import Kind, Message, Unsynced
from featurestore.errors import InvalidArgumentError, ResourceExhaustedError
from featurestore.model import DEFAULT_PROJECT, FEATURES_MAX
from featurestore.server.columns import ARRAY_OF, checked_name, checked_view, read_keys, readers_of
from featurestore.server.context import CallContext
from featurestore.server.messages import parse
from featurestore.server.quick_reads import QuickRead, QuickReads
from featurestore.server.quick_writes import QuickWrites
from featurestore.server.read_wire import AnswerFormat, KeyFormat, read_request
from featurestore.server.wire import featurestore_raw_pb2 as wire
from featurestore.server.write_decoding import (
    AnyWrite,
    Decoded,
    DecodedFixedBatch,
    PreparedWrite,
    decode_delete,
    decode_write,
    read_write,
)
from featurestore.server.write_wire import WriteRequest
from featurestore.service import Loads, OnlineReader, OnlineStore, ReadPlan, Selection
from featurestore.service.online_store import now_us
from featurestore.service.plan_cache import PlanCache
from featurestore.store import DeleteCounts, WriteCounts

QUICK_REQUEST_BYTES = 128 << 10
"""A larger write takes so long to decode and check that a worker thread does it, while the event loop goes on."""


class PreparedRead:
    """A read plan, and what of its requests and answers is always the same."""

    __slots__ = ("answers", "join_keys", "key_format", "plan", "quick", "quick_rows_max")

    def __init__(self, plan: ReadPlan, quick_rows_max: int) -> None:
        self.plan = plan
        self.quick_rows_max = quick_rows_max
        self.join_keys = readers_of(plan.join_keys)
        self.key_format = KeyFormat([*plan.join_keys], [each.is_variable for each in plan.join_keys.values()])
        schema = schema_of(plan).SerializeToString(deterministic=True)
        # Of the content, so that a client keeps its schema through a restart. Never 0, which stands for "none known".
        schema_id = int.from_bytes(blake2b(schema, digest_size=8).digest(), "little") or 1
        arrays = [ARRAY_OF[feature.type.scalar] for feature in plan.features]
        self.answers = AnswerFormat(schema_id, schema, arrays, plan.row_bytes if plan.is_matrix else 0, plan.sources)
        self.quick = self._quick_read()

    def _quick_read(self) -> QuickRead | None:
        plan = self.plan
        if plan.single is None or [str(each) for each in plan.join_keys.values()] != ["int64"]:
            return None
        return QuickRead(*plan.single, plan.key_names[0], self.answers, self.quick_rows_max)


class _IngestStream:
    """What the messages of a stream have in common."""

    def __init__(self) -> None:
        self.project = self.view = self.load = ""
        self.sequence = 0
        self.prepared: PreparedWrite | None = None
        """Of a load: kept here, so that the table it fills does not stay mapped for longer than it is filled."""

    def go_on(self, request: wire.IngestFeaturesRequest | WriteRequest) -> None:
        """Takes the next message's names and sequence, or refuses those that do not follow from the ones before it."""
        project, view = request.project or self.project or DEFAULT_PROJECT, request.view or self.view
        if self.view and (project, view) != (self.project, self.view):
            expected = f"{self.project}.{self.view}, as in the first message"
            raise InvalidArgumentError.of("view", f"{project}.{view}", expected)
        if self.view and request.load != self.load:
            raise InvalidArgumentError.of("load", request.load, f"{self.load!r}, as in the first message")
        if self.sequence and request.sequence <= self.sequence:
            raise InvalidArgumentError.of(
                "sequence", request.sequence, f"above {self.sequence}, the one before it in the stream"
            )
        self.project, self.view, self.load, self.sequence = project, view, request.load, request.sequence


class FeatureReads:
    """The handler of GetFeatures, over any reader of the store."""

    def __init__(self, service: OnlineReader) -> None:
        self._service = service
        self._reads: PlanCache[bytes, PreparedRead] = PlanCache(self._prepare_read, service)
        self.get = QuickReads(service, self._reads, self.get_any).get
        """GetFeatures, which this is for: as ``get_any``, and quicker where it can be."""

    def get_any(self, data: bytes, context: CallContext) -> bytes | Awaitable[bytes]:
        """GetFeatures. Inline unless the answer is a large one."""
        request = read_request(data)
        if request is not None:
            prepared = self._reads.get(request.selection)
            keys = request.keys(prepared.key_format)
            if keys is not None:
                if 0 < request.rows <= prepared.quick_rows_max:
                    return _answer(prepared, keys, request.rows, request.known_schema_id)
                return self._align_and_answer(prepared, keys, request.known_schema_id, context)
        message = parse(wire.GetFeaturesRequest, data)
        prepared = self._reads.get(message.selection)
        checked_keys = read_keys(message.keys, prepared.join_keys, "keys")
        return self._align_and_answer(prepared, checked_keys, message.known_schema_id, context)

    def _align_and_answer(
        self, prepared: PreparedRead, keys: Sequence[Values], known_schema_id: int, context: CallContext
    ) -> bytes | Awaitable[bytes]:
        keys, rows = self._service.align(prepared.plan, keys)
        if rows <= prepared.quick_rows_max:
            return _answer(prepared, keys, rows, known_schema_id)

        def answer() -> bytes:
            context.check_deadline()
            return _answer(prepared, keys, rows, known_schema_id)

        return self._service.beside_the_loop(answer)

    def _prepare_read(self, selection_bytes: bytes) -> PreparedRead:
        selection = parse(wire.FeatureSelection, selection_bytes)
        if len(selection.features) > FEATURES_MAX:
            raise ResourceExhaustedError.of(
                "selection.features", len(selection.features), FEATURES_MAX, "read them in several requests"
            )
        plan = self._service.read_plan(
            Selection(
                checked_name("selection.project", selection.project) or DEFAULT_PROJECT,
                checked_name("selection.service", selection.service),
                tuple(selection.features),
                selection.event_timestamps,
                selection.expired_values,
            )
        )
        return PreparedRead(plan, self._service.quick_rows_max(plan))


class FeatureWrites:
    """The handlers of the other three, over the store's owner."""

    def __init__(self, service: OnlineStore, loads: Loads) -> None:
        self._service = service
        self._loads = loads
        self._writes: PlanCache[tuple[str, str], PreparedWrite] = PlanCache(self._prepare_write, service)
        self.write = QuickWrites(service, self._writes, _written, self.write_any).write
        """WriteFeatures, which this is for: as ``write_any``, and quicker where it can be."""

    def write_any(self, data: bytes, context: CallContext) -> bytes | Awaitable[bytes]:
        """WriteFeatures. Inline for few rows."""
        if len(data) > QUICK_REQUEST_BYTES:
            return self._write_long(data, context)
        counts = self._write(self._decode_write(data), context)
        if isinstance(counts, WriteCounts):
            return _written(counts)
        return counts.told_as(_written(counts.outcome)) if isinstance(counts, Unsynced) else _then_written(counts)

    async def _write_long(self, data: bytes, context: CallContext) -> bytes:
        batch = await self._service.beside_the_loop(partial(self._decode_write, data))
        counts = self._write(batch, context)
        return _written(counts if isinstance(counts, WriteCounts) else await counts)

    def _decode_write(self, data: bytes) -> Decoded:
        message = Message(Kind.WRITE, data, now_us())
        request = read_write(message)
        return decode_write(request, self._prepared(request.project, request.view), message)

    def _write(self, decoded: Decoded, context: CallContext) -> WriteCounts | Awaitable[WriteCounts]:
        begin = context.check_deadline
        if isinstance(decoded, DecodedFixedBatch):
            return self._service.write_fixed(decoded.plan, decoded.batch, message=decoded.message, begin=begin)
        plan, keys, times, columns, rows, message = decoded
        return self._service.write(plan, keys, times, columns, rows=rows, message=message, begin=begin)

    def _prepared(self, project: str, view: str) -> PreparedWrite:
        return self._writes.get((project or DEFAULT_PROJECT, view))

    def _prepare_write(self, key: tuple[str, str]) -> PreparedWrite:
        return PreparedWrite(self._service.write_plan(*checked_view(*key)))

    def delete(self, data: bytes, context: CallContext) -> bytes | Awaitable[bytes]:
        """DeleteFeatures. Inline for few rows."""
        request = parse(wire.DeleteFeaturesRequest, data)
        message = Message(Kind.DELETE, data, now_us())
        plan, keys, times, _, rows, _ = decode_delete(request, self._prepared(request.project, request.view), message)
        counts = self._service.delete(plan, keys, times, rows=rows, message=message, begin=context.check_deadline)
        if isinstance(counts, DeleteCounts):
            return _deleted(counts)
        return counts.told_as(_deleted(counts.outcome)) if isinstance(counts, Unsynced) else _then_deleted(counts)

    async def ingest(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        """IngestFeatures: acknowledges each batch once it is applied. The next one is decoded while one is being written."""
        stream = _IngestStream()
        total = WriteCounts(0, 0, 0, 0, 0)
        incoming = asyncio.ensure_future(self._next_batch(requests, stream))
        try:
            while (following := await incoming) is not None:
                sequence, batch = following
                incoming = asyncio.ensure_future(self._next_batch(requests, stream))
                if stream.load:
                    self._loads.join(stream.load, stream)
                counts = self._write(batch, context)
                if not isinstance(counts, WriteCounts):
                    counts = await counts
                total = WriteCounts(*(before + now for before, now in zip(total, counts, strict=True)))
                yield wire.IngestFeaturesResponse(sequence=sequence, counts=_counts(total)).SerializeToString()
        finally:
            incoming.cancel()
            await asyncio.wait((incoming,))
            if not incoming.cancelled():
                incoming.exception()  # seen: the stream has ended for another reason before it mattered
            if stream.load:
                self._loads.leave(stream.load, stream)

    async def _next_batch(self, requests: AsyncIterator[bytes], stream: _IngestStream) -> tuple[int, Decoded] | None:
        data = await anext(requests, None)
        if data is None:
            return None
        if len(data) > QUICK_REQUEST_BYTES:
            return await self._service.beside_the_loop(partial(self._decode_ingest, data, stream))
        return self._decode_ingest(data, stream)

    def _decode_ingest(self, data: bytes, stream: _IngestStream) -> tuple[int, Decoded]:
        message = Message(Kind.INGEST, data, now_us())
        request = read_write(message)
        assert not isinstance(request, wire.WriteFeaturesRequest), "this one has a sequence"
        stream.go_on(request)
        if stream.load:
            return request.sequence, self._decode_for_load(data, request, stream)
        return request.sequence, decode_write(request, self._prepared(stream.project, stream.view), message)

    def _decode_for_load(self, data: bytes, request: AnyWrite, stream: _IngestStream) -> Decoded:
        staged = self._loads.staged(stream.load)
        plan = staged.plan
        if (plan.project, plan.view) != (stream.project, stream.view):
            raise InvalidArgumentError.of(
                "view", f"{stream.project}.{stream.view}", f"{plan.project}.{plan.view}, which the load replaces"
            )
        if stream.prepared is None:
            stream.prepared = PreparedWrite(plan)
        # Without event times the rows are of when the load began, so that what is written meanwhile is newer.
        return decode_write(request, stream.prepared, Message(Kind.INGEST, data, staged.started_us))


def schema_of(plan: ReadPlan) -> wire.AnswerSchema:
    """The schema of a plan's answers, as a message."""
    schema = wire.AnswerSchema(views=[view.name for view in plan.views])
    for feature in plan.features:
        schema.features.add(name=feature.name, type=str(feature.type), view_index=feature.view_index, feature=feature.feature)
    for name, data_type in plan.join_keys.items():
        schema.join_keys.add(name=name, type=str(data_type))
    for view in plan.views:
        schema.view_keys.add(join_keys=[plan.key_names.index(name) for name in view.key_names])
    return schema


def _answer(prepared: PreparedRead, keys: Sequence[Values], rows: int, known_schema_id: int) -> bytes:
    """Reads rows into the answer. ``keys`` are aligned."""
    writer = prepared.answers.begin(rows, known_schema_id)
    plan = prepared.plan
    return writer.finish(*plan.read(keys, rows, writer if plan.is_matrix else None, now_us=now_us()))


def _counts(counts: WriteCounts) -> wire.WriteCounts:
    return wire.WriteCounts(
        rows=counts.rows, inserted=counts.inserted, updated=counts.updated, equal=counts.equal, older=counts.older
    )


@lru_cache(maxsize=4_096)
def _written(counts: tuple[int, int, int, int, int]) -> bytes:
    return wire.WriteFeaturesResponse(counts=_counts(WriteCounts(*counts))).SerializeToString()


async def _then_written(counts: Awaitable[WriteCounts]) -> bytes:
    return _written(await counts)


def _deleted(counts: DeleteCounts) -> bytes:
    return wire.DeleteFeaturesResponse(deleted=counts.deleted, absent=counts.absent, older=counts.older).SerializeToString()


async def _then_deleted(counts: Awaitable[DeleteCounts]) -> bytes:
    return _deleted(await counts)
