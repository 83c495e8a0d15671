"""Several reads of one selection as one: reads that begin within a moment of each other travel as one request.

The keys of the requests are put one after the other, and the answer is cut up again by rows, both as wire messages: callers
above notice nothing but the time. Invariants: a caller gets the answer that its request alone would have had; what may be the
fault of one of them (INVALID_ARGUMENT, RESOURCE_EXHAUSTED) is found out by asking for each singly. And only reads of one event
loop travel together: what a loop leaves behind when it is closed is never sent.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from featurestore_client.errors import FeatureStoreError, InvalidArgumentError, ResourceExhaustedError
from featurestore_client.transport import GET_FEATURES, AsyncTransport
from featurestore_client.wire import featurestore_raw_pb2 as wire

ROWS_MAX: Final = 1_000
"""Of one request that is made of several; it goes out at once when it is full."""

_ELEMENTS = ("bools", "int32s", "int64s", "float32s", "float64s")
_INT64_BYTES = 8
_OFFSET_BYTES = 4


class Keys(NamedTuple):
    """The keys of one request: its rows, and what each column is called and of."""

    rows: int
    kinds: tuple[tuple[str, bool], ...]
    """Name, and whether the values are strings."""
    columns: tuple[wire.Column, ...]


def keys_of(request: wire.GetFeaturesRequest) -> Keys | None:
    """The keys of a request; None for one that the server should judge by itself."""
    kinds, counts = [], []
    for column in request.keys:
        if column.offsets:
            counts.append(len(column.offsets) // _OFFSET_BYTES - 1)
        elif column.int64s:
            counts.append(len(column.int64s) // _INT64_BYTES)
        else:
            return None
        kinds.append((column.name, bool(column.offsets)))
    rows = max(counts, default=0)
    if not 0 < rows < ROWS_MAX or any(count not in (1, rows) for count in counts):
        return None
    columns = [column if count == rows else _repeated(column, rows) for column, count in zip(request.keys, counts, strict=True)]
    return Keys(rows, tuple(kinds), tuple(columns))


def _repeated(column: wire.Column, rows: int) -> wire.Column:
    """A column of one value, which stands for ``rows`` equal ones, written out."""
    if not column.offsets:
        return wire.Column(name=column.name, int64s=column.int64s * rows)
    offsets = np.arange(rows + 1, dtype=np.int32) * len(column.data)
    return wire.Column(name=column.name, data=column.data * rows, offsets=offsets.tobytes())


def joined(request: wire.GetFeaturesRequest, keys: Sequence[Keys]) -> bytes:
    """The request for the keys of all."""
    together = wire.GetFeaturesRequest(selection=request.selection, known_schema_id=request.known_schema_id)
    for columns in zip(*(each.columns for each in keys), strict=True):
        column = wire.Column(name=columns[0].name)
        if columns[0].offsets:
            column.data = b"".join(each.data for each in columns)
            ends = [np.zeros(1, np.int32)]
            start = 0
            for each in columns:
                ends.append(np.frombuffer(each.offsets, np.int32)[1:] + start)
                start += len(each.data)
            column.offsets = np.concatenate(ends).astype(np.int32).tobytes()
        else:
            column.int64s = b"".join(each.int64s for each in columns)
        together.keys.append(column)
    return together.SerializeToString()


def cut(encoded: bytes, rows: Sequence[int]) -> list[bytes]:
    """The answers of the parts that a joined request was made of."""
    answer = wire.GetFeaturesResponse.FromString(encoded)
    if answer.rows != sum(rows):
        raise ValueError(f"an answer of {answer.rows} rows to a request for {sum(rows)}")
    starts = [0]
    for count in rows:
        starts.append(starts[-1] + count)
    return [_part(answer, start, stop).SerializeToString() for start, stop in pairwise(starts)]


def _part(answer: wire.GetFeaturesResponse, start: int, stop: int) -> wire.GetFeaturesResponse:
    part = wire.GetFeaturesResponse(rows=stop - start, schema_id=answer.schema_id)
    if answer.schema:
        part.schema = answer.schema
    if answer.HasField("matrix"):
        part.matrix.CopyFrom(_rows_of(answer.matrix, answer.rows, start, stop))
    part.columns.extend(_rows_of(column, answer.rows, start, stop) for column in answer.columns)
    part.row_statuses = _by_view(answer.row_statuses, answer.rows, 1, start, stop)
    part.event_timestamps_us = _by_view(answer.event_timestamps_us, answer.rows, _INT64_BYTES, start, stop)
    width = len(answer.nulls) // answer.rows
    part.nulls = answer.nulls[start * width : stop * width]
    return part


def _rows_of(column: wire.Column, rows: int, start: int, stop: int) -> wire.Column:
    part = wire.Column(name=column.name)
    for field in _ELEMENTS:
        values: bytes = getattr(column, field)
        if values:
            width = len(values) // rows
            setattr(part, field, values[start * width : stop * width])
    if column.offsets:
        offsets = np.frombuffer(column.offsets, np.int32)
        values_a_row = (len(offsets) - 1) // rows
        mine = offsets[start * values_a_row : stop * values_a_row + 1]
        part.data = column.data[mine[0] : mine[-1]]
        part.offsets = (mine - mine[0]).tobytes()
    return part


def _by_view(values: bytes, rows: int, width: int, start: int, stop: int) -> bytes:
    """Of what lies view after view, the part of some rows."""
    table = np.frombuffer(values, np.uint8).reshape(-1, rows * width)
    return table[:, start * width : stop * width].tobytes()


class _Batch:
    """Reads that will travel together."""

    def __init__(self, request: wire.GetFeaturesRequest, timeout_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.request = request
        self.timeout_s = timeout_s
        self.rows = 0
        self.parts: list[tuple[bytes, Keys, asyncio.Future[bytes]]] = []
        self.timer: asyncio.TimerHandle | None = None


class CoalescingTransport:
    """Another transport, whose reads of one selection that begin within ``coalesce_us`` are made as one."""

    def __init__(self, transport: AsyncTransport, coalesce_us: float) -> None:
        self._transport = transport
        self._coalesce_s = coalesce_us / 1e6
        self._batches: dict[tuple[object, ...], _Batch] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def unary(self, method_path: str, request: bytes, *, timeout_s: float, repeatable: bool = False) -> bytes:
        """One request, one response."""
        keys = None
        if method_path == GET_FEATURES and timeout_s > self._coalesce_s:
            try:
                parsed = wire.GetFeaturesRequest.FromString(request)
                keys = keys_of(parsed)
            except DecodeError:
                pass  # the server says what is wrong with it
        if keys is None:
            return await self._transport.unary(method_path, request, timeout_s=timeout_s, repeatable=repeatable)
        loop = asyncio.get_running_loop()
        kind = (parsed.selection, parsed.known_schema_id, keys.kinds, timeout_s)
        batch = self._batches.get(kind)
        if batch is not None and batch.loop is not loop:
            batch = None
        if batch is not None and batch.rows + keys.rows > ROWS_MAX:
            self._send(kind, batch)
            batch = None
        if batch is None:
            batch = self._batches[kind] = _Batch(parsed, timeout_s, loop)
            batch.timer = loop.call_later(self._coalesce_s, self._send, kind, batch)
        future: asyncio.Future[bytes] = loop.create_future()
        batch.rows += keys.rows
        batch.parts.append((request, keys, future))
        return await future

    def _send(self, kind: tuple[object, ...], batch: _Batch) -> None:
        if self._batches.get(kind) is batch:
            del self._batches[kind]
        assert batch.timer is not None
        batch.timer.cancel()
        task = asyncio.get_running_loop().create_task(self._run(batch), name="featurestore-coalesced")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, batch: _Batch) -> None:
        timeout_s = batch.timeout_s - self._coalesce_s  # the same for each batch, and enough for the first who waited
        ends_s = asyncio.get_running_loop().time() + timeout_s
        parts = [part for part in batch.parts if not part[2].done()]  # the others were given up
        try:
            if len(parts) > 1:
                request = joined(batch.request, [keys for _, keys, _ in parts])
                try:
                    answer = await self._transport.unary(GET_FEATURES, request, timeout_s=timeout_s, repeatable=True)
                except (InvalidArgumentError, ResourceExhaustedError):
                    pass
                else:
                    for (_, _, future), own in zip(parts, cut(answer, [keys.rows for _, keys, _ in parts]), strict=True):
                        if not future.done():
                            future.set_result(own)
                    return
                timeout_s = max(1e-6, ends_s - asyncio.get_running_loop().time())
            await asyncio.gather(*(self._alone(request, future, timeout_s) for request, _, future in parts))
        except asyncio.CancelledError:
            for _, _, future in parts:
                future.cancel()
            raise
        except Exception as error:
            for _, _, future in parts:
                if not future.done():
                    future.set_exception(error)

    async def _alone(self, request: bytes, future: "asyncio.Future[bytes]", timeout_s: float) -> None:
        try:
            answer = await self._transport.unary(GET_FEATURES, request, timeout_s=timeout_s, repeatable=True)
        except FeatureStoreError as error:
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(answer)

    def stream(self, method_path: str, requests: AsyncIterator[bytes], *, timeout_s: float | None) -> AsyncIterator[bytes]:
        """Many requests, many responses."""
        return self._transport.stream(method_path, requests, timeout_s=timeout_s)

    async def close(self) -> None:
        """Ends the calls under way."""
        loop = asyncio.get_running_loop()
        for kind, batch in list(self._batches.items()):
            if batch.loop is loop:
                self._send(kind, batch)
        await self._transport.close()
        running = [task for task in self._running if task.get_loop() is loop]
        if running:
            await asyncio.wait(running)
