"""Bulk writing over one stream: tables cut into messages, a bounded window of unacknowledged ones, going on after a break.

The caller's thread cuts, encodes and waits for room; a thread (a task, with asyncio) receives the acknowledgements. Both
kinds of client share everything but the waiting. Invariant: every batch up to ``acknowledged_sequence`` is applied, every
later one that was sent is still held here, so that after UNAVAILABLE the unacknowledged ones are sent again and no row is
lost or counted twice.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple

from featurestore_client.calls import WriteCounts
from featurestore_client.columns import is_table, rows_in, slice_rows, write_batch
from featurestore_client.encoding import WireBatch, ingest_request
from featurestore_client.errors import (
    DeadlineExceededError,
    FeatureStoreError,
    InternalError,
    InvalidArgumentError,
    UnavailableError,
)
from featurestore_client.retry import RetryPolicy
from featurestore_client.transport import INGEST_FEATURES, AsyncTransport, Transport
from featurestore_client.types import ViewSchema
from featurestore_client.wire import featurestore_raw_pb2 as wire

_log = logging.getLogger(__name__)

MESSAGE_BYTES = 3 << 20
"""What a message is cut to: a column costs each message, and both ends, as much as some thousand values, so the larger the
better; the window of them is the memory that it takes."""
MESSAGE_BYTES_MAX = 4_000_000
"""Cut once more above this, where strings were longer than guessed: below the 4 MiB that gRPC peers take by default."""
WINDOW = 8

_NO_COUNTS = WriteCounts(0, 0, 0, 0, 0)


class IngestProgress(NamedTuple):
    """How far an ``ingest`` is, for its ``progress`` callback."""

    acknowledged_sequence: int
    """All batches up to this one are applied; hand it to ``resume_after`` to go on after an interruption."""
    counts: WriteCounts
    """Of the rows in them."""


class IngestOptions(NamedTuple):
    """How an ``ingest`` goes about it."""

    timestamp_column: str | None
    resume_after: int
    window: int
    batch_rows: int | None
    progress: Callable[[IngestProgress], None] | None
    timeout_s: float
    retry: RetryPolicy
    load: str = ""
    """For which load the rows are, where they replace others."""

    def check(self) -> "IngestOptions":
        """Itself, if its numbers make sense. Raises InvalidArgumentError."""
        if self.window < 1:
            raise InvalidArgumentError.of("window", self.window, "at least 1 batch")
        if self.resume_after < 0:
            raise InvalidArgumentError.of("resume_after", self.resume_after, "an acknowledged sequence, or 0")
        if self.batch_rows is not None and self.batch_rows < 1:
            raise InvalidArgumentError.of("batch_rows", self.batch_rows, "at least 1 row, or None")
        return self


# ----------------------------------------------------------------------------------------------------------------- cutting


def tables_in(data: Any) -> Iterator[Any]:
    """The tables to be cut: an Arrow table's chunks, a reader's batches, the items of an iterable, or the data itself."""
    if hasattr(data, "to_batches"):  # Arrow's Table: its batches have no chunks, and are sliced without a copy
        yield from data.to_batches()
    elif is_table(data):
        yield data
    elif hasattr(data, "__arrow_c_stream__") and not hasattr(data, "read_next_batch"):
        import pyarrow as pa  # noqa: PLC0415  whoever has such data has it, nearly always

        yield from pa.RecordBatchReader.from_stream(data)
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        for each in data:
            yield from tables_in(each)
    else:
        raise InvalidArgumentError.of(
            "data", data, "an Arrow table or reader, a pandas frame, a mapping, or an iterable of them"
        )


def cut(view: ViewSchema, table: Any, timestamp_column: str | None, batch_rows: int | None) -> Iterator[WireBatch]:
    """The batches of one table: the same ones for the same table, which resuming relies on."""
    rows = rows_in(table)
    if batch_rows is None:
        nbytes = getattr(table, "nbytes", None)
        row_bytes = nbytes / rows if rows and isinstance(nbytes, int) else view.row_bytes
        batch_rows = max(1, int(MESSAGE_BYTES / max(1, row_bytes)))
    for start in range(0, rows, batch_rows):
        stop = min(rows, start + batch_rows)
        piece = table if (start, stop) == (0, rows) else slice_rows(table, start, stop)
        yield from _halved(view, piece, stop - start, timestamp_column)


def _halved(view: ViewSchema, table: Any, rows: int, timestamp_column: str | None) -> Iterator[WireBatch]:
    batch = write_batch(view, table, timestamp_column=timestamp_column)
    if batch.nbytes <= MESSAGE_BYTES_MAX or rows < 2:
        yield batch
        return
    middle = rows // 2
    yield from _halved(view, slice_rows(table, 0, middle), middle, timestamp_column)
    yield from _halved(view, slice_rows(table, middle, rows), rows - middle, timestamp_column)


# ------------------------------------------------------------------------------------------------------------------ window


class _Window:
    """What is sent and not acknowledged, and the sums of what is."""

    def __init__(self, view: ViewSchema, options: IngestOptions) -> None:
        self._view = view
        self._options = options
        self._sequence = 0
        self._earlier_streams = _NO_COUNTS
        self._this_stream = _NO_COUNTS
        self._reported = 0
        self._timed = True
        self._failures = 0
        self._failure: UnavailableError | None = None
        self._moved_s = time.monotonic()
        self.unacknowledged: deque[tuple[int, bytes]] = deque()
        self.acknowledged_sequence = options.resume_after

    @property
    def counts(self) -> WriteCounts:
        return self._earlier_streams.plus(self._this_stream)

    @property
    def has_room(self) -> bool:
        return len(self.unacknowledged) < self._options.window

    def add(self, batch: WireBatch) -> bytes | None:
        """The message of the next batch, which is held until it is acknowledged; None for one that an earlier run had sent."""
        self._sequence += 1
        if self._sequence <= self._options.resume_after:
            return None
        if not self.unacknowledged:
            self._moved_s = time.monotonic()
        self._timed &= batch.timed
        message = ingest_request(self._view.project, self._view.view, self._sequence, batch, self._options.load)
        self.unacknowledged.append((self._sequence, message))
        return message

    def acknowledge(self, encoded: bytes) -> None:
        response = wire.IngestFeaturesResponse.FromString(encoded)
        while self.unacknowledged and self.unacknowledged[0][0] <= response.sequence:
            self.unacknowledged.popleft()
        self.acknowledged_sequence = max(self.acknowledged_sequence, response.sequence)
        self._this_stream = WriteCounts.of(response.counts)
        self._failures, self._failure = 0, None
        self._moved_s = time.monotonic()

    def report(self) -> None:
        """Calls the progress callback if there is something new to tell."""
        if self._options.progress is not None and self.acknowledged_sequence > self._reported:
            self._reported = self.acknowledged_sequence
            self._options.progress(IngestProgress(self.acknowledged_sequence, self.counts))

    def patience_s(self) -> float:
        """How much longer to wait for an acknowledgement. Raises what stood in the way once that is over."""
        left_s = self._moved_s + self._options.timeout_s - time.monotonic()
        if left_s <= 0:
            if self._failure is not None:
                raise self._failure
            raise DeadlineExceededError(f"no batch was acknowledged for {self._options.timeout_s:.3g} s")
        return left_s

    def delay_after(self, error: BaseException | None) -> float:
        """How long to wait before a new stream takes the place of one that ended. Raises where none should."""
        waiting = bool(self.unacknowledged)
        if error is None and waiting:
            error = InternalError("the server ended the stream before it had acknowledged all batches")
        if error is not None and (not isinstance(error, UnavailableError) or (waiting and not self._timed)):
            raise error
        self._earlier_streams, self._this_stream = self.counts, _NO_COUNTS
        if error is None or not waiting:
            return 0.0  # it broke while nothing was under way: the next batch opens another
        self._failures, self._failure = self._failures + 1, error
        delay_s = self._options.retry.delay_s(self._failures)
        left_s = self._moved_s + self._options.timeout_s - time.monotonic()
        if self._options.retry.attempts_max == 1 or delay_s >= left_s:
            raise error
        if self._failures == 1:  # once, until the server answers: whoever waits is to know for what
            _log.warning("%s: trying again for up to %.0f s (%s)", self._view.view, left_s, error)
        return delay_s

    def explain(self, error: BaseException) -> BaseException:
        """The error, with the place from which to go on."""
        if self._options.load:
            return error  # nothing of it will be there
        sequence = self.acknowledged_sequence
        way_out = f"all batches up to sequence {sequence} are applied: ingest again with resume_after={sequence} to go on"
        if not isinstance(error, FeatureStoreError):
            error.add_note(way_out)
            return error
        explained = type(error)(f"{error.message}; {way_out}", error.violations)
        explained.acknowledged_sequence = sequence
        return explained


# ---------------------------------------------------------------------------------------------------------------- blocking


class _Stream:
    """One stream, with a thread that receives its acknowledgements."""

    def __init__(self, transport: Transport, window: _Window, changed: threading.Condition) -> None:
        self._transport = transport
        self._window = window
        self._changed = changed
        self._messages: SimpleQueue[bytes | None] = SimpleQueue()
        self._responses: Iterator[bytes] | None = None
        self._given_up = False
        self.ended = False
        self.error: BaseException | None = None
        for _, message in window.unacknowledged:
            self.send(message)
        self._thread = threading.Thread(target=self._receive, name="featurestore-ingest", daemon=True)
        self._thread.start()

    def send(self, message: bytes) -> None:
        self._messages.put(message)

    def end(self) -> None:
        self._messages.put(None)

    def cancel(self) -> None:
        """Gives the stream up, if it has not ended."""
        with self._changed:
            self._given_up = True
            responses, ended = self._responses, self.ended
        self.end()
        if not ended:
            _cancel(responses)

    def _receive(self) -> None:
        error: BaseException | None = None
        try:
            responses = self._transport.stream(INGEST_FEATURES, iter(self._messages.get, None), timeout_s=None)
            with self._changed:
                self._responses = responses
                if self._given_up:
                    _cancel(responses)
            for response in responses:
                with self._changed:
                    self._window.acknowledge(response)
                    self._changed.notify_all()
        except BaseException as failure:
            error = failure
        finally:
            self.end()
            with self._changed:
                self.ended, self.error = True, error
                self._changed.notify_all()


def _cancel(responses: Iterator[bytes] | None) -> None:
    cancel = getattr(responses, "cancel", None)
    if cancel is not None:
        cancel()


def ingest(transport: Transport, view: ViewSchema, data: Any, options: IngestOptions) -> WriteCounts:
    """Writes all of the data. Returns what became of the rows; raises with ``acknowledged_sequence`` where it could not."""
    window, changed = _Window(view, options), threading.Condition()
    stream: _Stream | None = None

    def wait_until(done: Callable[[], bool], *, ending: bool = False) -> None:
        """Waits for acknowledgements, over as many streams as it takes."""
        nonlocal stream
        while stream is not None:
            with changed:
                while not done() and not stream.ended:
                    changed.wait(window.patience_s())
                if not stream.ended:
                    break
                delay_s = window.delay_after(stream.error)
            time.sleep(delay_s)
            stream = _Stream(transport, window, changed) if window.unacknowledged else None
            if ending and stream is not None:
                stream.end()
        window.report()

    def send(batch: WireBatch) -> None:
        nonlocal stream
        with changed:
            message = window.add(batch)
        if message is not None and stream is None:
            stream = _Stream(transport, window, changed)
        elif message is not None and stream is not None:
            stream.send(message)

    def finish() -> None:
        if stream is not None:
            stream.end()
        wait_until(lambda: not window.unacknowledged, ending=True)

    try:
        try:
            for table in tables_in(data):
                for batch in cut(view, table, options.timestamp_column, options.batch_rows):
                    wait_until(lambda: window.has_room)
                    send(batch)
        except Exception:
            if stream is not None and not stream.ended:  # the data failed, not the stream: what was sent is still finished
                with suppress(FeatureStoreError):
                    finish()
            raise
        finish()
    except BaseException as error:
        if stream is not None:
            stream.cancel()
        explained = window.explain(error)
        if explained is error:
            raise
        raise explained from error
    return window.counts


# ----------------------------------------------------------------------------------------------------------------- asyncio


class _AsyncStream:
    """One stream, with a task that receives its acknowledgements."""

    def __init__(self, transport: AsyncTransport, window: _Window, changed: asyncio.Event) -> None:
        self._transport = transport
        self._window = window
        self._changed = changed
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.ended = False
        self.error: BaseException | None = None
        for _, message in window.unacknowledged:
            self.send(message)
        self._task = asyncio.create_task(self._receive(), name="featurestore-ingest")

    def send(self, message: bytes) -> None:
        self._messages.put_nowait(message)

    def end(self) -> None:
        self._messages.put_nowait(None)

    async def cancel(self) -> None:
        """Gives the stream up, if it has not ended."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _requests(self) -> AsyncIterator[bytes]:
        while (message := await self._messages.get()) is not None:
            yield message

    async def _receive(self) -> None:
        try:
            async for response in self._transport.stream(INGEST_FEATURES, self._requests(), timeout_s=None):
                self._window.acknowledge(response)
                self._changed.set()
        except Exception as failure:
            self.error = failure
        finally:
            self.ended = True
            self.end()
            self._changed.set()


async def _async_tables(data: Any) -> AsyncIterator[Any]:
    if isinstance(data, AsyncIterable):
        async for each in data:
            for table in tables_in(each):
                yield table
        return
    for table in tables_in(data):
        yield table


async def ingest_async(transport: AsyncTransport, view: ViewSchema, data: Any, options: IngestOptions) -> WriteCounts:
    """The same for asyncio; the data may come from an async iterable too."""
    window, changed = _Window(view, options), asyncio.Event()
    stream: _AsyncStream | None = None

    async def wait_until(done: Callable[[], bool], *, ending: bool = False) -> None:
        """Waits for acknowledgements, over as many streams as it takes."""
        nonlocal stream
        while stream is not None:
            while not done() and not stream.ended:
                changed.clear()
                patience_s = window.patience_s()
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), patience_s)
            if not stream.ended:
                break
            await asyncio.sleep(window.delay_after(stream.error))
            stream = _AsyncStream(transport, window, changed) if window.unacknowledged else None
            if ending and stream is not None:
                stream.end()
        window.report()

    def send(batch: WireBatch) -> None:
        nonlocal stream
        message = window.add(batch)
        if message is not None and stream is None:
            stream = _AsyncStream(transport, window, changed)
        elif message is not None and stream is not None:
            stream.send(message)

    async def finish() -> None:
        if stream is not None:
            stream.end()
        await wait_until(lambda: not window.unacknowledged, ending=True)

    try:
        try:
            async for table in _async_tables(data):
                for batch in cut(view, table, options.timestamp_column, options.batch_rows):
                    await wait_until(lambda: window.has_room)
                    send(batch)
        except Exception:
            if stream is not None and not stream.ended:
                with suppress(FeatureStoreError):
                    await finish()
            raise
        await finish()
    except BaseException as error:
        explained = window.explain(error)
        if explained is error:
            raise
        raise explained from error
    finally:
        if stream is not None:
            await stream.cancel()
    return window.counts
