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
            addresses = {OURS: server.target.address, ECHO: echo.address}
            clients = {
                name: [Remote(f"client of {name}", Client, address) for _ in range(settings.client_processes)]
                for name, address in addresses.items()
            }
            with rounds.all_of(client for each in clients.values() for client in each):
                for rows in READ_ROWS:
                    requests = server.target.read_requests(rows, REQUESTS, settings.seed)
                    for name, path in ((OURS, wire.GET_FEATURES), (ECHO, ECHO_SERVICE + f"read_{rows}")):
                        for client in clients[name]:
                            client.ask("prepare", {"read": (path, requests)})
                    for case, in_flight in ((f"read_{rows}x50", 1), (f"throughput_{rows}x50", settings.in_flight)):
                        takes = {name: _take(each, in_flight, settings.seconds) for name, each in clients.items()}
                        rounds.run(report, case, takes, rounds=settings.rounds, seed=settings.seed)
    judge(report, settings)


def _take(clients: list[Remote], in_flight: int, seconds: float) -> rounds.Take:
    return lambda seed: together(clients, Stage.turn(in_flight, seconds, seed))


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
