"""Load on any running server: how many requests it answers, and how long each takes at a given rate.

First the closed loop (``--closed``: so many in flight), then the open loop (``--open``: requests due at scheduled times, by
default at shares of the best closed loop), for each batch size. Without ``--server`` a server is started with a dataset of
``rows`` rows, whose answers are checked first.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from bench import peers, rounds, wire
from bench.dataset import Dataset
from bench.load import target as targets
from bench.load.callers import Grpcio
from bench.load.client import Client, Outcome, Stage, drive
from bench.remote import Remote
from bench.report import Detail, Report, Result, number, table
from bench.settings import Settings

REQUESTS = 4_096
WRITES = 256
REQUEST_KEYS_MAX = 400_000
OPEN_SHARES = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.2)


def run(settings: Settings, report: Report) -> None:
    """Drives the server through all stages."""
    with _target(settings) as (subject, target):
        print(f"server: {target.address}, {target.features} features, {target.source.count:,} keys", flush=True)
        clients = [Remote(f"load client {place}", Client) for place in range(settings.processes)]
        with rounds.all_of(clients):
            for rows in settings.batch:
                _prepare(clients, subject, target, rows, settings)
                _drive(clients, subject, f"{rows}x{target.features}", settings, report)


@contextmanager
def _target(settings: Settings) -> Iterator[tuple[str, targets.Target]]:
    """Whom to drive, and by which name results go."""
    if settings.server:
        yield "featurestore", targets.find(settings)
        return
    dataset = Dataset(settings.rows, seed=settings.seed)
    with targets.own_server(dataset, peers.memory_directory(), engine=settings.engine) as server:
        server.checked_read(np.random.default_rng(settings.seed).integers(0, dataset.rows, 100))
        yield f"featurestore_{server.server.engine}", server.target


def _prepare(clients: list[Remote], subject: str, target: targets.Target, rows: int, settings: Settings) -> None:
    count = max(16, min(REQUESTS, REQUEST_KEYS_MAX // rows))
    for place, client in enumerate(clients):
        seed = settings.seed * 1_000 + place
        requests = {"read": (wire.GET_FEATURES, target.read_requests(rows, count, seed, settings.zipf))}
        if settings.write_share:
            requests["write"] = (wire.WRITE_FEATURES, target.write_requests(rows, min(count, WRITES), seed, settings.zipf))
        client.ask("prepare", subject, Grpcio(target.address), requests)


def _drive(clients: list[Remote], subject: str, shape: str, settings: Settings, report: Report) -> None:
    best = 0.0
    # Without rates of its own the open loop takes them from the closed one.
    for in_flight in settings.closed if settings.loops != "open" or not settings.open else ():
        stage = _stage(settings, subject, in_flight=in_flight, blocking=in_flight == 1)
        outcome = drive(clients, stage)
        best = max(best, outcome.completed / outcome.seconds)
        _add(report, subject, f"closed_{in_flight}", shape, stage, outcome)
    if settings.loops != "closed":
        for rate in settings.open or [_round_rate(best * share) for share in OPEN_SHARES]:
            stage = _stage(settings, subject, rate=rate)
            _add(report, subject, f"open_{rate:g}", shape, stage, drive(clients, stage))


def _stage(settings: Settings, subject: str, *, in_flight: int = 0, rate: float = 0.0, blocking: bool = False) -> Stage:
    return Stage(
        subject,
        in_flight=in_flight,
        rate=rate,
        write_share=settings.write_share,
        warmup_s=settings.warmup_s,
        duration_s=settings.duration_s,
        timeout_s=settings.timeout_s,
        waiting_max=settings.waiting_max,
        seed=settings.seed,
        blocking=blocking,
    )


def _add(report: Report, subject: str, loop: str, shape: str, stage: Stage, outcome: Outcome) -> None:
    rate = outcome.completed / outcome.seconds
    for kind in ("read", "write"):
        histogram = outcome.histogram(kind)
        if kind == "write" and not histogram.count:
            continue
        percentiles = histogram.percentiles_us()
        case = f"{kind}_{shape}_{loop}"
        extra = {"loop": loop.partition("_")[0], "in_flight": stage.in_flight, "offered_per_s": stage.rate, "shape": shape}
        report.add(
            Result(case, subject, percentiles.get("50"), percentiles.get("99"), rate),
            Detail(case, subject, percentiles, histogram.count, extra={**extra, "kind": kind, "errors": outcome.errors}),
        )
    shown = ", ".join(f"{count} {name}" for name, count in sorted(outcome.errors.items()))
    print(
        f"  {shape} {loop.replace('_', ' ')}: {number(rate)} requests/s" + (f", failed: {shown}" if shown else ""), flush=True
    )
    if shown:
        report.note(f"{shape} {loop}: {shown}")


def _round_rate(rate: float) -> float:
    return float(f"{max(rate, 1):.2g}")


def text(report: Report) -> str:
    """The stages as a table, with more percentiles than other cases have."""
    percentiles = ("50", "90", "99", "99.9", "100")
    rows = []
    for each in report.details:
        result = report.find(each.case, each.subject)
        offered = each.extra["offered_per_s"]
        load = f"{offered:,.0f}/s due" if offered else f"{each.extra['in_flight']} in flight"
        figures = [number(each.percentiles_us.get(percentile)) for percentile in percentiles]
        rate = number(result.ops_per_s if result else None)
        rows.append(
            [f"{each.extra['kind']} {each.extra['shape']}", load, rate, *figures, str(sum(each.extra["errors"].values()))]
        )
    return table(["requests", "load", "requests/s", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us", "failed"], rows)
