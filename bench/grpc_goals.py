"""The goals of ``bench grpc``: what the issues promise of both engines and of the client, and what a run found."""

from bench.grpc_servers import ECHO, GRPCIO, NATIVE, REDIS
from bench.report import Report

CLIENT, CLIENT_UNIX, CLIENT_GRPCIO = "featurestore_client", "featurestore_client_unix", "featurestore_client_grpcio"
REDIS_RAW, REDIS_PY = "redis_raw", "redis_py"
SOCKET, SOCKET_UNIX = "bare_socket", "bare_socket_unix"
RATE, P50, P99 = "ops_per_s", "p50_us", "p99_us"


def judge(report: Report, in_flight: int) -> None:
    """Adds them all; one whose subjects were not measured is left out."""
    _native_engine(report)
    _client(report)
    _grpcio_engine(report, in_flight)


def _native_engine(report: Report) -> None:
    for rows, least in ((1, 20), (100, 8)):
        for load in ("16x1", "4x4"):
            case = f"h2load_{rows}x50_{load}"
            ratio = _ratio(report, RATE, case, NATIVE, case, ECHO)
            text = f"native, {rows}x50, h2load {load}: requests/s at least {least}x those of grpc.aio's empty handler"
            report.goal(text, ratio, least, least=True, unit="x")
    for rows in (1, 100):
        case = f"h2load_{rows}x50_1x1"
        ratio = _ratio(report, P50, case, NATIVE, case, ECHO)
        report.goal(f"native, {rows}x50, h2load 1x1: p50 at most 0.35x that of the empty handler", ratio, 0.35, unit="x")
    for load, share in (("16x1", 0.9), ("4x4", 1.5)):
        case = f"h2load_1x50_{load}"
        text = f"native, 1x50, h2load {load}: requests/s at least {share}x Redis GET of 200 bytes on 16 connections"
        report.goal(text, _ratio(report, RATE, case, NATIVE, case, REDIS), share, least=True, unit="x")
    for rows in (1, 100):
        case = f"read_{rows}x50"
        text = f"native, {rows}x50, a grpcio client: p50 at most 0.55x what it sees of grpc.aio's empty handler"
        report.goal(text, _ratio(report, P50, case, NATIVE, case, ECHO), 0.55, unit="x")


def _client(report: Report) -> None:
    one, hundred = "client_1x50", "client_100x50"
    goals = (
        ("1x50: p50 at most 1.25x a raw-socket Redis GET", one, CLIENT, REDIS_RAW, 1.25),
        ("1x50: p50 at most 0.8x redis-py's GET", one, CLIENT, REDIS_PY, 0.8),
        ("100x50: p50 at most 0.6x redis-py's MGET with NumPy", hundred, CLIENT, REDIS_PY, 0.6),
        ("1x50: p50 over a unix socket at most 0.85x TCP", one, CLIENT_UNIX, CLIENT, 0.85),
        ("100x50: p50 over a unix socket at most 0.85x TCP", hundred, CLIENT_UNIX, CLIENT, 0.85),
    )
    for text, case, ours, other, most in goals:
        report.goal(f"client, {text}", _ratio(report, P50, case, ours, case, other), most, unit="x")
    for case in (one, hundred):
        if ratio := _ratio(report, P50, case, SOCKET_UNIX, case, SOCKET):
            report.note(f"{case}: sockets alone, with as many bytes, have {ratio:.2f}x the p50 over a unix socket")
    for name, way in ((CLIENT, "TCP"), (CLIENT_UNIX, "a unix socket")):
        ratio = _ratio(report, P99, "client_open_half_1x50", name, "client_open_idle_1x50", name)
        text = f"client, 1x50, {way}: p99 at half of the highest load (open loop) below 2x that at a twentieth"
        report.goal(text, ratio, 2, unit="x")


def _grpcio_engine(report: Report, in_flight: int) -> None:
    for rows in (1, 100):
        one, many = f"read_{rows}x50", f"throughput_{rows}x50"
        ratio = _ratio(report, P50, one, GRPCIO, one, ECHO)
        report.goal(f"grpcio, {rows}x50, one in flight: p50 within 15 % of grpc.aio's empty handler", ratio, 1.15, unit="x")
        ratio = _ratio(report, RATE, many, ECHO, many, GRPCIO)
        report.goal(f"grpcio, {rows}x50, {in_flight} in flight: requests/s within 15 % of it", ratio, 1.15, unit="x")
        for name, engine in ((GRPCIO, "grpcio"), (NATIVE, "native")):
            text = f"{engine}, {rows}x50, one in flight: p99 below 1 ms"
            report.goal(text, report.value(one, name, P99), 1_000, unit=" us", digits=0)


def _ratio(report: Report, figure: str, case: str, name: str, other_case: str, other: str) -> float | None:
    over, under = report.value(case, name, figure), report.value(other_case, other, figure)
    return over / under if over and under else None
