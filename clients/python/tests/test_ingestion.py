"""Bulk writing: a bounded window, acknowledgements, going on after a break, and where to resume, over real sockets."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import featurestore_client
import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from featurestore_client import (
    DeadlineExceededError,
    IngestProgress,
    InvalidArgumentError,
    RetryPolicy,
    UnavailableError,
    WriteCounts,
)
from featurestore_client.wire import featurestore_raw_pb2 as wire

QUICK = RetryPolicy(backoff_s=0.001, backoff_max_s=0.01)
Connect = Callable[..., Any]


class Sink:
    """An IngestFeatures handler that keeps the rows it acknowledged, in order; ``before`` may break the stream."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.sequences: list[int] = []
        self.streams = 0
        self.before: Callable[[wire.IngestFeaturesRequest, grpc.ServicerContext], None] = lambda _request, _context: None

    def __call__(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self.streams += 1
        rows = 0
        for encoded in requests:
            request = wire.IngestFeaturesRequest.FromString(encoded)
            assert (request.project, request.view) == ("default", "delays")
            self.before(request, context)
            keys = np.frombuffer(request.batch.keys[0].int64s, np.int64)
            self.rows += keys.tolist()
            self.sequences.append(request.sequence)
            rows += len(keys)
            counts = wire.WriteCounts(rows=rows, inserted=rows)
            yield wire.IngestFeaturesResponse(sequence=request.sequence, counts=counts).SerializeToString()


@pytest.fixture
def sink(server: Any) -> Sink:
    server.describes({"id": "int64"}, {"delay": "float32", "note": "string"})
    sink = server.handlers["IngestFeatures"] = Sink()
    return sink


def table(rows: int, first: int = 0) -> pa.Table:
    times = pa.array(np.arange(rows), pa.timestamp("us"))
    return pa.table({"id": np.arange(first, first + rows), "delay": np.zeros(rows, np.float32), "event_timestamp": times})


@pytest.mark.parametrize(
    "convert",
    [
        lambda rows: rows,
        lambda rows: rows.to_reader(max_chunksize=7),
        lambda rows: rows.to_pandas(),
        lambda rows: rows.to_pydict(),
        lambda rows: {name: column.to_numpy() for name, column in zip(rows.column_names, rows.columns, strict=True)},
        lambda rows: rows.to_pandas().to_records(index=False),
        lambda rows: iter([rows.slice(0, 40), rows.slice(40).to_pandas()]),
        lambda rows: pa.concat_tables([rows.slice(0, 3), rows.slice(3, 50), rows.slice(53)]),
    ],
)
def test_every_kind_of_data_arrives_whole_and_in_order(server: Any, sink: Sink, connect: Connect, convert: Any) -> None:
    counts = connect(server.address).ingest("delays", convert(table(100)), batch_rows=9)
    assert counts == WriteCounts(100, 100, 0, 0, 0)
    assert sink.rows == list(range(100))
    assert sink.sequences == list(range(1, len(sink.sequences) + 1))


def test_batches_are_about_three_megabytes(server: Any, sink: Sink, connect: Connect) -> None:
    sizes: list[int] = []
    sink.before = lambda request, _context: sizes.append(request.ByteSize())
    connect(server.address).ingest("delays", table(200_000))
    assert sink.rows == list(range(200_000))
    assert max(sizes) < 3_200_000
    assert sum(size > 2_800_000 for size in sizes) == len(sizes) - 1


def test_long_strings_are_cut_further(server: Any, sink: Sink, connect: Connect) -> None:
    sizes: list[int] = []
    sink.before = lambda request, _context: sizes.append(request.ByteSize())
    connect(server.address).ingest("delays", {"id": list(range(100)), "note": ["x" * 100_000] * 100})
    assert sink.rows == list(range(100))
    assert max(sizes) < 4 << 20


def test_nothing_is_nothing(server: Any, sink: Sink, connect: Connect) -> None:
    assert connect(server.address).ingest("delays", iter([])) == (0, 0, 0, 0, 0)
    assert connect(server.address).ingest("delays", table(0)) == (0, 0, 0, 0, 0)


def test_at_most_a_window_is_unacknowledged(server: Any, sink: Sink, connect: Connect) -> None:
    taken = 0
    held: list[int] = []
    go_on = threading.Event()

    def data() -> Iterator[pa.Table]:
        nonlocal taken
        for first in range(20):
            taken += 1
            if taken == 5:  # four are under way; the fifth was taken, and is held back until one is acknowledged
                go_on.set()
            yield table(1, first)

    def before(_request: wire.IngestFeaturesRequest, _context: grpc.ServicerContext) -> None:
        assert go_on.wait(20)
        held.append(taken - len(sink.rows))

    sink.before = before
    connect(server.address).ingest("delays", data(), window=4)
    assert sink.rows == list(range(20))
    assert max(held) <= 5


def test_progress_tells_what_is_applied(server: Any, sink: Sink, connect: Connect) -> None:
    seen: list[tuple[IngestProgress, threading.Thread]] = []
    connect(server.address).ingest(
        "delays", table(10), batch_rows=1, window=2, progress=lambda now: seen.append((now, threading.current_thread()))
    )
    sequences = [now.acknowledged_sequence for now, _ in seen]
    assert sequences == sorted(set(sequences))
    assert seen[-1][0] == IngestProgress(10, WriteCounts(10, 10, 0, 0, 0))
    assert all(now.counts.rows == now.acknowledged_sequence for now, _ in seen)
    assert {thread for _, thread in seen} == {threading.current_thread()}


def test_a_broken_stream_is_taken_up_by_itself(server: Any, sink: Sink, connect: Connect) -> None:
    breaks = {3, 4, 17}

    def before(request: wire.IngestFeaturesRequest, context: grpc.ServicerContext) -> None:
        if request.sequence in breaks:
            breaks.remove(request.sequence)
            context.abort(grpc.StatusCode.UNAVAILABLE, "draining")

    sink.before = before
    counts = connect(server.address, retry=QUICK).ingest("delays", table(20), batch_rows=1)
    assert sink.streams == 4
    assert sorted(set(sink.rows)) == list(range(20))
    assert counts.rows == 20


def test_a_server_that_restarts_in_between_loses_nothing(server: Any, sink: Sink, connect: Connect) -> None:
    restarted: list[threading.Thread] = []

    def restart() -> None:
        server.stop()
        server.start()

    def data() -> Iterator[pa.Table]:
        for first in range(50):
            if first == 25:
                restarted.append(threading.Thread(target=restart))
                restarted[0].start()
            yield table(1, first)

    counts = connect(server.address, retry=QUICK).ingest("delays", data(), window=2)
    restarted[0].join()
    assert sorted(set(sink.rows)) == list(range(50))
    assert counts.rows == 50


def test_an_interruption_says_where_to_resume(server: Any, sink: Sink, connect: Connect) -> None:
    refusing = True

    def before(request: wire.IngestFeaturesRequest, context: grpc.ServicerContext) -> None:
        if refusing and request.sequence == 5:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "rows_max: full")

    sink.before = before
    client = connect(server.address)
    with pytest.raises(
        featurestore_client.ResourceExhaustedError,
        match=r"rows_max: full; all batches up to sequence 4 are applied: .* resume_after=4",
    ) as caught:
        client.ingest("delays", table(10), batch_rows=1)
    assert caught.value.acknowledged_sequence == 4
    refusing = False
    counts = client.ingest("delays", table(10), batch_rows=1, resume_after=caught.value.acknowledged_sequence)
    assert counts.rows == 6
    assert sink.rows == list(range(10))
    assert sink.sequences == list(range(1, 11))


def test_rows_without_event_times_are_not_sent_twice(server: Any, sink: Sink, connect: Connect) -> None:
    def before(request: wire.IngestFeaturesRequest, context: grpc.ServicerContext) -> None:
        if request.sequence == 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "draining")

    sink.before = before
    with pytest.raises(UnavailableError) as caught:
        connect(server.address, retry=QUICK).ingest("delays", {"id": list(range(10))}, batch_rows=1)
    assert caught.value.acknowledged_sequence == 2
    assert sink.streams == 1


def test_a_stalled_server_ends_in_time(server: Any, sink: Sink, connect: Connect) -> None:
    over = threading.Event()
    sink.before = lambda request, _context: over.wait(20) and None if request.sequence == 3 else None
    started_s = time.monotonic()
    try:
        with pytest.raises(DeadlineExceededError, match=r"no batch was acknowledged for 0\.3 s") as caught:
            connect(server.address).ingest("delays", table(10), batch_rows=1, timeout_s=0.3)
        assert time.monotonic() - started_s < 5
        assert caught.value.acknowledged_sequence == 2
    finally:
        over.set()


def test_a_server_that_stays_away_ends_in_time(server: Any, sink: Sink, connect: Connect) -> None:
    sink.before = lambda request, context: context.abort(grpc.StatusCode.UNAVAILABLE, "x") if request.sequence > 3 else None
    with pytest.raises(UnavailableError) as caught:
        connect(server.address, retry=QUICK).ingest("delays", table(10), batch_rows=1, timeout_s=0.3)
    assert caught.value.acknowledged_sequence == 3


def test_what_was_sent_before_the_data_failed_is_applied(server: Any, sink: Sink, connect: Connect) -> None:
    def data() -> Iterator[Any]:
        yield table(3)
        raise RuntimeError("the file is torn")

    with pytest.raises(RuntimeError, match="the file is torn") as caught:
        connect(server.address).ingest("delays", data())
    assert sink.rows == [0, 1, 2]
    assert "all batches up to sequence 1 are applied" in caught.value.__notes__[0]


def test_a_wrong_value_is_refused_with_the_place_to_resume(server: Any, sink: Sink, connect: Connect) -> None:
    rows = [table(2), {"id": [2], "delay": ["late"]}]
    with pytest.raises(InvalidArgumentError, match=r"delay\[0\]: got 'late', expected a value of float32") as caught:
        connect(server.address).ingest("delays", rows)
    assert caught.value.acknowledged_sequence == 1
    assert sink.rows == [0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window: got 0, expected at least 1 batch"),
        ({"batch_rows": 0}, "batch_rows: got 0"),
        ({"resume_after": -1}, "resume_after: got -1"),
        ({"timeout_s": 0}, "timeout_s: got 0"),
    ],
)
def test_wrong_options_are_refused(server: Any, sink: Sink, connect: Connect, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        connect(server.address).ingest("delays", table(1), **options)


@pytest.mark.parametrize("data", [5, "rows.parquet", [5]])
def test_what_is_no_table_is_refused(server: Any, sink: Sink, connect: Connect, data: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="data: got"):
        connect(server.address).ingest("delays", data)


async def test_asyncio_takes_async_iterables(server: Any, sink: Sink) -> None:
    async def data() -> AsyncIterator[Any]:
        yield table(3)
        yield pd.DataFrame({"id": [3, 4], "delay": [0.5, None]})

    async with featurestore_client.connect_async(server.address) as client:
        assert (await client.ingest("delays", data())).rows == 5
    assert sink.rows == [0, 1, 2, 3, 4]
