"""`featurestore size` on definitions, and beside a server that has such rows."""

import json
import re
from pathlib import Path

import pytest
from featurestore_client import connect

from featurestore.durability import latest_snapshot
from tests.cli.commands import Run
from tests.conftest import StartServer

DEFINITIONS = {
    "entities": [
        {"name": "user", "join_keys": [{"name": "user", "type": "int64"}]},
        {"name": "carrier", "join_keys": [{"name": "carrier", "type": "string"}]},
    ],
    "feature_views": [
        {"name": "users", "entity": "user", "features": [{"name": "taste", "type": "float32[64]"}]},
        {
            "name": "carriers",
            "entity": "carrier",
            "features": [{"name": "title", "type": "string"}, {"name": "flights", "type": "int64"}],
        },
    ],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "definitions.yaml"
    path.write_text(json.dumps(DEFINITIONS))  # which is YAML too
    return path


def test_a_server_with_such_rows_takes_what_was_said(run: Run, path: Path, start_server: StartServer):
    server = start_server("--shards", "4", "--snapshot-bytes-min", "1000000")
    with connect(server.url) as client:
        client.apply(DEFINITIONS)
        for start in range(0, 40_000, 400):
            users = [*range(start, start + 400)]
            client.write("users", {"user": users, "taste": [[0.5] * 64] * 400})
            names = [f"{user:08}" for user in users]
            client.write("carriers", {"carrier": names, "title": ["t" * 20] * 400, "flights": users})
        tables = {table["view"]: table for table in client.list_tables()}
        while not any(event["event"] == "snapshot" for event in server.events):
            client.write("users", {"user": [*range(400)], "taste": [[0.5] * 64] * 400})
    rows = ["--rows", "40000", "--string-bytes", "8", "--string-bytes", "title=20", "--shards", "4"]
    said = run("size", path, *rows, "--json", bare=True).document
    for table in said["tables"]:
        memory_bytes = tables[table["view"]]["memory_bytes"]
        assert abs(table["memory_bytes"] / memory_bytes - 1) < 0.05
        assert table["memory_least_bytes"] <= memory_bytes <= table["memory_most_bytes"]
    assert server.stop() == 0
    snapshot = latest_snapshot(server.directory / "journal")
    assert snapshot is not None
    snapshot_bytes = sum(file.stat().st_size for file in snapshot.directory.iterdir())
    assert abs(sum(table["snapshot_bytes"] for table in said["tables"]) / snapshot_bytes - 1) < 0.05
    assert sum(file.stat().st_size for file in (server.directory / "journal").rglob("*.journal")) < said["disk_bytes"]


def test_a_person_is_shown_memory_disk_and_shards(run: Run, path: Path):
    out = run("size", path, "--rows", "100000000", "--rows", "carriers=30", bare=True).out
    assert "100,000,000" in out
    assert re.search(r"\nmemory: [0-9.]+ GiB, at most [0-9.]+ GiB; the segments.* file system should have", out)
    assert "\ndisk:   at most " in out
    assert "\nshards: 32 for users (--shards), so that no shard is copied to grow\n" in out


def test_no_more_shards_are_asked_for_than_a_server_takes(run: Run, path: Path):
    rows = ["--rows", str(1 << 40)]
    said = run("size", path, *rows, "--json", bare=True).document["tables"]
    assert {(table["shards_wanted"], table["shards_are_copied"]) for table in said} == {(1_024, True)}
    assert "\nshards: 1,024 for users (--shards), the most there are: " in run("size", path, *rows, bare=True).out
    assert run("size", path, "--rows", "5", "--shards", "1024", bare=True).code == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rows", "many"], "--rows many: got 'many', expected a whole number"),
        (["--rows", "9" * 20], f"--rows {'9' * 20}: got '{'9' * 20}', expected a whole number up to 1,099,511,627,776"),
        (["--rows", "5", "--string-bytes", "9" * 20], f"got '{'9' * 20}', expected a whole number up to 1,073,741,824"),
        (["--rows", "userz=5"], "--rows userz=5: got 'userz', expected one like 'users'"),
        (["--rows", "users=5"], "--rows: got nothing for carriers, expected N for all, or VIEW=N for each"),
        (["--rows", "5", "--string-bytes", "titel=5"], "--string-bytes titel=5: got 'titel', expected one like 'title'"),
    ],
)
def test_size_refuses_in_a_sentence(run: Run, path: Path, arguments: list[str], expected: str):
    outcome = run("size", path, *arguments, bare=True)
    assert outcome.code == 2
    assert expected in " ".join(outcome.err.split())
