"""``python -m bench`` as people run it: every case, at tiny sizes, on the real thing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.certificate import Certificate
from bench.grpc_servers import native_missing
from bench.h2load import H2load
from bench.redis_benchmark import RedisBenchmark
from bench.redis_process import RedisProcess

ROOT = Path(__file__).parents[2]
RESULT_KEYS = {"case", "subject", "p50_us", "p99_us", "ops_per_s", "bytes_per_row"}
PEERS = {"featurestore", "lmdb", "dict_numpy", "dict_lists", "redis_hash", "redis_packed"}
OURS = "featurestore_grpcio" if native_missing() else "featurestore_native"
SERVERS = {"grpc_echo", "featurestore_grpcio", "featurestore_native"}
HTTP2 = SERVERS | {"featurestore_native_tls", "redis_get"}
WORKERS = {"one_process", "workers_1", "workers_2"}
CLIENTS = {"featurestore_client", "featurestore_client_unix", "featurestore_client_grpcio"}
PARTS = {"featurestore", "decode alone", "encode alone", "stream alone", "kernel alone"}
SERVED = {"featurestore_grpc", "redis_raw", "redis_packed"}
MODES = ("always", "interval", "never")
JOURNALS = {"own file", "SQLite", "LMDB"}
KEPT = {"no journal", *(f"fsync {mode}" for mode in MODES)}
REDIS_KEPT = {f"Redis AOF {mode}" for mode in ("always", "everysec", "no")}
REDIS_MSET = {f"{name}, MSET" for name in REDIS_KEPT}
START_PARTS = {"served", "opened"}
CALLERS = {"writer", "reader"}
LOOPS = ("closed_1", "closed_2", "open_50")
TURNS = {f"{kind}_{rows}x50" for kind in ("read", "throughput") for rows in (1, 100)}

# What each case is to report: its cases by the subjects that are measured in each.
EXPECTED: dict[str, dict[str, set[str]]] = {
    "kernel": {
        **dict.fromkeys([*TURNS, "read_1000x50", "write", "write_insert"], PEERS),
        **dict.fromkeys([f"read_{rows}x50_strings" for rows in (1, 100, 1_000)], PEERS - {"redis_hash"}),
    },
    "memory": {"memory": {"featurestore", "dict_lists"}, "memory_strings": {"featurestore", "dict_lists"}},
    "scale": {f"read_{each}x50_of_{rows}": {"featurestore", "dict_numpy"} for each in (1, 100) for rows in (1_000, 3_000)},
    "grpc": {
        **dict.fromkeys((f"h2load_{rows}x50_{load}" for rows in (1, 100) for load in ("1x1", "16x1")), HTTP2),
        **dict.fromkeys((f"h2load_{rows}x50_4x4" for rows in (1, 100)), HTTP2 | {"redis_get_pipelined"}),
        **dict.fromkeys(TURNS, SERVERS),
        **dict.fromkeys(
            ("client_1x50", "client_100x50"), CLIENTS | {"redis_raw", "redis_py", "bare_socket", "bare_socket_unix"}
        ),
        **dict.fromkeys(("client_async_1x50", "client_async_throughput_1x50"), CLIENTS),
        **dict.fromkeys(("client_open_idle_1x50", "client_open_half_1x50"), CLIENTS),
    },
    "workers": {
        **dict.fromkeys(
            [f"{part}_1x50" for part in ("one_core", "all_cores", "write_one_core", "write_all_cores")]
            + ["one_core_100x50", "all_cores_100x50"],
            WORKERS,
        ),
    },
    "peers": dict.fromkeys(("bulk_load", *(f"read_{rows}x50" for rows in (1, 10, 100, 1_000)), "memory"), SERVED),
    "ingest": {"ingest_parquet": PARTS, "ingest_csv": PARTS},
    "journal": {f"{rows}_{mode}": JOURNALS for rows in ("batch_100", "single") for mode in MODES},
    "durability": {
        **dict.fromkeys((f"write_1_{shape}" for shape in ("vector", "floats")), KEPT | REDIS_KEPT),
        **dict.fromkeys((f"write_100_{shape}" for shape in ("vector", "floats")), KEPT | REDIS_KEPT | REDIS_MSET),
        "read_while_writing": KEPT,
    },
    "start": {
        **dict.fromkeys(("start_cold", "start_warm", "start_killed", "start_empty"), START_PARTS),
        **dict.fromkeys(("longest_call_snapshot", "longest_call_busy_core", "longest_call_quiet"), CALLERS),
    },
    "overload": {
        **{
            f"read_300x1_{load}": {"featurestore", "without admission"}
            for load in ("in_flight", "capacity", "0.5x", "1x", "2x", "4x")
        },
        "crowd": {"alone", "in the crowd"},
    },
    "interference": {
        f"{way}_{rows}x50": {"idle", "while loading", "busy cores", "waking programs"}
        for way in ("network", "shm")
        for rows in (1, 100)
    },
    "load": {f"{kind}_1x50_{loop}": {OURS} for kind in ("read", "write") for loop in LOOPS},
}
NEEDED = {
    "workers": H2load.missing() or native_missing(),
    "overload": native_missing(),
    "kernel": RedisBenchmark.missing(),
    "durability": RedisProcess.missing(),
    "peers": RedisBenchmark.missing(),
    "grpc": H2load.missing() or RedisBenchmark.missing() or Certificate.missing() or native_missing(),
}
OPTIONS = {
    "load": ["--write-share", "0.5", "--zipf", "0.9"],
    # All peers take part in `kernel`; a process for each of them again would only take time.
    "memory": ["--subjects", "featurestore,dict_lists"],
    # Each of the others is a process and a server more, and shows nothing more of the command.
    "peers": ["--subjects", ",".join(sorted(SERVED))],
    "scale": ["--subjects", "featurestore,dict_numpy"],
}


@pytest.mark.parametrize("case", EXPECTED)
def test_a_case_reports_each_subject_in_the_published_shape(case: str, tmp_path: Path) -> None:
    if reason := NEEDED.get(case):
        pytest.skip(reason)
    report = _bench(case, tmp_path, *OPTIONS.get(case, ()))

    assert set(report["machine"]) >= {"processor", "cores", "memory_bytes", "python", "commit"}
    assert report["settings"]["quick"] is True
    found: dict[str, set[str]] = {}
    for result in report["results"]:
        assert set(result) == RESULT_KEYS
        found.setdefault(result["case"], set()).add(result["subject"])
        for figure in ("p50_us", "p99_us", "ops_per_s", "bytes_per_row"):
            assert result[figure] is None or result[figure] >= 0
        measured = result["bytes_per_row"] if result["case"].startswith("memory") else result["p50_us"]
        assert measured > 0
    assert found == EXPECTED[case]

    # Drawn from the report, as with --plot; in this process, so that matplotlib is imported once.
    assert main([case, "--from", str(tmp_path / "report.json"), "--plot", str(tmp_path / "plot.png")]) == 0
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def _bench(case: str, directory: Path, *options: str) -> Any:
    path = directory / "report.json"
    command = [sys.executable, "-m", "bench", case, "--quick", "--json", str(path), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(path.read_text())
