"""Plots of reports: one function a case, drawn from the report alone, so that an old JSON can be drawn again.

Every figure ends in a line that says on what it was taken. Times are on log scales, where equal distances are equal ratios.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from bench import machine
from bench.report import Detail, Report, Result, number

COLORS = {
    "featurestore": "#0b6e4f",
    "featurestore_grpcio": "#8ac6a9",
    "featurestore_native": "#0b6e4f",
    "featurestore_native_tls": "#4f9d7f",
    "featurestore_client": "#0b6e4f",
    "featurestore_client_unix": "#084c37",
    "featurestore_client_grpcio": "#8ac6a9",
    "one_process": "#8ac6a9",
    "workers_1": "#4f9d7f",
    "workers_2": "#0b6e4f",
    "workers_4": "#084c37",
    "featurestore_shm": "#0b6e4f",
    "featurestore_unix": "#2f8f6b",
    "featurestore_grpc": "#4f9d7f",
    "grpc_echo": "#8d99ae",
    "memcached": "#3a6ea5",
    "quorin": "#6d597a",
    "feast_redis": "#b56576",
    "feast_sqlite": "#c98b97",
    "feast_http": "#dbb0b8",
    "redis_get": "#e09f3e",
    "redis_get_pipelined": "#f2cc8f",
    "redis_raw": "#e09f3e",
    "redis_py": "#f2cc8f",
    "lmdb": "#d1495b",
    "dict_numpy": "#3a6ea5",
    "dict_lists": "#8fb8de",
    "redis_packed": "#e09f3e",
    "redis_hash": "#f2cc8f",
}
SEQUENCE = ("#0b6e4f", "#3a6ea5", "#e09f3e", "#d1495b", "#6d597a", "#8d99ae", "#2a9d8f", "#b56576")
_FOOT_SETTINGS = (
    *("rows", "peers_rows", "rounds", "grpc_rounds", "peers_rounds", "seconds", "peers_seconds", "in_flight", "batch_rows"),
    *("server_cores", "client_cores", "duration_s", "processes", "zipf", "write_share", "ingest_rows"),
)
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "legend.frameon": False,
    "figure.dpi": 120,
    "savefig.facecolor": "white",
}


def draw(report: Report, path: Path) -> None:
    """Draws the report of any case into a file; its suffix says which format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        figure = _DRAWINGS[report.case](report)
        figure.text(0.01, 0.008, _foot(report), fontsize=7, color="#6b7280", ha="left", va="bottom")
        figure.savefig(path)
        plt.close(figure)


def _kernel(report: Report) -> Any:
    cases = [case for case in report.cases() if case.startswith(("read_", "write"))]
    columns = 3
    lines = -(-(len(cases) + 1) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(13, 2.9 * lines), squeeze=False)
    panels = axes.reshape(-1)
    for panel, case in zip(panels, cases, strict=False):
        results = [each for each in report.results if each.case == case]
        if case.startswith("write"):
            _bars(panel, [(each.subject, each.ops_per_s) for each in results], lambda value: f"{number(value / 1e6)} M/s")
            panel.set_title(_WRITES[case])
        else:
            _bars(panel, [(each.subject, each.p50_us) for each in results], lambda value: f"{number(value)} us")
            shape, _, strings = case.removeprefix("read_").partition("_")
            panel.set_title(f"read {shape.replace('x', ' x ')}" + (" with strings" if strings else ""))
    _memory_bars(panels[len(cases)], report, "read_1x50", "bytes a row, linear")
    for panel in panels[len(cases) + 1 :]:
        panel.set_visible(False)
    text = "Reads: median time of a call, shorter is better. Writes: rows a second, longer is better. Bars on log scales."
    figure.text(0.01, 0.952, text, fontsize=10, color="#374151", ha="left", va="top")
    return _titled(figure, "The kernel beside its peers: " + _rows(report), top=0.95)


def _memory(report: Report) -> Any:
    figure, panels = plt.subplots(1, 2, figsize=(12, 4))
    _memory_bars(panels[0], report, "memory", "50 float32, int64 keys")
    _memory_bars(panels[1], report, "memory_strings", "45 float32 and 5 strings, string keys")
    return _titled(figure, "Bytes a row (the values of the left one are 200): " + _rows(report))


def _scale(report: Report) -> Any:
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.8))
    for panel, shape in zip(panels, ("read_1x50", "read_100x50"), strict=True):
        per_call = int(shape.removeprefix("read_").partition("x")[0])
        for subject in report.subjects():
            points = [
                (int(each.case.rpartition("_")[2]), each.p50_us * 1_000 / per_call)
                for each in report.results
                if each.subject == subject and each.case.startswith(shape + "_of_") and each.p50_us
            ]
            panel.plot(*zip(*points, strict=True), marker="o", color=COLORS.get(subject), label=subject, linewidth=2)
            for rows, each_ns in points if subject == "featurestore" else ():
                panel.annotate(
                    f"{each_ns:,.0f}", (rows, each_ns), xytext=(0, -14), textcoords="offset points", ha="center", fontsize=8
                )
        panel.set_xscale("log")
        panel.set_yscale("log")
        _plain_log(panel.yaxis)
        panel.set_xlabel("rows in the table")
        panel.set_ylabel("ns a row, median")
        panel.set_title(f"{per_call} row{'s' if per_call > 1 else ''} a call")
        panel.margins(y=0.15)
    panels[0].legend()
    return _titled(figure, "Cost of a read as the table grows")


def _grpc(report: Report) -> Any:
    cases = [case for case in _GRPC if case.format(1) in report.cases()]
    figure, axes = plt.subplots(len(cases), 2, figsize=(12, 2.7 * len(cases)), squeeze=False)
    for case, line in zip(cases, axes, strict=True):
        for panel, rows in zip(line, (1, 100), strict=True):
            results = [each for each in report.results if each.case == case.format(rows)]
            panel.set_visible(bool(results))
            if results and case in _GRPC_RATES:
                _bars(panel, [(each.subject, each.ops_per_s) for each in results], number, log=False)
            elif results:
                _bars(panel, [(each.subject, each.p50_us) for each in results], lambda value: f"{number(value)} us", log=False)
            panel.set_title(f"{rows} x 50, {_GRPC[case]}: {'requests/s' if case in _GRPC_RATES else 'p50'}")
    return _titled(figure, "GetFeatures beside a gRPC server that does nothing, and Redis: " + _rows(report))


def _shared_memory(report: Report) -> Any:
    figure, axes = plt.subplots(2, 3, figsize=(14, 6))
    for case, panel in zip(report.cases(), axes.reshape(-1), strict=False):
        results = [each for each in report.results if each.case == case]
        if case.startswith("readers"):
            _bars(panel, [(each.subject, each.ops_per_s) for each in results], lambda value: f"{value:,.0f}", log=False)
            panel.set_title(f"{case}: calls/s together")
        elif "beside" in case:
            _bars(panel, [(each.subject, each.p99_us) for each in results], lambda value: f"{number(value)} us", log=False)
            panel.set_title(f"{case}: p99")
        else:
            _bars(panel, [(each.subject, each.p50_us) for each in results], lambda value: f"{number(value)} us", log=False)
            panel.set_title(f"{case}: p50 of a call")
    for panel in axes.reshape(-1)[len(report.cases()) :]:
        panel.set_visible(False)
    return _titled(figure, "Reads through shared memory: " + _rows(report))


def _workers(report: Report) -> Any:
    cases = [case for case in report.cases() if not case.startswith("instructions")]
    columns = 3
    lines = -(-(len(cases) + 1) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(13, 2.4 * lines), squeeze=False)
    panels = list(axes.flat)
    for panel, case in zip(panels, cases, strict=False):
        found = [(each.subject, each.ops_per_s) for each in report.results if each.case == case]
        _bars(panel, found, number, log=False)
        panel.set_title(f"{case}: requests/s")
    counted = [(each.subject, each.extra["instructions"]) for each in report.details if "instructions" in each.extra]
    if counted:
        _bars(panels[len(cases)], counted, number, log=False)
        panels[len(cases)].set_title("1x50: instructions a request, all readers together")
    for panel in panels[len(cases) + bool(counted) :]:
        panel.set_visible(False)
    return _titled(figure, "serve --workers N: " + _rows(report), top=0.95)


def _peers(report: Report) -> Any:
    figure, axes = plt.subplots(2, 3, figsize=(14, 8.6))
    panels = dict(zip(report.cases(), axes.reshape(-1), strict=False))
    for case, panel in panels.items():
        results = [each for each in report.results if each.case == case]
        if case.startswith("read_"):
            values = sorted(((each.subject, each.p50_us) for each in results), key=lambda each: each[1] or 0)
            _bars(panel, values, lambda value: f"{number(value)} us")
            panel.set_title(f"{case.removeprefix('read_').replace('x', ' x ')}: us a call, median")
        elif case == "bulk_load":
            rates = sorted(((each.subject, each.ops_per_s) for each in results), key=lambda each: -(each[1] or 0))
            _bars(panel, rates, lambda value: f"{value:,.0f}")
            panel.set_title("bulk load: rows/s, longer is better")
        else:
            taken = sorted(((each.subject, each.bytes_per_row) for each in results), key=lambda each: each[1] or 0)
            _bars(panel, taken, lambda value: f"{value:,.0f}")
            panel.set_title("memory: bytes a row")
    for panel in axes.reshape(-1)[len(panels) :]:
        panel.set_visible(False)
    rows = f"{report.settings['peers_rows']:,} rows x 50 features"
    return _titled(figure, f"From a Python caller to its features, one call in flight (log scales): {rows}")


def _ingest(report: Report) -> Any:
    cases = report.cases()
    figure, panels = plt.subplots(1, len(cases), figsize=(6.5 * len(cases), 4), squeeze=False)
    for panel, case in zip(panels[0], cases, strict=True):
        results = [each for each in report.results if each.case == case]
        colors = ["#0b6e4f" if each.subject == "featurestore" else "#8d99ae" for each in results]
        rates = [(each.subject, each.ops_per_s and each.ops_per_s / 1e6) for each in results]
        _bars(panel, rates, lambda value: f"{number(value)} M", log=False, colors=colors)
        panel.set_title(f"{case}: M rows/s of each part alone, and of all")
    return _titled(figure, "featurestore ingest: where the time goes")


def _load(report: Report) -> Any:
    shapes = list(dict.fromkeys((each.extra["kind"], each.extra["shape"]) for each in report.details))
    figure, axes = plt.subplots(len(shapes), 2, figsize=(13, 4.6 * len(shapes)), squeeze=False)
    for (kind, shape), (left, right) in zip(shapes, axes, strict=True):
        mine = [each for each in report.details if (each.extra["kind"], each.extra["shape"]) == (kind, shape)]
        opened = [each for each in mine if each.extra["loop"] == "open"] or mine
        for each, color in zip(opened, SEQUENCE * len(opened), strict=False):
            offered = each.extra["offered_per_s"]
            _percentile_curve(left, each, color, f"{offered:,.0f}/s due" if offered else f"{each.extra['in_flight']} in flight")
        _percentile_axis(left)
        left.set_title(
            f"{kind} {shape}: latency" + (" from the time a request was due" if opened[0].extra["loop"] == "open" else "")
        )
        left.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        for loop, marker, line in (("open", "o", "-"), ("closed", "s", "--")):
            for percentile, color in (("50", "#0b6e4f"), ("99", "#d1495b")):
                points = sorted(
                    (each.extra["offered_per_s"] or _rate(report, each), _rate(report, each), each.percentiles_us[percentile])
                    for each in mine
                    if each.extra["loop"] == loop and each.percentiles_us
                )
                if points:
                    achieved, latencies = [point[1] for point in points], [point[2] for point in points]
                    label = f"p{percentile}, {loop} loop"
                    right.plot(achieved, latencies, marker=marker, linestyle=line, color=color, label=label, linewidth=1.8)
        right.set_yscale("log")
        _plain_log(right.yaxis)
        right.set_xlim(left=0)
        right.set_xlabel("requests answered a second")
        right.set_ylabel("latency, us")
        right.set_title(f"{kind} {shape}: throughput against latency")
        right.legend(fontsize=8, loc="best")
    return _titled(figure, "Load on a server over gRPC")


_GRPC_RATES = {
    "h2load_{}x50_16x1": "h2load 16 connections",
    "h2load_{}x50_4x4": "h2load 4 x 4 streams",
    "throughput_{}x50": "grpcio clients",
}
_GRPC = {
    **_GRPC_RATES,
    "h2load_{}x50_1x1": "h2load one in flight",
    "read_{}x50": "a grpcio client",
    "client_{}x50": "Python to features",
}

_WRITES = {"write": "overwrite rows", "write_insert": "insert rows"}


def _journal(report: Report) -> Any:
    return _rates(report, "Journals to choose from: rows a second, by rows of a message and mode, longer is better")


def _durability(report: Report) -> Any:
    return _rates(report, "Writes that are kept, and reads meanwhile: rows a second, longer is better")


def _start(report: Report) -> Any:
    title = "Starts, and the longest call while a snapshot is taken or not: milliseconds, shorter is better"
    return _panels(report, title, lambda each: each.p50_us and each.p50_us / 1e3)


def _rates(report: Report, title: str) -> Any:
    return _panels(report, title, lambda each: each.ops_per_s)


def _panels(report: Report, title: str, figure_of: Callable[[Result], float | None]) -> Any:
    cases = report.cases()
    figure, axes = plt.subplots(-(-len(cases) // 3), 3, figsize=(13, 2.9 * -(-len(cases) // 3)), squeeze=False)
    panels = axes.reshape(-1)
    for panel, case in zip(panels, cases, strict=False):
        _bars(panel, [(each.subject, figure_of(each)) for each in report.results if each.case == case], number)
        panel.set_title(case.replace("_", " "))
    for panel in panels[len(cases) :]:
        panel.set_visible(False)
    return _titled(figure, title)


def _overload(report: Report) -> Any:
    shapes = sorted({each.case.split("_")[1] for each in report.results if each.case.startswith("read_")}, key=len)
    figure, axes = plt.subplots(len(shapes), 2, figsize=(13, 4.2 * len(shapes)), squeeze=False)
    for shape, (left, right) in zip(shapes, axes, strict=True):
        for subject in ("featurestore", "without admission"):
            mine = [each for each in report.details if each.case.startswith(f"read_{shape}_") and each.subject == subject]
            points = [(each.extra["offered_per_s"], _rate(report, each), each) for each in mine if each.extra["offered_per_s"]]
            color, offered = COLORS.get(subject, "#d1495b"), [point[0] for point in points]
            left.plot(offered, [point[1] for point in points], marker="o", color=color, label=f"answered, {subject}")
            latencies = [point[2].percentiles_us.get("99") for point in points]
            right.plot(offered, latencies, marker="o", color=color, label=f"p99 of the answered, {subject}")
            if subject == "featurestore":
                refused = [point[2].extra["refused_per_s"] for point in points]
                left.plot(offered, refused, marker="s", linestyle="--", color="#8d99ae", label="refused")
                some = [(point[0], point[2].extra["refused_us"]["99"]) for point in points if point[2].extra["refused_us"]]
                right.plot(*zip(*some, strict=True), marker="s", linestyle="--", color="#8d99ae", label="p99 of the refused")
        right.set_yscale("log")
        _plain_log(right.yaxis)
        left.set_title(f"{shape}: requests a second")
        right.set_title(f"{shape}: latency from the time a request was due, us")
        for panel in (left, right):
            panel.set_xlabel("requests offered a second")
            panel.set_ylim(bottom=0 if panel is left else None)
            panel.legend(fontsize=8)
    return _titled(figure, "Overload: " + _rows(report))


def _interference(report: Report) -> Any:
    cases = report.cases()
    figure, axes = plt.subplots(1, len(cases), figsize=(3.6 * len(cases), 2.6), squeeze=False)
    for panel, case in zip(axes[0], cases, strict=True):
        found = [(each.subject, each.p99_us) for each in report.results if each.case == case]
        _bars(panel, found, lambda value: f"{number(value)} us", log=False)
        panel.set_title(f"{case.replace('_', ' ')}: p99")
    return _titled(figure, "Reads while rows are loaded at full speed: " + _rows(report), top=0.93)


_DRAWINGS: dict[str, Callable[[Report], Any]] = {
    "kernel": _kernel,
    "memory": _memory,
    "scale": _scale,
    "grpc": _grpc,
    "shared_memory": _shared_memory,
    "peers": _peers,
    "ingest": _ingest,
    "workers": _workers,
    "journal": _journal,
    "durability": _durability,
    "start": _start,
    "overload": _overload,
    "interference": _interference,
    "load": _load,
}


def _bars(
    panel: Any,
    values: list[tuple[str, float | None]],
    text: Callable[[float], str],
    *,
    log: bool = True,
    colors: list[str] | None = None,
) -> None:
    known = [(name, value) for name, value in values if value]
    shades = colors or [COLORS.get(name, "#8d99ae") for name, _ in known]
    bars = panel.barh([name for name, _ in known], [value for _, value in known], color=shades, height=0.66)
    panel.bar_label(bars, [text(value) for _, value in known], padding=4, fontsize=9)
    panel.invert_yaxis()
    # Each bar says its value, so the axis needs no figures.
    panel.grid(visible=False)
    panel.tick_params(axis="y", length=0)
    panel.tick_params(axis="x", which="both", length=0, labelbottom=False)
    panel.spines["bottom"].set_visible(False)
    most, least = max(value for _, value in known), min(value for _, value in known)
    if log:
        panel.set_xscale("log")
        panel.set_xlim(least / 3, most * (most / least * 3) ** 0.32)
    else:
        panel.set_xlim(0, most * 1.28)


def _memory_bars(panel: Any, report: Report, case: str, title: str) -> None:
    found = [(each.subject, each.bytes_per_row) for each in report.results if each.case == case]
    _bars(panel, found, lambda value: f"{value:,.0f}", log=False)
    panel.set_title(title)


def _percentile_curve(panel: Any, detail: Detail, color: str | None, label: str) -> None:
    # The axis stretches towards 100 %: equal distances are equal factors of how rare a slower request is.
    points = [
        (1 / (1 - float(percentile) / 100), value) for percentile, value in detail.percentiles_us.items() if percentile != "100"
    ]
    # A percentile that fewer than ten calls stand behind is chance.
    points = [(rarity, value) for rarity, value in points if rarity * 10 <= max(detail.calls, 20)]
    panel.plot(*zip(*points, strict=True), color=color, label=label, linewidth=2, marker=".", markersize=5)


def _percentile_axis(panel: Any) -> None:
    rarest = max(max(line.get_xdata()) for line in panel.get_lines())
    panel.set_xscale("log")
    panel.set_yscale("log")
    ticks = {"50": 2, "90": 10, "99": 100, "99.9": 1_000, "99.99": 10_000}
    shown = {f"{text} %": rarity for text, rarity in ticks.items() if rarity <= rarest * 1.01}
    panel.set_xticks(list(shown.values()), list(shown))
    panel.set_xlim(0.9, rarest * 1.5)
    panel.xaxis.set_minor_locator(NullLocator())
    _plain_log(panel.yaxis)
    panel.set_xlabel("requests that were at least as fast")
    panel.set_ylabel("latency, us")


def _plain_log(axis: Any) -> None:
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _rate(report: Report, detail: Detail) -> float:
    return report.value(detail.case, detail.subject, "ops_per_s") or 0.0


def _rows(report: Report) -> str:
    return f"{report.settings['rows']:,} rows x 50 features"


def _titled(figure: Any, title: str, top: float = 0.985) -> Any:
    figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold")
    figure.tight_layout(rect=(0, 0.03, 1, top))
    return figure


def _foot(report: Report) -> str:
    settings = ", ".join(f"{name} {report.settings[name]}" for name in _FOOT_SETTINGS if report.settings.get(name))
    return f"{machine.sentence(report.machine)}. {settings}" + (". --quick: shows nothing" if report.settings["quick"] else "")
