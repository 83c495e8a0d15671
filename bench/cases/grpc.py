"""A server's GetFeatures beside a gRPC server that returns the same bytes without doing anything: what our handler costs.

Both get the same requests from the same clients (grpcio, raw bytes): one in flight from a blocking client, and ``in_flight``
spread over ``client_processes`` processes of asyncio clients. The answers were checked against the data, and the echo server
returns those very bytes.
"""

import numpy as np

from bench import peers, rounds, wire
from bench.dataset import Dataset
from bench.load.client import Client, Stage, together
from bench.load.target import own_server
from bench.remote import Remote
from bench.report import Report
from bench.server_process import ECHO_SERVICE, EchoServer
from bench.settings import Settings

READ_ROWS = (1, 100)
OURS, ECHO = "featurestore_grpcio", "grpc_echo"
SLOWER_MAX = 1.15
REQUESTS = 2_000


def run(settings: Settings, report: Report) -> None:
    """Measures both servers in turns, and judges the goals."""
    dataset = Dataset(settings.rows, seed=settings.seed)
    with own_server(dataset, peers.memory_directory()) as server:
        random = np.random.default_rng(settings.seed)
        answers = {f"read_{rows}": server.checked_read(random.integers(0, dataset.rows, rows)) for rows in READ_ROWS}
        with EchoServer(answers) as echo:
            for rows in READ_ROWS:
                requests = server.target.read_requests(rows, REQUESTS, settings.seed)
                paths = {OURS: (server.target.address, wire.GET_FEATURES), ECHO: (echo.address, ECHO_SERVICE + f"read_{rows}")}
                _measure(report, settings, f"read_{rows}x50", requests, paths, in_flight=1)
                _measure(report, settings, f"throughput_{rows}x50", requests, paths, in_flight=settings.in_flight)
    judge(report, settings)


def _measure(
    report: Report,
    settings: Settings,
    case: str,
    requests: list[bytes],
    paths: dict[str, tuple[str, str]],
    *,
    in_flight: int,
) -> None:
    processes = min(in_flight, settings.client_processes)

    def take(clients: list[Remote]) -> rounds.Take:
        return lambda seed: together(clients, Stage.turn(in_flight, settings.seconds, seed))

    clients = {
        name: [Remote(f"client of {name}", Client, address, {"read": (path, requests)}) for _ in range(processes)]
        for name, (address, path) in paths.items()
    }
    with rounds.all_of(client for each in clients.values() for client in each):
        rounds.run(
            report,
            case,
            {name: take(each) for name, each in clients.items()},
            rounds=settings.rounds,
            seed=settings.seed,
        )


def judge(report: Report, settings: Settings) -> None:
    """The service's goals, as the issue sets them."""
    for rows in READ_ROWS:
        one, many = f"read_{rows}x50", f"throughput_{rows}x50"
        ours, echo = report.value(one, OURS, "p50_us"), report.value(one, ECHO, "p50_us")
        ratio = ours / echo if ours and echo else None
        report.goal(f"{one}, one in flight: p50 within 15 % of a handler that does nothing", ratio, SLOWER_MAX, unit="x")
        ours, echo = report.value(many, OURS, "ops_per_s"), report.value(many, ECHO, "ops_per_s")
        ratio = echo / ours if ours and echo else None
        report.goal(f"{many}, {settings.in_flight} in flight: requests/s within 15 % of it", ratio, SLOWER_MAX, unit="x")
        report.goal(f"{one}, one in flight: p99 below 1 ms", report.value(one, OURS, "p99_us"), 1_000, unit=" us", digits=0)
