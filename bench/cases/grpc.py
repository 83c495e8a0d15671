"""GetFeatures of both engines, and our client, beside a gRPC server that does nothing and beside Redis.

All hold the same rows, and have answered with them before anything is timed; the empty server, grpc.aio's, sends the bytes of
such an answer. Servers have one core, whoever asks them the others. Our native engine and our client look for what
comes next before they sleep (``*_busy_poll_us``), as they do by default; Redis has no such option, nor has grpcio. Three parts,
in each of which subjects take turns:

    h2load_*              load generators in C (h2load; redis-benchmark for Redis): what a server can do
    read_*, throughput_*  grpcio clients, bytes to bytes, one in flight and many: what callers that exist feel
    client_*              from a Python caller to its features: our client on each transport, redis-py, a raw socket to Redis;
                          and what sockets alone take for as many bytes
"""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench import grpc_goals, grpc_servers, peers, rounds, wire
from bench.bare_sockets import BareSocket
from bench.cores import Cores
from bench.dataset import FEATURES, Dataset, Floats, Indices
from bench.grpc_goals import CLIENT, CLIENT_GRPCIO, CLIENT_UNIX, REDIS_PY, REDIS_RAW, SOCKET, SOCKET_UNIX
from bench.grpc_servers import ECHO, GRPCIO, NATIVE, REDIS, REDIS_PIPELINED, TLS, Servers
from bench.h2load import H2load
from bench.load.callers import Caller, FeaturestoreClient, Grpcio
from bench.load.client import Client, Stage, together
from bench.load.redis_callers import RedisPy, RedisRaw, get_command
from bench.load.target import SERVICE
from bench.redis_benchmark import RedisBenchmark
from bench.redis_rows import RedisRows
from bench.remote import Remote
from bench.report import Report, number, table
from bench.server_process import ECHO_SERVICE
from bench.settings import Settings

READ_ROWS = (1, 100)
REQUESTS = 2_000
CHECKED = 5
KEY = "user"
SHARES = {"open_idle": 0.05, "open_half": 0.5}
"""Of the highest load, in open loops: what is idle is counted as what is not, stalls of the machine included."""
OPEN_CALLS = 500  # else there is no p99
OPEN_TURNS_MAX = 10  # but no longer than so many turns of the other cases
LOADS = {"1x1": (1, 1), "16x1": (16, 1), "4x4": (4, 4)}
"""Of h2load: connections x streams of each. Redis gets as many connections as there are requests in flight; and where several
share one here, the same connections with pipelines of as many commands."""


def run(settings: Settings, report: Report) -> None:
    """Measures all three parts, and judges the goals."""
    cores = Cores.split() if settings.pin == "auto" else Cores()
    report.settings |= {"server_cores": sorted(cores.servers), "client_cores": sorted(cores.clients)}
    _Run(settings, report, cores).all()
    grpc_goals.judge(report, settings.in_flight)


class _Run:
    """One run: the data, who takes part, and how their turns are taken."""

    def __init__(self, settings: Settings, report: Report, cores: Cores) -> None:
        self._settings = settings
        self._report = report
        self._cores = cores
        self._dataset = Dataset(settings.rows, seed=settings.seed)
        random = np.random.default_rng(settings.seed)
        self._reads = {rows: random.integers(0, settings.rows, (REQUESTS, rows)) for rows in READ_ROWS}

    def all(self) -> None:
        """The parts, one after the other."""
        with grpc_servers.started(
            self._dataset, self._reads, self._cores, self._report, busy_poll_us=self._settings.server_busy_poll_us
        ) as servers:
            if reason := H2load.missing():
                self._report.note(f"the cases of h2load are left out: {reason}")
            else:
                self._load_generators(servers)
            count = min(self._settings.client_processes, len(self._cores.clients) or self._settings.client_processes)
            clients = [Remote(f"client {number}", Client, cores=self._cores.clients) for number in range(count)]
            with rounds.all_of(clients):
                self._grpcio_clients(servers, clients)
                self._python_clients(servers, clients[:1])

    def _load_generators(self, servers: Servers) -> None:
        seconds = self._settings.seconds
        with tempfile.TemporaryDirectory(prefix="bench-h2load-", dir=peers.memory_directory()) as directory:
            for rows in READ_ROWS:
                generators = self._h2loads(servers, rows, Path(directory))
                redis = self._redis_benchmark(servers.redis, rows) if servers.redis else None
                for load, (connections, streams) in LOADS.items():
                    takes = {name: partial(each.turn, connections, streams, seconds) for name, each in generators.items()}
                    if redis is not None:
                        takes[REDIS] = partial(redis.turn, connections * streams, 1, seconds)
                        if streams > 1:
                            takes[REDIS_PIPELINED] = partial(redis.turn, connections, streams, seconds)
                    self._measure(f"h2load_{rows}x50_{load}", takes)

    def _h2loads(self, servers: Servers, rows: int, directory: Path) -> dict[str, H2load]:
        drawn = self._reads[rows][: self._settings.grpc_rounds]  # h2load has one request a turn
        source = servers.ours[GRPCIO]
        url = f"http://{servers.echo.address}{ECHO_SERVICE}read_{rows}"
        made = {ECHO: H2load(url, source.target.reads_of(drawn), directory / f"{ECHO}_{rows}", self._cores)}
        made[ECHO].check([source.checked_read(drawn[0])] * len(drawn))
        for name, server in servers.ours.items():
            url = f"{'https' if name == TLS else 'http'}://{server.server.address}{wire.GET_FEATURES}"
            made[name] = H2load(url, server.target.reads_of(drawn), directory / f"{name}_{rows}", self._cores)
            made[name].check([server.checked_read(each) for each in drawn])
        return made

    def _redis_benchmark(self, redis: RedisRows, rows: int) -> RedisBenchmark:
        drawn = self._reads[rows][: self._settings.grpc_rounds]
        keys = [redis.request_key(rows, number) for number in range(len(drawn))]
        caller = RedisRaw(redis.port)
        with caller.blocking(timeout_s=10) as bind:
            get = bind(str(rows * FEATURES * 4))
            self._check(REDIS, [caller.rows(get(get_command(key))) for key in keys], drawn)
        return RedisBenchmark(redis.port, keys, self._cores)

    def _grpcio_clients(self, servers: Servers, clients: Sequence[Remote]) -> None:
        plain = {name: server for name, server in servers.ours.items() if name != TLS}
        callers: dict[str, Caller] = {ECHO: Grpcio(servers.echo.address)}
        callers |= {name: Grpcio(server.server.address) for name, server in plain.items()}
        for rows, drawn in self._reads.items():
            requests = {ECHO: (ECHO_SERVICE + f"read_{rows}", servers.ours[GRPCIO].target.reads_of(drawn))}
            requests |= {name: (wire.GET_FEATURES, server.target.reads_of(drawn)) for name, server in plain.items()}
            self._prepare(clients, callers, requests, drawn)
            self._drive(f"read_{rows}x50", clients[:1], callers, in_flight=1)
            self._drive(f"throughput_{rows}x50", clients, callers, in_flight=self._settings.in_flight)

    def _python_clients(self, servers: Servers, clients: Sequence[Remote]) -> None:
        ours: dict[str, Caller] = {}
        if NATIVE in servers.ours:
            server, busy_poll_us = servers.ours[NATIVE].server, self._settings.client_busy_poll_us
            ours[CLIENT] = FeaturestoreClient(server.url, "native", busy_poll_us)
            ours[CLIENT_UNIX] = FeaturestoreClient(server.unix_url, "native", busy_poll_us)
            ours[CLIENT_GRPCIO] = FeaturestoreClient(server.url, "grpcio")
        redis = servers.redis
        others: dict[str, Caller] = {REDIS_RAW: RedisRaw(redis.port), REDIS_PY: RedisPy(redis.port)} if redis else {}
        for rows, drawn in self._reads.items():
            keys = [{KEY: self._dataset.integer_keys(each)} for each in drawn]
            requests: dict[str, tuple[str, Sequence[Any]]] = dict.fromkeys(ours, (SERVICE, keys))
            if redis is not None:
                requests |= {REDIS_RAW: redis.raw_reads(drawn), REDIS_PY: redis.packed_reads(drawn)}
            self._prepare(clients, ours | others, requests, drawn)
            sockets = self._bare_sockets(servers, clients, rows)
            self._drive(f"client_{rows}x50", clients, ours | others | sockets, in_flight=1)
            if rows == 1:
                self._concurrent(clients, ours)

    def _bare_sockets(self, servers: Servers, clients: Sequence[Remote], rows: int) -> dict[str, Caller]:
        source, drawn = servers.ours[GRPCIO], self._reads[rows]
        sizes = len(source.target.reads_of(drawn[:1])[0]), len(source.checked_read(drawn[0]))
        sockets: dict[str, Caller] = {
            SOCKET: BareSocket(servers.sockets.address, *sizes),
            SOCKET_UNIX: BareSocket(servers.sockets.path, *sizes),
        }
        for client, (name, caller) in product(clients, sockets.items()):
            client.ask("prepare", name, caller, {"read": ("", [None])})
        return sockets

    def _concurrent(self, clients: Sequence[Remote], callers: Mapping[str, Caller]) -> None:
        """asyncio clients: one call in flight, as many as ever, and parts of what that comes to, at random times."""
        self._drive("client_async_1x50", clients, callers, in_flight=1, blocking=False)
        self._drive("client_async_throughput_1x50", clients, callers, in_flight=self._settings.in_flight)
        for load, share in SHARES.items():
            self._measure(f"client_{load}_1x50", {name: self._take_share(name, clients, share) for name in callers})

    def _take_share(self, name: str, clients: Sequence[Remote], share: float) -> rounds.Take:
        # Of what can be done now: half of what a machine did a minute ago may be more than it does in this one.
        highest = self._take(name, clients, in_flight=self._settings.in_flight)

        def take(seed: int) -> rounds.Measured:
            found = highest(seed)
            rate = share * found.calls / found.seconds
            length_s = min(max(OPEN_CALLS / rate, found.seconds), OPEN_TURNS_MAX * found.seconds)
            return self._take(name, clients, rate=rate, duration_s=length_s)(seed)

        return take

    def _prepare(
        self,
        clients: Sequence[Remote],
        callers: Mapping[str, Caller],
        requests: Mapping[str, tuple[str, Sequence[Any]]],
        drawn: Indices,
    ) -> None:
        """Hands out requests, and compares the answers to the first of them with the data."""
        for name, caller in callers.items():
            for client in clients:
                client.ask("prepare", name, caller, {"read": requests[name]})
            expected = drawn[[0] * CHECKED] if name == ECHO else drawn[:CHECKED]  # the empty server knows one answer
            self._check(name, clients[0].ask("rows", name, CHECKED), expected)

    def _check(self, name: str, answers: Sequence[Floats], drawn: Indices) -> None:
        for found, indices in zip(answers, drawn, strict=True):
            expected = self._dataset.chunk(indices).floats
            if not np.array_equal(found, expected):
                raise RuntimeError(f"{name} answers {len(indices)} rows wrongly: got {found}, expected {expected}")

    def _drive(self, case: str, clients: Sequence[Remote], callers: Mapping[str, Caller], **options: Any) -> None:
        self._measure(case, {name: self._take(name, clients, **options) for name in callers})

    def _take(self, name: str, clients: Sequence[Remote], *, in_flight: int = 0, **options: Any) -> rounds.Take:
        seconds = self._settings.seconds
        return lambda seed: together(clients, replace(Stage.turn(name, in_flight, seconds, seed), **options))

    def _measure(self, case: str, takes: Mapping[str, rounds.Take]) -> None:
        chosen = {name: take for name, take in takes.items() if not self._settings.subjects or name in self._settings.subjects}
        rounds.run(self._report, case, chosen, rounds=self._settings.grpc_rounds, seed=self._settings.seed)
        print(f"  {case} measured", flush=True)


def text(report: Report) -> str:
    """The results, with the mean, and each rate against that of the case's reference: the empty server, or the raw socket."""
    rows = []
    previous = ""
    for each in report.results:
        detail = report.detail(each.case, each.subject)
        means = [figures["mean_us"] for figures in detail.rounds if "mean_us" in figures] if detail else []
        own = next((rate for name in (ECHO, REDIS_RAW) if (rate := report.value(each.case, name, "ops_per_s"))), None)
        rows.append(
            [
                each.case if each.case != previous else "",
                each.subject,
                number(each.ops_per_s),
                number(statistics.median(means)) if means else "",
                number(each.p50_us),
                number(each.p99_us),
                f"{each.ops_per_s / own:.2f}x" if own and each.ops_per_s else "",
            ]
        )
        previous = each.case
    return table(["case", "subject", "requests/s", "mean us", "p50 us", "p99 us", "rate of the first"], rows)
