"""The feature store by each of its ways beside its peers: Redis, memcached, LMDB, Quorin and Feast, from a Python caller.

Every subject is a process of its own (in the environment of the peer), with its own server where it has one, and holds the same
rows: 50 float32 under random int64 keys. They are loaded in turns, a part of the rows each, which is the case ``bulk_load``;
``memory`` is what they take then; and after their answers have been compared with the data, reads of random keys take turns,
one call in flight. Callers have one core and servers the other, where there are two.
"""

from collections.abc import Iterator

from bench import peers, peers_goals
from bench.cores import Cores
from bench.dataset import Dataset
from bench.environments import ENVIRONMENTS
from bench.report import Report, Result, number
from bench.rounds import Take
from bench.rounds import run as run_rounds
from bench.settings import Settings
from bench.subject_runner import Work
from bench.subjects import PEERS
from bench.worker import Worker

READ_ROWS = (1, 10, 100, 1_000)
COLUMNS = {
    **{f"read_{rows}x50": (f"{rows}x50, us", "p50_us") for rows in READ_ROWS},
    "bulk_load": ("load, rows/s", "ops_per_s"),
    "memory": ("bytes/row", "bytes_per_row"),
}
"""Of the table: each case's head, and which of its figures."""


def run(settings: Settings, report: Report) -> None:
    """Measures, and judges the goals."""
    cores = Cores.split() if settings.pin == "auto" else Cores()
    report.settings |= {"server_cores": sorted(cores.servers), "client_cores": sorted(cores.clients)}
    report.machine["environments"] = {name: each.versions() for name, each in ENVIRONMENTS.items() if not each.missing()}
    dataset = Dataset(settings.peers_rows, seed=settings.seed)
    with peers.started(PEERS, dataset, settings, report, cores) as workers:
        print("started: " + ", ".join(worker.name for worker in workers), flush=True)
        _load(workers, settings, report)
        loaded = peers.Peers(dataset, workers, settings, report)
        peers.compare(dataset, workers, settings.seed)
        for rows in READ_ROWS:
            case = f"read_{rows}x50"
            loaded.measure(case, Work("read", rows, settings.peers_seconds), rounds=settings.peers_rounds)
            print(f"  {case} measured", flush=True)
        for name, each in loaded.bytes_per_row.items():
            report.add(Result("memory", name, bytes_per_row=each))
    peers_goals.judge(report)


def _load(workers: list[Worker], settings: Settings, report: Report) -> None:
    def take(worker: Worker) -> Take:
        parts = _parts(settings.peers_rows, settings.peers_load_rounds)
        return lambda _seed: worker.load(*next(parts))

    takes = {worker.name: take(worker) for worker in workers}
    run_rounds(report, "bulk_load", takes, rounds=settings.peers_load_rounds, seed=settings.seed)
    print(f"  bulk_load measured: {settings.peers_rows:,} rows each", flush=True)


def _parts(rows: int, count: int) -> Iterator[tuple[int, int]]:
    return ((rows * number // count, rows * (number + 1) // count) for number in range(count))


def text(report: Report) -> str:
    """One line a subject, fastest at 100 rows first, as a table that Markdown takes as it is."""
    heads = ["subject", *(head for head, _ in COLUMNS.values())]
    subjects = sorted(report.subjects(), key=lambda name: report.value("read_100x50", name, "p50_us") or 0)
    lines = [[name, *(number(report.value(case, name, figure)) for case, (_, figure) in COLUMNS.items())] for name in subjects]
    widths = [max(len(line[column]) for line in [heads, *lines]) for column in range(len(heads))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |"
        for line in [heads, rule, *lines]
    )
