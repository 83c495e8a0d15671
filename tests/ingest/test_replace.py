"""``featurestore ingest --replace`` and ``featurestore rollback``, as people type them, into a real server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import featurestore_client
import pytest

import featurestore

VIEW = {"name": "v", "entity": "e", "features": [{"name": "a", "type": "int64"}, {"name": "b", "type": "float32"}]}
DEFINITIONS = {"entities": [{"name": "e", "join_keys": [{"name": "k", "type": "int64"}]}], "feature_views": [VIEW]}
REPLACE = ("--replace", "--timestamp", "now")


@pytest.fixture
def client(server) -> Iterator[featurestore_client.Client]:
    """Of a server whose view has 100 rows."""
    with featurestore_client.connect(server.url) as client:
        client.apply({**DEFINITIONS, "feature_views": []}, prune=True)
        client.apply(DEFINITIONS)
        client.write("v", {"k": [*range(100)], "a": [1] * 100, "b": [1.0] * 100})
        yield client


Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def start(server, tmp_path: Path) -> Start:
    def start(*arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "featurestore", *map(str, arguments)],
            env={**os.environ, "FEATURESTORE_SERVER": server.url},
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def run(start: Start) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        process = start(*arguments)
        output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors

    return run


def write_csv(path: Path, rows: int, value: object = 2) -> str:
    path.write_text("k,a,b\n" + "".join(f"{key},{value},{'' if key % 4 == 0 else 0.5}\n" for key in range(rows)))
    return path.name


def values(client: featurestore_client.Client, *keys: int) -> list[Any]:
    found: list[Any] = client.get(["v:a"], {"k": [*keys]}).to_dict()["a"]
    return found


def test_the_rows_of_files_take_the_place_of_those_of_a_view_and_go_back(client, run: Run, tmp_path: Path) -> None:
    checks = ("--expect-rows", "50..70", "--max-null-fraction", "b=25%", "--max-null-fraction", "0", "--max-drop", "40%")
    code, output, errors = run("ingest", "v", write_csv(tmp_path / "new.csv", 60), *REPLACE, *checks)
    assert (code, errors) == (0, "")
    assert "60 rows read, 60 written" in output
    assert "serves:   version 2, since 20" in output
    assert "UTC, 60 rows, from new.csv" in output
    assert "replaced: version 1, 100 rows (kept: featurestore rollback brings it back)" in output
    assert values(client, 1, 59, 60) == [2, 2, None]
    assert not [*tmp_path.glob("*checkpoint*")]
    _, output, _ = run("describe", "view", "v")
    assert "version      version 2, since 20" in output
    assert "kept         version 1, 100 rows" in output
    code, output, errors = run("rollback", "v")
    assert (code, errors) == (2, "error: nobody is there to be asked: add --yes to bring it back\n")
    assert "back: version 1, 100 rows\n" in output
    code, output, errors = run("rollback", "v", "--json")
    assert (code, output, "--json cannot ask: add --yes" in errors) == (2, "", True)
    for wrong in (["w"], ["w", "--yes"]):
        code, _, errors = run("rollback", *wrong)
        assert (code, errors) == (1, "error: feature view 'w' does not exist: expected one of 'v'\n")
    assert values(client, 60) == [None]
    code, output, _ = run("rollback", "v", "--yes", "--json")
    assert code == 0
    assert json.loads(output)["version"]["source"] == "version 1"
    assert json.loads(output)["former_is_kept"]
    assert values(client, 1, 60) == [1, 1]
    code, _, errors = run("rollback", "v", "--to", "9", "--yes")
    assert code == 1
    assert errors == "error: view 'v' has not kept version 9 of its rows; those it has: 2\n"


def test_a_load_that_fails_a_check_leaves_the_view(client, run: Run, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "ten.csv", 10)
    for option, value, sentence in (
        ("--expect-rows", "11", "rows: got 10, expected at least 11"),
        ("--max-drop", "20%", "rows: got 10, 90.0% fewer than the 100 of now, expected at most 20.0%"),
        ("--max-null-fraction", "0.1", "b: got 30.0% nulls, expected at most 10.0%"),
    ):
        code, _, errors = run("ingest", "v", path, *REPLACE, option, value)
        assert code == 1
        assert errors == f"error: view 'v' was not replaced: {sentence}\n"
    assert values(client, 1, 99) == [1, 1]


def test_a_dry_run_fails_the_checks_that_the_files_show(client, run: Run, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "ten.csv", 10)
    for option, value, sentence in (
        ("--expect-rows", "11..", "rows: got 10, expected at least 11"),
        ("--expect-rows", "..9", "rows: got 10, expected at most 9"),
        ("--max-null-fraction", "0.1", "b: got 30.0% nulls, expected at most 10.0%"),
    ):
        code, _, errors = run("ingest", "v", path, *REPLACE, option, value, "--dry-run")
        assert (code, errors) == (1, f"error: view 'v' would not be replaced: {sentence}\n")
    code, _, errors = run("ingest", "v", path, *REPLACE, "--max-null-fraction", "c=5%", "--dry-run")
    assert (code, "expected a feature of view 'v': a, b" in errors) == (1, True)
    passed = ("--expect-rows", "10", "--max-null-fraction", "30%", "--max-drop", "5%")
    code, output, errors = run("ingest", "v", path, *REPLACE, *passed, "--dry-run")
    assert (code, "10 valid, nothing written (--dry-run)" in output) == (0, True)
    unseen = "a dry run does not see keys that occur twice, which make one row, nor the view's rows: --max-drop is not checked"
    assert errors == f"  note: {unseen}\n"
    assert values(client, 1, 99) == [1, 1]


def test_features_without_a_column_are_null_in_the_new_rows_and_count_as_nulls(client, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("k,a\n1,2\n")
    code, _, errors = run("ingest", "v", "a.csv", *REPLACE, "--max-null-fraction", "b=50%", "--dry-run")
    assert (code, "b: got 100.0% nulls, expected at most 50.0%" in errors) == (1, True)
    code, _, errors = run("ingest", "v", "a.csv", *REPLACE)
    assert (code, errors) == (0, "  note: no column for b: the new rows have null there\n")
    assert client.get(["v:b"], {"k": [1]}).to_dict()["b"] == [None]


def test_a_load_without_rows_says_what_it_needs(client, run: Run, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "none.csv", 0)
    code, _, errors = run("ingest", "v", path, *REPLACE)
    assert (code, errors) == (
        1,
        "error: view 'v' was not replaced: rows: got none, and there are 100 now: "
        "a load without rows is taken where max_drop is 1 (--max-drop 100%)\n",
    )
    assert values(client, 1) == [1]
    assert run("ingest", "v", path, *REPLACE, "--max-drop", "100%")[0] == 0
    assert values(client, 1) == [None]


@pytest.mark.parametrize("allowed", ["0", "1%"])
def test_rows_that_are_rejected_replace_nothing(client, run: Run, tmp_path: Path, allowed: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("k,a,b\n" + "".join(f"{key},{'x' if key % 10 == 9 else 2},1\n" for key in range(100)))
    code, _, errors = run("ingest", "v", "bad.csv", *REPLACE, "--max-rejects", allowed)
    assert code == 1
    assert "error: --max-rejects: " in errors
    assert values(client, 1, 99) == [1, 1]
    assert client.describe_feature_view("v")["version"]["number"] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_load_that_is_stopped_replaces_nothing(client, start: Start, server, number: signal.Signals) -> None:
    process = start("ingest", "v", "-", "--format", "csv", *REPLACE)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write("k,a,b\n" + "".join(f"{key},2,1\n" for key in range(1_000_000)))  # more than the pipe holds
    process.stdin.flush()
    process.send_signal(number)
    process.stdin.close()
    process.wait(60)
    errors = process.stderr.read()
    process.stderr.close()
    assert process.stdout is not None
    process.stdout.close()
    assert process.returncode == 130
    assert errors.endswith("stopped: the view's rows are as they were\n")
    assert values(client, 1, 99, 100) == [1, 1, None]
    assert client.describe_feature_view("v")["version"]["number"] == 1


def test_wrong_options_are_named(client, run: Run, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "new.csv", 60)
    for options, sentence in (
        (["--replace", "--resume"], "--replace or --resume, and not both"),
        (["--max-drop", "5%"], "are for a load with --replace"),
        (["--delimiter", "\u00a7"], "expected one ASCII character that is no quote or line end"),
        (["--replace", "--max-drop", "120%"], "--max-drop: got '120%', expected a share such as 5% or 0.05"),
        (["--replace", "--expect-rows", "10..5"], "--expect-rows: got '10..5', expected N..M with N at most M"),
        (["--replace", "--expect-rows", "many"], "--expect-rows: got 'many', expected N, N.., ..M or N..M"),
    ):
        code, _, errors = run("ingest", "v", path, *options)
        assert code == 2
        assert sentence in " ".join(errors.replace("\u2502", " ").split())
    code, _, errors = run("ingest", "v", path, *REPLACE, "--max-null-fraction", "c=5%")
    assert code == 1
    assert "expected a feature of view 'v': a, b" in errors


def test_a_directory_without_a_server_is_replaced_too(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_SEGMENTS", str(tmp_path / "segments"))
    path = tmp_path / "definitions.yaml"
    path.write_text(json.dumps(DEFINITIONS))
    directory = ("--directory", tmp_path / "data")
    assert run("apply", path, "--yes", *directory)[0] == 0
    assert run("ingest", "v", write_csv(tmp_path / "a.csv", 10), "--timestamp", "now", *directory)[0] == 0
    assert run("ingest", "v", write_csv(tmp_path / "b.csv", 5, 3), *REPLACE, *directory)[0] == 0
    with featurestore.open(tmp_path / "data", segments=tmp_path / "segments") as client:
        assert values(client, 1, 9) == [3, None]
