"""``featurestore ingest`` of Parquet and CSV into a running server, and where its time goes.

The command's own time is taken, as it prints it (it is checked against the clock, and a note says what starting the process
adds), each turn into a new view. Beside it each part of the way alone, on the same rows: decoding the file, encoding batches
for the wire, streaming the messages to a server that only acknowledges, writing to the kernel. The command overlaps them, so
its rate should come near that of the slowest part, two cores permitting.
"""

import json
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
from featurestore_client import columns as client_columns
from featurestore_client.encoding import ingest_request
from featurestore_client.types import ViewSchema, parse_type
from featurestore_client.wire import featurestore_raw_pb2 as raw

from bench import peers, rounds, wire
from bench.dataset import FEATURES, Dataset
from bench.histogram import Histogram
from bench.report import Report
from bench.server_process import COMMAND, ECHO_SERVICE, EchoServer, FeaturestoreServer
from bench.settings import Settings
from featurestore.model import FeatureView
from featurestore.store import Column, Store

OURS = "featurestore"
KEY, TIMESTAMP = "user", "event_timestamp"
WRITE_ROWS = 100_000
BATCH_ROWS = 12_000  # about 2.5 MB on the wire, as the command cuts them
GOALS = {"ingest_parquet": 1.0, "ingest_csv": 0.3}


def run(settings: Settings, report: Report) -> None:
    """Makes the files, and times the command and its parts in turns."""
    directory = Path(tempfile.mkdtemp(prefix="featurestore-bench-ingest-", dir=peers.memory_directory()))
    acknowledgement = raw.IngestFeaturesResponse(sequence=1, counts=raw.WriteCounts(rows=1)).SerializeToString()
    try:
        with (
            FeaturestoreServer(peers.memory_directory(), engine=settings.engine) as server,
            EchoServer({"stream": acknowledgement}) as echo,
        ):
            for case, rows in (("ingest_parquet", settings.ingest_rows), ("ingest_csv", settings.ingest_csv_rows)):
                dataset, path = Dataset(rows, seed=settings.seed), directory / f"rows.{case.partition('_')[2]}"
                _write_file(dataset, path)
                print(f"{case}: {dataset.rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB", flush=True)
                way = _Way(dataset, path, server, echo)
                takes = {name: _take(part, rows) for name, part in way.parts().items()}
                rounds.run(report, case, takes, rounds=settings.ingest_rounds, seed=settings.seed)
                report.note(f"{case}: starting and ending the command's process adds {statistics.median(way.starts_s):.2f} s")
                path.unlink()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for case, goal in GOALS.items():
        rate = report.value(case, OURS, "ops_per_s")
        kind = {"ingest_parquet": "Parquet", "ingest_csv": "CSV"}[case]
        text = f"{kind} of 50 float32 into a running server: at least {goal:g} M rows/s"
        report.goal(text, rate and rate / 1e6, goal, least=True, unit=" M rows/s")


class _Way:
    """The way of one file's rows into the server, whole and in parts; each part returns its seconds."""

    def __init__(self, dataset: Dataset, path: Path, server: FeaturestoreServer, echo: EchoServer) -> None:
        self._dataset, self._path, self._server, self._echo = dataset, path, server, echo
        features = dict.fromkeys(dataset.feature_names, parse_type("float32"))
        self._schema = ViewSchema("default", dataset.view.name, {KEY: parse_type("int64")}, features)
        self._batches = list(_batches(dataset))
        self._messages = [_encode(self._schema, number, batch) for number, batch in enumerate(self._batches, 1)]
        self.starts_s: list[float] = []

    def parts(self) -> dict[str, Callable[[], float]]:
        """The command, and what it is made of."""
        return {
            OURS: self._command,
            "decode alone": lambda: _timed(lambda: _decode(self._path)),
            "encode alone": lambda: _timed(lambda: [_encode(self._schema, 1, batch) for batch in self._batches]),
            "stream alone": lambda: _timed(self._stream),
            "kernel alone": lambda: _kernel(self._dataset, self._batches),
        }

    def _command(self) -> float:
        own_s, whole_s = _command(self._dataset, self._path, self._server)
        self.starts_s.append(whole_s - own_s)
        return own_s

    def _stream(self) -> None:
        with wire.Channel(self._echo.address) as channel:
            answered = sum(1 for _ in channel.stream(ECHO_SERVICE + "stream", iter(self._messages)))
        assert answered == len(self._messages), f"{answered} of {len(self._messages)} messages were acknowledged"


def _take(part: Callable[[], float], rows: int) -> rounds.Take:
    def take(_: int) -> rounds.Measured:
        seconds = part()
        histogram = Histogram()
        histogram.record(int(seconds * 1e9))
        return rounds.Measured(histogram, rows, seconds)

    return take


def _timed(part: Callable[[], object]) -> float:
    began = time.perf_counter()
    part()
    return time.perf_counter() - began


def _batches(dataset: Dataset, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    event_us = time.time_ns() // 1_000 - 3_600_000_000
    names = [KEY, TIMESTAMP, *dataset.feature_names]
    for start in range(0, dataset.rows, rows):
        chunk = dataset.slice(start, start + rows)
        times = pa.array(np.full(chunk.rows, event_us), pa.timestamp("us", "UTC"))
        yield pa.record_batch([pa.array(chunk.keys), times, *map(pa.array, np.ascontiguousarray(chunk.floats.T))], names=names)


def _write_file(dataset: Dataset, path: Path) -> None:
    batches = _batches(dataset, WRITE_ROWS)
    first = next(batches)
    if path.suffix == ".parquet":
        # Random floats do not compress: what a file of real features mostly is. A row group is what a reader holds at once.
        with pa_parquet.ParquetWriter(path, first.schema, compression="snappy", use_dictionary=False) as writer:
            for batch in (first, *batches):
                writer.write_batch(batch, row_group_size=WRITE_ROWS)
    else:
        with pa_csv.CSVWriter(path, first.schema) as csv_writer:
            for batch in (first, *batches):
                csv_writer.write_batch(batch)


def _decode(path: Path) -> int:
    """Reads the file on one thread, and keeps nothing."""
    if path.suffix == ".parquet":
        with pa_parquet.ParquetFile(path) as file:
            return sum(batch.num_rows for batch in file.iter_batches(use_threads=False))
    types = {f"f{number:02d}": pa.float32() for number in range(FEATURES)} | {KEY: pa.int64()}
    with pa_csv.open_csv(
        path, pa_csv.ReadOptions(use_threads=False), convert_options=pa_csv.ConvertOptions(column_types=types)
    ) as reader:
        return sum(batch.num_rows for batch in reader)


def _encode(schema: ViewSchema, sequence: int, batch: pa.RecordBatch) -> bytes:
    """A batch as the client sends it."""
    encoded = client_columns.write_batch(schema, batch, timestamp_column=TIMESTAMP)
    return ingest_request(schema.project, schema.view, sequence, encoded)


def _kernel(dataset: Dataset, batches: list[pa.RecordBatch]) -> float:
    directory = Path(tempfile.mkdtemp(prefix="featurestore-bench-kernel-", dir=peers.memory_directory()))
    store = Store.open(directory / "data", segments=directory / "segments")
    try:
        table = store.create_table(dataset.view, dataset.entity)
        now_us = time.time_ns() // 1_000
        prepared = [
            (
                [batch.column(0).to_numpy()],
                batch.column(1).cast(pa.int64()).to_numpy(),
                {name: Column(batch.column(name).to_numpy()) for name in dataset.feature_names},
            )
            for batch in batches
        ]
        return _timed(lambda: [table.write(*each, now_us=now_us) for each in prepared])
    finally:
        store.close()
        shutil.rmtree(directory, ignore_errors=True)


def _command(dataset: Dataset, path: Path, server: FeaturestoreServer) -> tuple[float, float]:
    """Runs ``featurestore ingest`` into a view without rows, checks what it says, and returns its own and the whole time."""
    name = f"bench_{path.suffix[1:]}_{random.randrange(1 << 40):x}"
    view: FeatureView = dataset.view.model_copy(update={"name": name})
    with wire.Channel(server.address) as channel:
        wanted = raw.ApplyRequest(definitions=wire.definitions([dataset.entity], [view]))
        channel.call("Apply", wanted, raw.ApplyResponse)
        command = [COMMAND, "ingest", name, str(path), "--server", f"grpc://{server.address}", "--json"]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2_000:]}")
        said = json.loads(done.stdout)
        if said["written"] != dataset.rows or not 0 < said["seconds"] <= seconds:
            raise RuntimeError(f"{' '.join(command)} says {said}, expected {dataset.rows} rows written within {seconds:.3f} s")
        channel.call("Apply", _without(channel, name), raw.ApplyResponse)
    return said["seconds"], seconds


def _without(channel: wire.Channel, name: str) -> raw.ApplyRequest:
    """Drops one view, so that the next turn has its memory: everything else as it is, pruned."""
    views = channel.call("ListFeatureViews", raw.ListFeatureViewsRequest(), raw.ListFeatureViewsResponse).feature_views
    entities = channel.call("ListEntities", raw.ListEntitiesRequest(), raw.ListEntitiesResponse).entities
    kept = raw.Definitions(entities=entities, feature_views=[view for view in views if view.name != name])
    return raw.ApplyRequest(definitions=kept, prune=True)
