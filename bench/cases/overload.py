"""More requests than the server can answer: what becomes of those it takes up, and of those it refuses.

Reads of many rows of one feature, so that a request is more to the server than to the one who sends it. A server on one core,
and on the other a client process that costs little a request (``load/sessions``), in an open loop: at half of the capacity, at
all of it, and at 2 and 4 times as much. The capacity is the most that is answered in a second at any load: from what a closed
loop finds, more and more is offered, until not all of it is answered in its second. Beside it the same server without
admission (``bench.unshedding``). ``crowd`` is 200 connections at a fifth of the capacity: alone, and among 5,000 idle ones,
slow readers, half-open ones, 200 a second that come and go, and requests of the largest size. Latencies are of what was due
within the stage, however late its answer came.
"""

import resource
import socket
import statistics
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from featurestore_client.grpc_framing import frame
from featurestore_client.http2 import Headers, ProtocolError, Session

from bench import peers, wire
from bench.cores import Cores, started_on
from bench.dataset import Dataset
from bench.grpc_servers import native_missing
from bench.histogram import Histogram
from bench.load.sessions import Outcome, SessionsClient, Stage, request_pairs
from bench.load.target import OwnServer, own_server
from bench.remote import Remote
from bench.report import Detail, Report, Result, number, table
from bench.server_process import COMMAND
from bench.settings import Settings
from featurestore.priority import give_way

READ_ROWS = {False: (300, 1_000), True: (300,)}
"""Without and with --quick; one feature of each. (With 50 the client process, which is Python, is overloaded before.)"""
CONNECTIONS = 8
IN_FLIGHT = 32
CROWD_LOAD = 0.2
"""With so many connections a request has a system call of its own at each end, and the client process gets by with no more."""
MORE, ANSWERED_SHARE = 1.2, 0.98
ROUNDS = {False: 5, True: 1}
"""Of each load, in turns."""
LOADS = (0.5, 1.0, 2.0, 4.0)
REQUESTS = 1_000
SUBJECTS = {"featurestore": (COMMAND,), "without admission": (sys.executable, "-m", "bench.unshedding")}
SLOWER_MAX = 3.0
ACTIVE, IDLE, SLOW = {False: 200, True: 20}, {False: 5_000, True: 100}, 50
"""Connections; the first two without and with --quick."""
LARGE_BYTES = 60 << 20
LARGE_EVERY_S = 1.0
FLOOD_PER_S = 200
PATIENCE_S = 0.2


def run(settings: Settings, report: Report) -> None:
    """Measures, and judges the goals."""
    if reason := native_missing():
        report.note(f"nothing is measured: {reason}")
        return
    cores = Cores.split() if settings.pin == "auto" else Cores()
    report.settings |= {
        "server_cores": sorted(cores.servers),
        "client_cores": sorted(cores.clients),
        "connections": CONNECTIONS,
        "in_flight_of_capacity": IN_FLIGHT,
    }
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    dataset = Dataset(settings.rows, seed=settings.seed)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for name, command in SUBJECTS.items():
            started = own_server(dataset, peers.memory_directory(), cores=cores.servers, command=command)
            with started as server:
                for rows in READ_ROWS[settings.quick]:
                    capacity = _overload(name, server, rows, cores, settings, report)
                    if name == "featurestore" and rows == READ_ROWS[True][0]:
                        _crowd(server, capacity, rows, cores, settings, report)
    _judge(report)


def _overload(name: str, server: OwnServer, rows: int, cores: Cores, settings: Settings, report: Report) -> float:
    """Returns the capacity."""
    with _client(server, rows, CONNECTIONS, cores, settings) as client:
        outcome = _stage(client, settings, in_flight=IN_FLIGHT)
        capacity = rate = outcome.answered_per_s
        _add(report, f"read_{rows}x1_in_flight", name, [outcome], 0.0)
        answered, best = rate, ([outcome], 0.0)
        while answered >= ANSWERED_SHARE * rate:
            rate = capacity * MORE
            outcome = _stage(client, settings, rate=rate)
            answered = outcome.answered_per_s
            if answered > capacity:
                capacity, best = answered, ([outcome], rate)
        _add(report, f"read_{rows}x1_capacity", name, *best)
        outcomes: dict[float, list[Outcome]] = {load: [] for load in LOADS}
        for number in range(ROUNDS[settings.quick]):
            for load, each in outcomes.items():
                each.append(_stage(client, settings, rate=capacity * load, number=number))
        for load, each in outcomes.items():
            _add(report, f"read_{rows}x1_{load:g}x", name, each, capacity * load)
    return capacity


def _crowd(server: OwnServer, capacity: float, rows: int, cores: Cores, settings: Settings, report: Report) -> None:
    with _client(server, rows, ACTIVE[settings.quick], cores, settings) as client:
        rate = capacity * CROWD_LOAD

        def stages() -> list[Outcome]:
            return [_stage(client, settings, rate=rate, number=number) for number in range(ROUNDS[settings.quick])]

        _add(report, "crowd", "alone", stages(), rate)
        with crowd(server, IDLE[settings.quick], cores):
            _add(report, "crowd", "in the crowd", stages(), rate)


def _client(server: OwnServer, rows: int, connections: int, cores: Cores, settings: Settings) -> Remote:
    dataset = server.dataset
    selected = wire.selection("default", "", [f"{dataset.view.name}:{dataset.feature_names[0]}"])
    target = replace(server.target, selected=selected, schema_id=0)
    requests = target.read_requests(rows, REQUESTS // 10, settings.seed)
    arguments = (server.target.address, connections, wire.GET_FEATURES, requests)
    return Remote("load client", SessionsClient, *arguments, cores=cores.clients)


def _stage(client: Remote, settings: Settings, *, rate: float = 0.0, in_flight: int = 0, number: int = 0) -> Outcome:
    stage = Stage(rate, in_flight, settings.overload_s, settings.overload_s / 4, settings.seed * 1_000 + number)
    outcome: Outcome = client.ask("run", stage)
    return outcome


@contextmanager
def crowd(server: OwnServer, idle: int, cores: Cores) -> Iterator[None]:
    """Connections of all bad kinds, while in the block.

    Their threads leave the server's core alone, and the clients' to the clients: what is measured is what they cost the server.
    """
    host, _, port = server.target.address.rpartition(":")
    address, over = (host, int(port)), threading.Event()
    opened: list[socket.socket] = []

    def connected(receive_bytes: int = 0) -> tuple[socket.socket, Session]:
        one = socket.socket()
        opened.append(one)
        if receive_bytes:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        one.connect(address)
        session = Session(client=True, window_bytes=1 << 30, connection_window_bytes=1 << 30)
        while not session.is_greeted:
            one.sendall(session.take())
            session.receive(one.recv(1 << 16))
        one.sendall(session.take())
        return one, session

    def come_and_go() -> None:
        give_way()
        while not over.wait(1 / FLOOD_PER_S):
            socket.create_connection(address).close()

    def send_large() -> None:
        # All of a request but its end, so that the server holds it: refused once too many do.
        give_way()
        while not over.is_set():
            one, session = connected()
            one.settimeout(PATIENCE_S)
            session.request(_head(server), frame(bytes(LARGE_BYTES))[:-1], False)
            with suppress(OSError, ProtocolError):
                while (data := session.take()) and not over.is_set():
                    one.sendall(data)
                    session.receive(one.recv(1 << 16))
            over.wait(LARGE_EVERY_S)
            one.close()

    threads = [threading.Thread(target=come_and_go), threading.Thread(target=send_large)]
    try:
        for _ in range(idle):
            connected()
        for number in range(SLOW):
            one = socket.create_connection(address)  # half open
            one.sendall(b"PRI * HTTP/2.0\r\n")
            opened.append(one)
            one, session = connected(receive_bytes=4_096)
            request = frame(server.target.read_requests(1_000, 1, number)[0])
            for _ in range(20):
                session.request(_head(server), request, True)
            one.sendall(session.take())  # and nobody reads the answers
        with started_on(cores.clients):
            for thread in threads:
                thread.start()
        yield
    finally:
        over.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        for one in opened:
            one.close()


def _head(server: OwnServer) -> Headers:
    return Headers(request_pairs(server.target.address, wire.GET_FEATURES))


def _add(report: Report, case: str, subject: str, outcomes: Sequence[Outcome], rate: float) -> None:
    """A figure is the median of its rounds; what is drawn is all of them."""
    failed: Counter[str] = Counter()
    for each in outcomes:
        failed.update(each.failed)
    accepted = Histogram(each.accepted for each in outcomes)
    found = _medians([Histogram([each.accepted]) for each in outcomes])
    per_s = statistics.median(each.answered_per_s for each in outcomes)
    extra = {
        "offered_per_s": rate,
        "refused_per_s": statistics.median(Histogram([each.refused]).count / each.seconds for each in outcomes),
        "refused_us": _medians([Histogram([each.refused]) for each in outcomes]),
        "sent_late_us": _medians([Histogram([each.late]) for each in outcomes]),
        "failed": dict(failed),
    }
    report.add(
        Result(case, subject, found.get("50"), found.get("99"), per_s),
        Detail(case, subject, accepted.percentiles_us(), accepted.count, extra=extra),
    )
    print(f"  {case} {subject}: {number(per_s)}/s, p99 {number(found.get('99'))} us", flush=True)


def _medians(histograms: Sequence[Histogram]) -> dict[str, float]:
    each = [histogram.percentiles_us((50, 99)) for histogram in histograms if histogram.count]
    return {name: statistics.median(one[name] for one in each) for name in ("50", "99")} if each else {}


def _judge(report: Report) -> None:
    for rows in READ_ROWS[False]:
        half, twice = (report.value(f"read_{rows}x1_{load}x", "featurestore", "p99_us") for load in ("0.5", "2"))
        text = f"{rows}x1 at twice the capacity: p99 of the accepted at most {SLOWER_MAX:g}x of it at half"
        report.goal(text, half and twice and twice / half, SLOWER_MAX, unit="x")
        most, kept = (report.value(f"read_{rows}x1_{each}", "featurestore", "ops_per_s") for each in ("capacity", "2x"))
        text = f"{rows}x1 at twice the capacity: as many are answered as it can at least 0.8x of"
        report.goal(text, most and kept and kept / most, 0.8, least=True, unit="x")
    alone, among = (report.value("crowd", subject, "p99_us") for subject in ("alone", "in the crowd"))
    report.goal("200 connections in the crowd: p99 at most 3x of it alone", alone and among and among / alone, 3.0, unit="x")


def text(report: Report) -> str:
    """What was offered, answered and refused, and how long each took."""
    rows = []
    for each in report.details:
        figures = [report.value(each.case, each.subject, figure) for figure in ("ops_per_s", "p50_us", "p99_us")]
        extra, refused = each.extra, each.extra["refused_us"]
        rows.append(
            [
                each.case,
                each.subject,
                number(extra["offered_per_s"]),
                *map(number, figures),
                *(number(value) for value in (extra["refused_per_s"], refused.get("50"), refused.get("99"))),
                str(sum(extra["failed"].values())),
            ]
        )
    heads = ["case", "subject", "offered/s", "answered/s", "p50 us", "p99 us", "refused/s", "p50 us", "p99 us", "failed"]
    return table(heads, rows)
