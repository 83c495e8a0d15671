"""The commands, as people type them: on a server, on a directory, for people and for scripts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from featurestore_client import Client

from tests.backup.conftest import read, write
from tests.cli.commands import run_command
from tests.faults import test_snapshot as shapes
from tests.faults.oracle import connect
from tests.faults.servers import Servers

Command = Callable[..., str]


@pytest.fixture
def featurestore(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command, and gives what it prints: on standard output, or on standard error where it fails."""

    def run(*arguments: object, code: int = 0, **variables: str) -> str:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        outcome = run_command(arguments, capsys, monkeypatch)
        assert outcome.code == code, outcome.err
        return outcome.out or outcome.err

    return run


def test_from_a_server_to_a_backup_to_a_directory_and_back(
    featurestore: Command, client: Client, server: Servers, tmp_path: Path
):
    variables = {"FEATURESTORE_SERVER": server.url, "FEATURESTORE_SEGMENTS": str(tmp_path / "segments")}
    write(client, 1)
    text = featurestore("snapshot", **variables)
    assert text.startswith("snapshot of everything up to record 1: 2 records, ")
    write(client, 2)
    text = featurestore("backup", tmp_path / "backup", **variables)
    assert text.startswith(f"backup of everything up to record 2 in {tmp_path / 'backup'}: 3 files, ")
    document = json.loads(featurestore("backup", f"file://{tmp_path / 'backup'}", "--json", **variables))
    assert (document["last"], document["base"], document["copied_files"]) == (2, 1, 0)
    text = featurestore("verify", tmp_path / "backup")
    assert text.splitlines()[-1] == "everything up to record 2 can be recovered"
    text = featurestore("restore", tmp_path / "backup", tmp_path / "again")
    assert f"to serve it: featurestore serve --directory {tmp_path / 'again'}" in text
    rows = json.loads(featurestore("get", "-f", "v:a", "-k", "k=1", "-d", tmp_path / "again", "--json", **variables))["rows"]
    assert rows[0]["values"] == {"a": 2}
    assert json.loads(featurestore("backup", tmp_path / "b", "-d", tmp_path / "again", "--json", **variables))["last"] == 2
    refused = featurestore("restore", tmp_path / "backup", tmp_path / "again", code=1)
    assert refused.startswith(f"error: {tmp_path / 'again'} holds '")
    path = next((tmp_path / "backup").glob("data-*/journal/0*"))
    path.write_bytes(path.read_bytes()[:-1])
    text = featurestore("verify", tmp_path / "backup", code=1)
    assert f"wrong: {path}: got " in text
    assert json.loads(featurestore("verify", tmp_path / "backup", "--json", code=1))["whole"] is False


def test_an_exported_file_ingested_again_makes_the_same_rows(
    featurestore: Command, client: Client, hosts: tuple[Servers, Servers], tmp_path: Path
):
    client.apply(shapes.DEFINITIONS)
    shapes.fill(client)
    before = shapes.everything(client)
    deleted = shapes.KEYS["user"]["user"][5::20]
    for entity in shapes.KEYS:
        output = tmp_path / f"{entity}.parquet"
        server = ("--server", hosts[0].url)
        told = json.loads(featurestore("export", f"of_{entity}", "-o", output, "--json", *server))
        assert told["rows"] == 300 - len(deleted)
        assert not [*tmp_path.glob(".*.new")]
    hosts[1].move(tmp_path / "other")
    hosts[1].start()
    with connect(hosts[1].url) as other:
        other.apply(shapes.DEFINITIONS)
        for entity in shapes.KEYS:
            file = tmp_path / f"{entity}.parquet"
            # The load runs in this process, which must keep its share of the cores.
            featurestore("ingest", f"of_{entity}", file, "--server", hosts[1].url, "--priority", "normal")
        assert shapes.everything(other) == before
    hosts[1].kill()


def test_an_export_has_the_views_types_and_leaves_out_what_has_expired_and_what_was_deleted(
    featurestore: Command, client: Client, server: Servers, tmp_path: Path
):
    view = {
        "name": "typed",
        "entity": "e",
        "ttl": "1h",
        "features": [
            {"name": "x", "type": "float32[3]"},
            {"name": "seen", "type": "timestamp"},
            {"name": "on", "type": "bool"},
        ],
    }
    client.apply({"feature_views": [view]})
    columns: dict[str, Any] = {"k": [1, 2], "x": [[1, 2, 3], None], "seen": [5, None], "on": [True, None]}
    client.write("typed", columns)
    client.write("typed", {"k": [3], "on": [False]}, event_timestamps=1_000_000)
    client.write("typed", {"k": [4], "on": [False]})
    client.delete("typed", {"k": [4]})
    url = f"file://{tmp_path / 'typed.parquet'}"
    featurestore("export", "typed", "-o", url, "--server", server.url)
    table = pq.read_table(tmp_path / "typed.parquet").sort_by("k")
    times = pa.timestamp("us", "UTC")
    assert table.schema.remove_metadata() == pa.schema(
        [
            pa.field("k", pa.int64(), nullable=False),
            pa.field("event_timestamp", times, nullable=False),
            pa.field("x", pa.list_(pa.float32(), 3)),
            pa.field("seen", times),
            pa.field("on", pa.bool_()),
        ]
    )
    assert table["k"].to_pylist() == [1, 2]
    assert table["x"].to_pylist() == [[1, 2, 3], None]
    assert table["on"].to_pylist() == [True, None]
    featurestore("export", "typed", "-o", tmp_path / "all.parquet", "--expired-rows", "-t", "at", "--server", server.url)
    table = pq.read_table(tmp_path / "all.parquet").sort_by("k")
    assert (table.column_names[1], table["k"].to_pylist(), table["on"].to_pylist()) == ("at", [1, 2, 3], [True, None, False])


def test_an_export_that_fails_leaves_the_file_as_it_was(featurestore: Command, client: Client, server: Servers, tmp_path: Path):
    output = tmp_path / "v.parquet"
    output.write_text("of yesterday")
    refused = featurestore("export", "w", "-o", output, "--server", server.url, code=1)
    assert "'w'" in refused
    refused = featurestore("export", "v", "-o", output, "-t", "a", "--server", server.url, code=1)
    assert "timestamp_column: got 'a', expected a name that no join key or feature of view 'v' has" in refused
    assert output.read_text() == "of yesterday"
    assert [path.name for path in tmp_path.glob("*v.parquet*")] == ["v.parquet"]


def test_the_status_says_what_the_start_found(featurestore: Command, client: Client, server: Servers):
    assert client.status()["recovered"] == {"records": 0, "tables": 0, "cut_bytes": 0, "seconds": pytest.approx(1, abs=60)}
    write(client, 1)
    server.kill()
    server.lose_memory()
    path = next((server.data / "journal").glob("*.journal"))
    with path.open("ab") as file:
        file.write(b"torn")
    logged = server.start()
    with connect(server.url) as again:
        found = again.status()["recovered"]
        assert read(again) == [(1, 1)] * 100
    assert (found["records"], found["tables"], found["cut_bytes"]) == (1, 1, 4)
    assert (logged["records"], logged["tables"], logged["cut_bytes"]) == (1, 1, 4)
    sentence = "the start applied 1 records again, filled 1 tables from the beginning and cut 4 B off the journal's end, in "
    assert sentence in featurestore("status", "--server", server.url)
    directory = ("--directory", server.data)
    document = json.loads(featurestore("status", *directory, "--json", FEATURESTORE_SEGMENTS=str(server.segments)))
    assert document["recovered"] == found
