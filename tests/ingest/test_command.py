"""``featurestore ingest`` as people type it, into a real server: loading, stopping, going on, staying small."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import featurestore_client
import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from featurestore.ingest.checkpoint import read_checkpoint
from featurestore.model import BatchSource, Entity, FeatureView, Field, JoinKey
from tests.conftest import of_threads

TIME = datetime(2024, 1, 1)
# Says at the end how much memory the process had at most, which the kernel counts from the start of the program on.
WATCHED = (
    "import atexit, sys\n"
    "peak = lambda: next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]\n"
    "atexit.register(lambda: print('peak', peak(), file=sys.stderr))\n"
    "from featurestore.cli.main import main\n"
    "main()\n"
)


@pytest.fixture(scope="module")
def client(server):
    with featurestore_client.connect(server.url) as client:
        yield client


@pytest.fixture
def define(client, request) -> Callable[..., str]:
    """Defines a view of this test's own: ``define(x="float32")`` gives its name."""

    def define(source: BatchSource | None = None, key: str = "int64", **features: str) -> str:
        name = "v_" + "".join(character if character.isalnum() else "_" for character in request.node.name)
        entity = Entity(name=f"{name}_e", join_keys=[JoinKey(name="key", type=key)])
        fields = [Field(name=feature, type=kind) for feature, kind in features.items()]
        client.apply([entity, FeatureView(name=name, entity=entity.name, features=fields, source=source)])
        return name

    return define


@pytest.fixture
def start(server, tmp_path) -> Callable[..., subprocess.Popen[str]]:
    def start(*arguments: object, watched: bool = False) -> subprocess.Popen[str]:
        program = ["-c", WATCHED] if watched else ["-m", "featurestore"]
        return subprocess.Popen(
            [sys.executable, *program, "ingest", *map(str, arguments)],
            env={**os.environ, "FEATURESTORE_SERVER": server.url},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def ingest(start) -> Callable[..., dict[str, Any]]:
    """Runs the command to its end and gives its ``--json``."""

    def ingest(*arguments: object, code: int = 0) -> dict[str, Any]:
        output, errors = start(*arguments, "--json").communicate(timeout=100)
        assert errors == "" or code
        summary: dict[str, Any] = json.loads(output)
        return summary

    return ingest


def values_of(client, view: str, keys: Any, *features: str) -> list[Any]:
    found = client.get([f"{view}:{feature}" for feature in features], {"key": keys}).to_dict()
    return [found[feature] for feature in features] if len(features) > 1 else found[features[0]]


def test_rows_of_every_type_arrive_as_they_were(define, ingest, client, tmp_path):
    view = define(
        b="bool", i="int32", j="int64", x="float32", y="float64", t="timestamp", s="string", raw="bytes", v="float32[3]"
    )
    rows = 5_000
    table = pa.table(
        {
            "key": range(rows),
            "event_timestamp": [TIME] * rows,
            "b": [key % 3 == 0 for key in range(rows)],
            "i": pa.array([None if key % 5 == 0 else -key for key in range(rows)], pa.int32()),
            "j": [key << 40 for key in range(rows)],
            "x": pa.array([key / 8 for key in range(rows)], pa.float32()),
            "y": [key / 3 for key in range(rows)],
            "t": [datetime(2020, 1, 1, 0, key % 60) for key in range(rows)],
            "s": [None if key % 7 == 0 else "é" * (key % 50) for key in range(rows)],
            "raw": [bytes([key % 256, 255]) for key in range(rows)],
            "v": [[float(key), -1.0, 0.5] for key in range(rows)],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1_000)
    summary = ingest(view, tmp_path / "a.parquet")
    assert (summary["read"], summary["written"], summary["rejected"]) == (rows, rows, 0)
    keys = list(range(0, rows, 13))
    expected = table.take(keys).to_pydict()
    found = client.get([f"{view}:{name}" for name in table.column_names[2:]], {"key": keys}).to_dict()
    for name in ("b", "i", "j", "x", "y", "s", "raw"):
        assert found[name] == expected[name], name
    assert [np.datetime64(time.replace(tzinfo=None) if time.tzinfo else time) for time in found["t"]] == [
        np.datetime64(time) for time in expected["t"]
    ]
    assert np.array_equal(np.array(found["v"]), np.array(expected["v"]))


def test_older_rows_are_counted_and_left(define, ingest, client, tmp_path):
    view = define(x="float32")
    (tmp_path / "new.csv").write_text("key,event_timestamp,x\n1,2024-02-01,1\n2,2024-02-01,2\n")
    (tmp_path / "old.csv").write_text("key,event_timestamp,x\n1,2024-01-01,10\n3,2024-01-01,30\n")
    ingest(view, "new.csv")
    summary = ingest(view, "old.csv")
    assert (summary["read"], summary["written"], summary["older"]) == (2, 1, 1)
    assert values_of(client, view, [1, 2, 3], "x") == [1.0, 2.0, 30.0]


def test_files_come_from_the_views_source(define, ingest, client, tmp_path):
    (tmp_path / "day1.csv").write_text("who;at;score\nann;01.02.2024;1,5\n".replace(",", "."))
    (tmp_path / "day2.csv").write_text("who;at;score\nbob;02.02.2024;2.5\n")
    source = BatchSource(path=str(tmp_path / "day*.csv"), timestamp_column="at", columns={"who": "key", "score": "x"})
    view = define(source, key="string", x="float32")
    summary = ingest(view, "--delimiter", ";", "--timestamp-format", "%d.%m.%Y")
    assert (summary["files"], summary["written"]) == (2, 2)
    assert values_of(client, view, ["ann", "bob"], "x") == [1.5, 2.5]


def test_standard_input_is_loaded(define, start, client, server, tmp_path):
    view = define(x="float32")
    command = [
        sys.executable,
        "-m",
        "featurestore",
        "ingest",
        view,
        "-",
        "--format",
        "jsonl",
        "--timestamp-format",
        "ms",
        "--json",
    ]
    lines = "".join(json.dumps({"key": key, "event_timestamp": 1_700_000_000_000, "x": key}) + "\n" for key in range(3))
    done = subprocess.run(
        [*command, "--server", server.url], input=lines, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True
    )
    assert json.loads(done.stdout)["written"] == 3
    assert values_of(client, view, [0, 1, 2], "x") == [0.0, 1.0, 2.0]


def test_a_local_directory_is_loaded_without_a_server(tmp_path):
    (tmp_path / "definitions.yaml").write_text(
        "entities: [{name: e, join_keys: [{name: key}]}]\n"
        "feature_views: [{name: v, entity: e, features: [{name: x, type: float32}]}]\n"
    )
    (tmp_path / "a.csv").write_text("key,event_timestamp,x\n1,2024-02-01,1.5\n")

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "featurestore", *arguments, "--directory", str(tmp_path / "store"), "--json"]
        environment = {**os.environ, "FEATURESTORE_SEGMENTS": str(tmp_path / "segments")}
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    run("apply", "definitions.yaml", "--yes")
    assert json.loads(run("ingest", "v", "a.csv"))["written"] == 1


def test_what_went_wrong_is_a_sentence_and_exit_code_1(define, start, tmp_path):
    view = define(x="float32")
    (tmp_path / "a.csv").write_text("key,event_timestamp,x\n1,2024-02-01,1\n2,2024-02-01,much\n")
    process = start(view, "a.csv")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith(
        "error: --max-rejects: 1 of 2 rows rejected, at most 0 allowed; the first: a.csv line 3, column 'x': got 'much', "
        "expected a number within float32. Mend the rows, or allow more"
    )
    process = start("no_such_view", "a.csv")
    assert process.communicate(timeout=60)[1].startswith("error: ")
    assert process.returncode == 1


@pytest.mark.parametrize(
    "options",
    [
        ["a.csv", "--where", "a <"],
        ["a.csv", "--key", "nosuch"],
        ["text.parquet"],
        ["wrong.csv"],
        ["-", "-f", "csv", "-w", "a <"],
    ],
)
def test_a_load_that_sent_nothing_is_not_to_be_gone_on_with(define, start, tmp_path, options):
    view = define(x="float32")
    (tmp_path / "a.csv").write_text("key,event_timestamp,x\n1,2024-02-01,1\n")
    (tmp_path / "wrong.csv").write_text("key,event_timestamp,x\n1,2024-02-01,much\n")
    (tmp_path / "text.parquet").write_text("no parquet")
    process = start(view, *options)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, len(errors.splitlines())) == (1, 1)
    assert errors.startswith("error: ")
    assert not [*tmp_path.glob("*checkpoint*")]


def test_the_summary_for_people_says_it_all(define, start, tmp_path):
    view = define(x="float32", y="float32")
    (tmp_path / "a.csv").write_text("key,event_timestamp,x,z\n1,2024-02-01,1,0\n2,2024-02-01,much,0\n")
    output, errors = start(view, "a.csv", "--max-rejects", "50%").communicate(timeout=60)
    assert output.startswith(f"{view}: 2 rows read, 1 written, 1 rejected in ")
    assert errors.splitlines() == [
        "  rejected: a.csv line 3, column 'x': got 'much', expected a number within float32",
        "  note: no column for y: rows keep what they hold",
        "  note: columns that go nowhere: z",
    ]
    output, _ = start(view, "a.csv", "--max-rejects", "1", "--dry-run").communicate(timeout=60)
    assert "1 valid, nothing written (--dry-run)" in output


# --------------------------------------------------------------------------------------------------------------- stopping


def write_long_csv(path: Path, rows: int) -> None:
    table = pa.table({"key": range(rows), "event_timestamp": [TIME] * rows} | {f"f{i}": [1.5] * rows for i in range(10)})
    arrow_csv.write_csv(table, path)


def wait_for_progress(process: subprocess.Popen[str], checkpoint: Path, rows: int) -> None:
    """Returns once the process has noted that many rows as done."""
    while True:
        try:
            process.wait(0.002)
        except subprocess.TimeoutExpired:
            found = read_checkpoint(checkpoint)
            if found is not None and found[1] is not None and found[1].counts.read >= rows:
                return
        else:
            raise AssertionError(f"ended before it was to be stopped: {process.communicate()}")


ROWS = 300_000


def test_a_killed_load_goes_on_and_reads_nothing_twice(define, start, ingest, client, tmp_path):
    view = define(**{f"f{i}": "float32" for i in range(10)})
    path = tmp_path / "a.csv"
    write_long_csv(path, ROWS)
    checkpoint = tmp_path / f"default.{view}.ingest-checkpoint"

    process = start(view, "a.csv")
    wait_for_progress(process, checkpoint, 20_000)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = read_checkpoint(checkpoint)
    assert found is not None
    assert found[1] is not None
    done = found[1].counts.read
    assert 20_000 <= done < ROWS

    # Rows that are done are changed behind the checkpoint's back: were they read again, the new values would be in the store.
    status = path.stat()
    data = path.read_bytes()
    end = len(b"\n".join(data.split(b"\n", done + 1)[: done + 1]))
    path.write_bytes(data[:end].replace(b"1.5", b"9.5") + data[end:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    summary = ingest(view, "a.csv", "--resume", code=-1)
    assert summary["resumed"]
    assert (summary["read"], summary["written"], summary["rejected"]) == (ROWS, ROWS, 0)
    values = np.concatenate([values_of(client, view, list(range(at, at + 10_000)), "f9") for at in range(0, ROWS, 10_000)])
    assert np.array_equal(values, np.full(ROWS, 1.5))
    assert not checkpoint.exists()


@pytest.mark.parametrize(("options", "policy"), [((), os.SCHED_IDLE), (("--priority", "normal"), os.SCHED_OTHER)])
def test_a_load_gives_way_to_all_else_unless_told_otherwise(options, policy, define, start, tmp_path):
    view = define(**{f"f{i}": "float32" for i in range(10)})
    write_long_csv(tmp_path / "long.csv", ROWS)
    process = start(view, "long.csv", "--checkpoint", "c.json", *options)
    try:
        wait_for_progress(process, tmp_path / "c.json", 1)
        assert of_threads(process.pid, os.sched_getscheduler) == {policy}
    finally:
        process.kill()
        process.communicate()


def test_a_load_whose_server_dies_says_that_it_tries_again_and_goes_on(start_server, tmp_path):
    server = start_server()
    with featurestore_client.connect(server.url) as client:
        fields = [Field(name=f"f{i}", type="float32") for i in range(10)]
        client.apply([Entity(name="e", join_keys=[JoinKey(name="key")]), FeatureView(name="v", entity="e", features=fields)])
    write_long_csv(tmp_path / "a.csv", ROWS)
    command = [sys.executable, "-m", "featurestore", "ingest", "v", "a.csv", "--server", server.url, "--json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_progress(process, tmp_path / "default.v.ingest-checkpoint", 20_000)
    server.process.kill()
    server.wait()
    assert process.stderr is not None
    told = process.stderr.readline()  # before there is a server again
    assert told.startswith("v: trying again for up to ")
    again = start_server("--listen", server.target, directory=server.directory)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert json.loads(output)["written"] == ROWS
    assert again.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_load_that_is_stopped_says_how_to_go_on(number, define, start, ingest, client, tmp_path):
    view = define(**{f"f{i}": "float32" for i in range(10)})
    write_long_csv(tmp_path / "a.csv", ROWS)
    process = start(view, "a.csv")
    wait_for_progress(process, tmp_path / f"default.{view}.ingest-checkpoint", 1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"to go on: featurestore ingest {view} a.csv --resume" in errors
    (table,) = [table for table in client.list_tables() if table["view"] == view]
    found = read_checkpoint(tmp_path / f"default.{view}.ingest-checkpoint")
    assert found is not None
    assert found[1] is not None
    assert int(table["rows"]) == found[1].counts.written  # all that was sent is settled, and nothing else was sent
    assert ingest(view, "a.csv", "--resume", code=-1)["written"] == ROWS


def test_a_checkpoint_of_rows_that_the_server_has_lost_is_refused(define, start, client, tmp_path):
    view = define(**{f"f{i}": "float32" for i in range(10)})
    write_long_csv(tmp_path / "a.csv", ROWS)
    process = start(view, "a.csv")
    wait_for_progress(process, tmp_path / f"default.{view}.ingest-checkpoint", 1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    defined = client.describe_feature_view(view)["feature_view"]
    client.apply({"entities": [client.describe_entity(defined["entity"])["entity"]]}, prune=True)
    client.apply({"feature_views": [defined]})
    process = start(view, "a.csv", "--resume")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the server has lost them. Start over without --resume" in errors


# ----------------------------------------------------------------------------------------------------------------- memory


def peak_bytes(process: subprocess.Popen[str]) -> int:
    _, errors = process.communicate(timeout=110)
    assert process.returncode == 0, errors
    return int(errors.split("peak ")[1].split()[0]) << 10


def test_memory_is_bounded_whatever_the_size_of_a_row_group(define, start, tmp_path):
    """1.5 M rows of 50 doubles in one row group, 600 MB decoded, through a process that stays below 400 MB."""
    view = define(**{f"f{i}": "float32" for i in range(50)})
    rows, piece = 1_500_000, 50_000
    columns = {f"f{i}": np.random.default_rng(i).integers(0, 1_000, piece).astype("f8") for i in range(50)}
    table = pa.table({"key": range(piece), "event_timestamp": [TIME] * piece, **columns})
    whole = pa.concat_tables([table] * (rows // piece))
    pq.write_table(whole, tmp_path / "a.parquet", row_group_size=rows)
    assert pq.ParquetFile(tmp_path / "a.parquet").metadata.num_row_groups == 1
    assert peak_bytes(start(view, "a.parquet", watched=True)) < 400 << 20


def test_memory_is_bounded_for_text(define, start, tmp_path):
    """300 MB of CSV through a process that stays below 250 MB."""
    view = define(**{f"f{i}": "float32" for i in range(50)})
    line = ",".join(["{}", "2024-01-01", *(f"{i / 7:.6f}" for i in range(50))])
    block = "".join(line.format(key) + "\n" for key in range(1_000))
    with (tmp_path / "a.csv").open("w") as file:
        file.write(",".join(["key", "event_timestamp", *(f"f{i}" for i in range(50))]) + "\n")
        while file.tell() < 300_000_000:
            file.write(block)
    assert peak_bytes(start(view, "a.csv", "--dry-run", watched=True)) < 250 << 20
