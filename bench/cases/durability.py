"""What it costs to keep writes: the three modes of ``--fsync`` beside Redis's append-only file in its three.

Four clients, a process each, write rows of 200 bytes over TCP as fast as they are acknowledged: 100 rows a request beside 100
pipelined ``SET`` of packed rows, which the goals are about, and beside one ``MSET`` of them, which costs Redis less; and one
row beside one ``SET``. To Redis a row is 200 bytes whatever is in it; here it is one ``float32[50]`` in one view, and 50
``float32`` in another. Then one client reads while the four write. A server without a journal (``bench.unjournaled``) takes
part, so that what the journal costs can be told from all else. All of them run the whole time and take turns; journals are on
the disk, tables in memory.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from featurestore_client.wire import featurestore_raw_pb2 as raw

from bench import peers, rounds, wire
from bench.cores import Cores
from bench.dataset import FEATURES, Dataset, Indices
from bench.load.bare_grpc import BareGrpc, Framed, framed
from bench.load.client import Client, Stage, together
from bench.load.redis_callers import RedisSet, set_command
from bench.redis_process import RedisProcess
from bench.remote import Remote
from bench.report import Report
from bench.server_process import COMMAND, FeaturestoreServer
from bench.settings import Settings
from bench.subjects.packed_rows import split
from featurestore.model import FeatureView

CLIENTS = 4
SHAPES = ("vector", "floats")
REQUESTS = {False: {100: 200, 1: 2_000}, True: {100: 10, 1: 100}}
"""Of each client, by rows, and whether the run is a quick one."""
PAIRS = {"always": "always", "interval": "everysec", "never": "no"}
WITHOUT = "no journal"
MSET = "MSET"


def run(settings: Settings, report: Report) -> None:
    """Starts them all, and lets them take turns."""
    dataset = Dataset(settings.disk_keys, seed=settings.seed)
    cores, requests = Cores.split(), REQUESTS[settings.quick]
    with ExitStack() as stack:
        disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-durability-", dir=settings.disk or None)))
        ours = _servers(stack, dataset, disk, cores)
        redis = _redis(stack, disk, cores, report)
        clients = [
            stack.enter_context(Remote(f"client {number}", Client, cores=cores.clients)) for number in range(CLIENTS + 1)
        ]
        for shape in SHAPES:
            for rows, count in requests.items():
                names = _prepare(clients[:CLIENTS], dataset, ours, redis, shape, rows, count, settings.seed)
                _measure_writes(clients[:CLIENTS], names, f"write_{rows}_{shape}", rows, settings, report)
        _prepare(clients[:CLIENTS], dataset, ours, {}, SHAPES[0], 100, requests[100], settings.seed)
        _measure_reads(clients, dataset, ours, settings, report)
    _judge(report)


def _servers(stack: ExitStack, dataset: Dataset, disk: Path, cores: Cores) -> dict[str, str]:
    """Our servers' addresses by name."""
    addresses = {}
    for name in (*(f"fsync {mode}" for mode in PAIRS), WITHOUT):
        command = (sys.executable, "-m", "bench.unjournaled") if name == WITHOUT else (COMMAND,)
        server = stack.enter_context(
            FeaturestoreServer(
                peers.memory_directory(),
                cores=cores.servers,
                command=command,
                data_directory=disk / name.replace(" ", "-"),
                fsync=name.removeprefix("fsync ") if name != WITHOUT else "never",
            )
        )
        with wire.Channel(server.address) as channel:
            wanted = raw.ApplyRequest(definitions=wire.definitions([dataset.entity], [dataset.view, _vector_view(dataset)]))
            channel.call("Apply", wanted, raw.ApplyResponse)
        addresses[name] = server.address
    return addresses


def _redis(stack: ExitStack, disk: Path, cores: Cores, report: Report) -> dict[str, int]:
    """Redis's ports by name."""
    if reason := RedisProcess.missing():
        report.note(f"Redis is left out: {reason}")
        return {}
    ports = {}
    for mode in PAIRS.values():
        directory = disk / f"redis-{mode}"
        directory.mkdir()
        process = RedisProcess(directory, tcp=True, cores=cores.servers, appendfsync=mode)
        stack.callback(process.stop)
        ports[f"Redis AOF {mode}"] = process.port
    return ports


def _prepare(
    clients: Sequence[Remote],
    dataset: Dataset,
    ours: Mapping[str, str],
    redis: Mapping[str, int],
    shape: str,
    rows: int,
    count: int,
    seed: int,
) -> list[str]:
    """Hands each client requests of its own, the same rows to each subject. The subjects' names."""
    for number, client in enumerate(clients):
        drawn = np.random.default_rng(seed * 100 + number).integers(0, dataset.rows, (count, rows))
        written = [_write_request(dataset, shape, each) for each in drawn]
        for name, address in ours.items():
            client.ask("prepare", name, BareGrpc(address), {"write": (wire.WRITE_FEATURES, written)})
        packed = [_packed(dataset, each) for each in drawn]
        pipelined = [b"".join(set_command([row]) for row in each) for each in packed]
        at_once = [set_command(each) for each in packed]
        for name, port in redis.items():
            client.ask("prepare", name, RedisSet(port), {"write": (str(rows), pipelined)})
            if rows > 1:
                client.ask("prepare", f"{name}, {MSET}", RedisSet(port), {"write": ("1", at_once)})
    return [*ours, *redis, *(f"{name}, {MSET}" for name in redis if rows > 1)]


def _vector_view(dataset: Dataset) -> FeatureView:
    feature = {"name": "values", "type": f"float32[{FEATURES}]"}
    return FeatureView.model_validate({"name": "bench_vector", "entity": dataset.entity.name, "features": [feature]})


def _write_request(dataset: Dataset, shape: str, indices: Indices) -> Framed:
    keys, floats = {"user": dataset.integer_keys(indices)}, dataset.chunk(indices).floats
    if shape == "vector":
        batch, view = wire.write_batch(keys, {"values": floats.reshape(-1)}, None), "bench_vector"
    else:
        columns = dict(zip(dataset.feature_names, np.ascontiguousarray(floats.T), strict=True))
        batch, view = wire.write_batch(keys, columns, None), dataset.view.name
    return framed(wire.WRITE_FEATURES, wire.write_request("default", view, batch))


def _packed(dataset: Dataset, indices: Indices) -> list[tuple[bytes, bytes]]:
    values = split(dataset.chunk(indices).floats.tobytes(), FEATURES * 4)
    keys = split(dataset.integer_keys(indices).tobytes(), 8)
    return list(zip(keys, values, strict=True))


def _stage(name: str, clients: int, seconds: float, seed: int, write_share: float) -> Stage:
    return replace(Stage.turn(name, clients, seconds, seed), blocking=True, write_share=write_share)


def _measure_writes(
    clients: Sequence[Remote], names: Sequence[str], case: str, rows: int, settings: Settings, report: Report
) -> None:
    def take(name: str) -> rounds.Take:
        return lambda seed: together(clients, _stage(name, len(clients), settings.disk_seconds, seed, 1.0), "write")

    takes = {name: take(name) for name in names}
    rounds.run(report, case, takes, rounds=settings.disk_rounds, seed=settings.seed, units_per_call=rows)
    print(f"  {case} measured", flush=True)


def _measure_reads(
    clients: Sequence[Remote], dataset: Dataset, ours: Mapping[str, str], settings: Settings, report: Report
) -> None:
    """One client reads, one row a request, while the others write."""
    *writers, reader = clients
    drawn = np.random.default_rng(settings.seed).integers(0, dataset.rows, (2_000, 1))
    selected = wire.selection("default", "", [f"{dataset.view.name}:{name}" for name in dataset.feature_names])
    reads = [framed(wire.GET_FEATURES, wire.read_request(selected, {"user": dataset.integer_keys(each)})) for each in drawn]
    for name, address in ours.items():
        reader.ask("prepare", f"{name} reads", BareGrpc(address), {"read": (wire.GET_FEATURES, reads)})

    def take(name: str) -> rounds.Take:
        def turn(seed: int) -> rounds.Measured:
            stage = _stage(name, 1, settings.disk_seconds, seed, 1.0)
            for client in writers:
                client.begin("run", stage, 0)
            reader.begin("run", replace(stage, subject=f"{name} reads", write_share=0.0), 0)
            outcomes = [client.answer() for client in (reader, *writers)]
            if errors := [outcome.errors for outcome in outcomes if outcome.errors]:
                raise RuntimeError(f"calls to {name} failed: {errors}")
            return rounds.Measured(outcomes[0].histogram("read"), outcomes[0].completed, outcomes[0].seconds)

        return turn

    takes = {name: take(name) for name in ours}
    rounds.run(report, "read_while_writing", takes, rounds=settings.disk_rounds, seed=settings.seed)
    print("  read_while_writing measured", flush=True)


def _judge(report: Report) -> None:
    for mode, redis_mode in PAIRS.items():
        for shape, (rows, goal) in product(SHAPES, ((100, 2.0 if mode == "always" else 3.0), (1, 1.0))):
            own = report.value(f"write_{rows}_{shape}", f"fsync {mode}", "ops_per_s")
            theirs = report.value(f"write_{rows}_{shape}", f"Redis AOF {redis_mode}", "ops_per_s")
            what = f"{mode}, {rows} row{'s' * (rows > 1)} a write, {shape}"
            text = f"{what}: at least {goal:g}x the rows/s of Redis AOF {redis_mode}"
            report.goal(text, own and theirs and own / theirs, goal, least=True, unit="x")
        reading = report.value("read_while_writing", f"fsync {mode}", "ops_per_s")
        without = report.value("read_while_writing", WITHOUT, "ops_per_s")
        text = f"reads while four clients write at full speed, {mode}: at least 0.9x those without a journal"
        report.goal(text, reading and without and reading / without, 0.9, least=True, unit="x")
