"""The replay as one picture: the worst day of the month, how well flights were sorted, how long the fetches took."""

from pathlib import Path
from typing import Any

import features
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd

mpl.use("agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

Floats = npt.NDArray[np.float32]
MODEL, BASELINE, SEEN, INK, FAINT = "#0b6e99", "#d9822b", "#9aa5b1", "#1f2933", "#e4e7eb"


def draw(path: Path, flights: pd.DataFrame, predicted: Floats, baseline: Floats, fetch_us: npt.NDArray[np.float64]) -> None:
    """Writes the picture as PNG. ``predicted`` and ``baseline`` are minutes of delay, a row a flight."""
    style: dict[Any, Any] = {
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": SEEN,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.titlesize": 11,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": FAINT,
        "legend.framealpha": 0.9,
        "legend.edgecolor": "none",
        "xtick.color": INK,
        "ytick.color": INK,
    }
    scheduled = pd.to_datetime(flights["scheduled"] * 60, unit="s", utc=True).dt.tz_convert(features.HELD_OUT.tz)
    known = flights.assign(predicted=predicted, baseline=baseline, at=scheduled)[flights["delay"].notna()]
    with plt.rc_context(style):
        figure = plt.figure(figsize=(11, 8), dpi=130, layout=ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12))
        grid = figure.add_gridspec(2, 2)
        _day(figure.add_subplot(grid[0, :]), known)
        _sorted(figure.add_subplot(grid[1, 0]), known)
        _fetches(figure.add_subplot(grid[1, 1]), fetch_us)
        figure.savefig(path)
        plt.close(figure)


def _day(axes: Axes, known: pd.DataFrame) -> None:
    day = known.groupby(known["at"].dt.date)["delay"].median().idxmax()
    flights = known[known["at"].dt.date == day]
    hour = flights["local_hour"].astype(float)
    shown_max = 240
    axes.scatter(hour, flights["delay"].clip(upper=shown_max), s=10, color=SEEN, alpha=0.6, linewidths=0, label="a flight")
    by_hour = flights.groupby(np.floor(hour))[["delay", "predicted", "baseline"]].median()
    by_hour = by_hour[flights.groupby(np.floor(hour)).size() >= 10]
    for name, color, label in (
        ("delay", INK, "what came to pass, median of the hour"),
        ("predicted", MODEL, "predicted an hour before, with features"),
        ("baseline", BASELINE, "predicted from the timetable alone"),
    ):
        line = "-" if name != "delay" else (0, (4, 2))
        axes.plot(by_hour.index + 0.5, by_hour[name], color=color, linewidth=2.4, linestyle=line, label=label)
    axes.set(
        title=f"The worst day held out: {day:%A, %d %B %Y}",
        xlabel="scheduled departure, hour in New York",
        ylabel=f"delay, minutes (shown up to {shown_max})",
        xlim=(5, 24),
        ylim=(-20, shown_max + 5),
        xticks=range(5, 25),
    )
    axes.legend(loc="upper left", ncols=2)


def _sorted(axes: Axes, known: pd.DataFrame) -> None:
    tenths = np.arange(10)
    late = (known["delay"] >= features.LATE_MINUTES).to_numpy()
    bars = ((-0.2, "predicted", MODEL, "by the model with features"), (0.2, "baseline", BASELINE, "by the timetable alone"))
    for shift, name, color, label in bars:
        order = np.argsort(known[name].to_numpy(), kind="stable")
        share = [100 * late[part].mean() for part in np.array_split(order, 10)]
        axes.bar(tenths + shift, share, width=0.38, color=color, label=label)
    axes.axhline(100 * late.mean(), color=INK, linewidth=1, linestyle=(0, (4, 2)))
    axes.annotate("all flights", (-0.5, 100 * late.mean()), xytext=(0, 4), textcoords="offset points", fontsize=9)
    axes.set(
        title=f"Flights that left {features.LATE_MINUTES} minutes late or more",
        xlabel="flights in tenths, sorted by predicted delay",
        ylabel="percent of the tenth",
        xticks=tenths,
    )
    axes.set_xticklabels(["least", *[""] * 8, "most"])
    axes.grid(visible=False, axis="x")
    axes.legend(loc="upper left")


def _fetches(axes: Axes, fetch_us: npt.NDArray[np.float64]) -> None:
    p50, p99 = np.percentile(fetch_us, [50, 99])
    edges = np.geomspace(fetch_us.min(), 2.5 * p99, 60)
    axes.hist(fetch_us, bins=edges.tolist(), color=MODEL)
    axes.set_ylim(top=axes.get_ylim()[1] * 1.1)
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    round_us = (100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 20_000)
    ticks = [each for each in round_us if edges[0] <= each <= edges[-1]]
    axes.set_xticks(ticks, [f"{each / 1_000:g}" for each in ticks])
    axes.set_xticks([], minor=True)
    for value, name, height in ((p50, "p50", 0.98), (p99, "p99", 0.91)):
        axes.axvline(value, color=INK, linewidth=1, linestyle=(0, (4, 2)))
        axes.annotate(
            f"{name} {value / 1_000:.2f} ms",
            (value, height),
            xycoords=("data", "axes fraction"),
            xytext=(5, 0),
            textcoords="offset points",
            va="top",
        )
    axes.set(title=f"{len(fetch_us):,} fetches over gRPC", xlabel="milliseconds, request to matrix", ylabel="fetches")
    axes.grid(visible=False, axis="x")
