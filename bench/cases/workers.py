"""``serve --workers``: what more processes bring, and what they cost, under h2load.

    one_core_*    all processes of a server on one core, h2load on the others: what a request costs, whoever answers it
    all_cores_*   nothing pinned, so that h2load takes its part of the same cores: what this machine allows
    write_*       one row a write, which a reader hands to the owner

And the instructions of a request, by callgrind: those of all readers together, which must not grow with their number.
"""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from featurestore_client import connect

from bench import instructions, peers, rounds, wire
from bench.cores import Cores
from bench.dataset import Dataset
from bench.grpc_servers import native_missing
from bench.h2load import H2load
from bench.instructions import Counting
from bench.load.target import OwnServer, own_server
from bench.report import Detail, Report, number, table
from bench.settings import Settings

SUBJECTS = {"one_process": 0, "workers_1": 1, "workers_2": 2}
COUNTED = {False: {**SUBJECTS, "workers_4": 4}, True: {"workers_1": 1}}
INSTRUCTIONS = "instructions_1x50"
READ_ROWS = (1, 100)
CONNECTIONS = 16
"""So that the kernel spreads them over the readers."""
COUNTED_ROWS = 10_000
COUNTED_REQUESTS = {False: 4_000, True: 200}
"""Of one stretch; as ``COUNTED``, without and with --quick."""


def run(settings: Settings, report: Report) -> None:
    """Measures all parts, and judges the goals."""
    if reason := H2load.missing() or native_missing():
        report.note(f"nothing is measured: {reason}")
        return
    cores = Cores.split() if settings.pin == "auto" else Cores()
    report.settings |= {
        "server_cores": sorted(cores.servers),
        "client_cores": sorted(cores.clients),
        "connections": CONNECTIONS,
    }
    for part, each in (("one_core", cores), ("all_cores", Cores())):
        _rates(settings, report, part, each)
    if reason := instructions.missing():
        report.note(f"instructions are not counted: {reason}")
    else:
        _instructions(settings, report)
    _judge(report)


def _rates(settings: Settings, report: Report, part: str, cores: Cores) -> None:
    dataset = Dataset(settings.rows, seed=settings.seed)
    random = np.random.default_rng(settings.seed)
    memory_directory = peers.memory_directory()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-workers-", dir=memory_directory)))
        servers = {
            name: stack.enter_context(own_server(dataset, memory_directory, workers=workers, cores=cores.servers))
            for name, workers in SUBJECTS.items()
        }
        for rows in READ_ROWS:
            drawn = random.integers(0, settings.rows, (settings.grpc_rounds, rows))
            loads: dict[str, H2load] = {}
            for name, server in servers.items():
                url = f"http://{server.server.address}{wire.GET_FEATURES}"
                loads[name] = H2load(url, server.target.reads_of(drawn), directory / f"{name}_{rows}", cores)
                loads[name].check([server.checked_read(each) for each in drawn])
            _measure(settings, report, f"{part}_{rows}x50", loads)
        writes = {
            name: H2load(
                f"http://{server.server.address}{wire.WRITE_FEATURES}",
                server.target.write_requests(1, settings.grpc_rounds, settings.seed),
                directory / f"{name}_write",
                cores,
            )
            for name, server in servers.items()
        }
        _measure(settings, report, f"write_{part}_1x50", writes)


def _measure(settings: Settings, report: Report, case: str, loads: Mapping[str, H2load]) -> None:
    takes = {name: partial(each.turn, CONNECTIONS, 1, settings.seconds) for name, each in loads.items()}
    rounds.run(report, case, takes, rounds=settings.grpc_rounds, seed=settings.seed)
    print(f"  {case} measured", flush=True)


def _instructions(settings: Settings, report: Report) -> None:
    dataset = Dataset(min(settings.rows, COUNTED_ROWS), seed=settings.seed)
    drawn = np.random.default_rng(settings.seed).integers(0, dataset.rows, (1, 1))
    requests = COUNTED_REQUESTS[settings.quick]
    memory_directory = peers.memory_directory()
    for name, workers in COUNTED[settings.quick].items():
        with ExitStack() as stack:
            temporary = tempfile.TemporaryDirectory(prefix="bench-workers-", dir=memory_directory)
            directory = Path(stack.enter_context(temporary))
            counting = Counting(directory)
            started = own_server(
                dataset, memory_directory, workers=workers, command=counting.command, start_s=instructions.START_S
            )
            server = stack.enter_context(started)
            url = f"http://{server.server.address}{wire.GET_FEATURES}"
            load = H2load(url, server.target.reads_of(drawn), directory / "load", Cores())
            counted = _counted(counting, server, load, requests)
        report.details.append(Detail(INSTRUCTIONS, name, calls=requests, extra={"instructions": counted}))
        print(f"  instructions of {name} counted", flush=True)


def _counted(counting: Counting, server: OwnServer, load: H2load, requests: int) -> float:
    with connect(server.server.url) as client:
        found = client.status()["processes"]
    answering = [process["pid"] for process in found if process["role"] in ("server", "reader")]
    counting.begin(answering)
    _send(load, requests // 4)
    counting.take(answering)
    _send(load, requests)
    return counting.take(answering) / requests


def _send(load: H2load, requests: int) -> None:
    answered, _ = load.send(requests, CONNECTIONS)
    if answered != requests:
        raise RuntimeError(f"{answered} of {requests} requests were answered")


def instructions_of(report: Report, subject: str) -> float | None:
    """Those of one request; None where they were not counted."""
    found = report.detail(INSTRUCTIONS, subject)
    return None if found is None else found.extra["instructions"]


def _judge(report: Report) -> None:
    one, four = instructions_of(report, "workers_1"), instructions_of(report, "workers_4")
    if one and four:
        goal = "instructions of a request, all readers together: 4 readers at most 1.05x of 1"
        report.goal(goal, four / one, 1.05, unit="x")
    for rows in READ_ROWS:
        case = f"all_cores_{rows}x50"
        two, alone = (report.value(case, name, "ops_per_s") for name in ("workers_2", "one_process"))
        if two and alone:
            goal = f"{rows}x50, all cores: 2 readers answer at least what one process does"
            report.goal(goal, two / alone, 1, least=True, unit="x")


def text(report: Report) -> str:
    """The results, each rate against that of one process; and the instructions of a request."""
    rows = []
    for each in report.results:
        own = report.value(each.case, "one_process", "ops_per_s")
        rate = f"{each.ops_per_s / own:.2f}x" if own and each.ops_per_s else ""
        rows.append([each.case, each.subject, *map(number, (each.ops_per_s, each.p50_us, each.p99_us)), rate, ""])
    for detail in report.details:
        if detail.case == INSTRUCTIONS:
            rows.append([detail.case, detail.subject, "", "", "", "", number(detail.extra["instructions"])])
    return table(["case", "subject", "requests/s", "p50 us", "p99 us", "of one process", "instructions"], rows)
