"""The harness: subjects take turns in shuffled rounds; a figure is the median of its subject's rounds.

Interleaving is what makes ratios hold on a machine that others use: what disturbs a round disturbs every subject in it.
"""

import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from bench.histogram import Histogram
from bench.remote import Remote
from bench.report import Detail, Report, Result


class Measured(NamedTuple):
    """What one turn measured: each call's duration, and how many were done in how long."""

    histogram: Histogram
    calls: int
    seconds: float
    figures_us: Mapping[str, float] = {}
    """In place of a histogram, from a load generator that prints no more: ``50``, ``99`` and ``mean``."""


Take = Callable[[int], Measured]


def run(
    report: Report,
    case: str,
    subjects: Mapping[str, Take],
    *,
    rounds: int,
    seed: int,
    units_per_call: int = 1,
    bytes_per_row: Mapping[str, float] | None = None,
) -> None:
    """Gives each subject its turn in each of ``rounds`` rounds, and adds a result for each to the report.

    ``units_per_call`` turns calls a second into rows a second, where that is what the case counts.
    """
    order = random.Random(f"{seed} {case}")
    histograms = {name: Histogram() for name in subjects}
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in subjects}
    for number in range(rounds):
        names = list(subjects)
        order.shuffle(names)
        for name in names:
            # The seed is the round's: all subjects read the same keys in it.
            turn = subjects[name](seed * 1_000 + number)
            histograms[name].add(turn.histogram)
            found = turn.figures_us or {**turn.histogram.percentiles_us((50, 99)), "mean": turn.histogram.mean_us}
            figures[name].append(
                {
                    "p50_us": found["50"],
                    "p99_us": found["99"],
                    "mean_us": found["mean"],
                    "ops_per_s": turn.calls * units_per_call / turn.seconds,
                }
            )
    for name, each in figures.items():
        median = {figure: statistics.median(values[figure] for values in each) for figure in each[0]}
        report.add(
            Result(case, name, median["p50_us"], median["p99_us"], median["ops_per_s"], (bytes_per_row or {}).get(name)),
            Detail(case, name, histograms[name].percentiles_us(), histograms[name].count, each),
        )


@contextmanager
def all_of(remotes: Iterable[Remote]) -> Iterator[None]:
    """Ends all of these processes on leaving."""
    with ExitStack() as stack:
        for each in remotes:
            stack.enter_context(each)
        yield
