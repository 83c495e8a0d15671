"""``python -m bench`` as people run it: every case, at tiny sizes, on the real thing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main

ROOT = Path(__file__).parents[2]
RESULT_KEYS = {"case", "subject", "p50_us", "p99_us", "ops_per_s", "bytes_per_row"}
PEERS = {"featurestore", "lmdb", "dict_numpy", "dict_lists", "redis_hash", "redis_packed"}
SERVERS = {"featurestore_grpcio", "grpc_echo"}
PARTS = {"featurestore", "decode alone", "encode alone", "stream alone", "kernel alone"}
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
    "grpc": dict.fromkeys(TURNS, SERVERS),
    "ingest": {"ingest_parquet": PARTS, "ingest_csv": PARTS},
    "load": {f"{kind}_1x50_{loop}": {"featurestore_grpcio"} for kind in ("read", "write") for loop in LOOPS},
}
OPTIONS = {
    "load": ["--write-share", "0.5", "--zipf", "0.9"],
    # All peers take part in `kernel`; a process for each of them again would only take time.
    "memory": ["--subjects", "featurestore,dict_lists"],
    "scale": ["--subjects", "featurestore,dict_numpy"],
}


@pytest.mark.parametrize("case", EXPECTED)
def test_a_case_reports_each_subject_in_the_published_shape(case: str, tmp_path: Path) -> None:
    report = _bench(case, tmp_path, *OPTIONS.get(case, ()))

    assert set(report["machine"]) >= {"processor", "cores", "memory_bytes", "python", "commit"}
    assert report["settings"]["quick"] is True
    found: dict[str, set[str]] = {}
    for result in report["results"]:
        assert set(result) == RESULT_KEYS
        found.setdefault(result["case"], set()).add(result["subject"])
        for figure in ("p50_us", "p99_us", "ops_per_s", "bytes_per_row"):
            assert result[figure] is None or result[figure] >= 0
        measured = result["bytes_per_row"] if case == "memory" else result["p50_us"]
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
