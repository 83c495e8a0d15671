"""What a start makes of what it finds: tables in memory or not, definitions that have changed since, files that are damaged."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import featurestore_client
import pytest
from featurestore_client import calls
from featurestore_client.errors import FeatureStoreError, ResourceExhaustedError

from featurestore.durability import journal_number
from featurestore.durability.ending import NotedEnd, note_end
from featurestore.durability.reading import journal_files
from tests.faults.oracle import ENTITY, connect
from tests.faults.servers import Servers, servers


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Servers]:
    with servers(tmp_path) as each:
        yield each


def apply(client: featurestore_client.Client, **views: list[str]) -> None:
    """These views of int64 features, and no others."""
    shaped = [
        {"name": view, "entity": "e", "features": [{"name": name, "type": "int64"} for name in names]}
        for view, names in views.items()
    ]
    client.apply({"entities": [ENTITY], "feature_views": shaped}, prune=True)


def write(client: featurestore_client.Client, view: str, key: int, event: int, **features: int) -> None:
    client.write(view, {"k": [key], **{name: [value] for name, value in features.items()}}, event_timestamps=event)


def read(client: featurestore_client.Client, view: str, key: int, *names: str) -> list[Any]:
    values = client.get([f"{view}:{name}" for name in names], {"k": [key]}).to_dict()
    return [values[name][0] for name in names]


def test_a_start_after_a_clean_stop_replays_nothing(server: Servers):
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a"])
        write(client, "v", 1, 10, a=5)
    server.stop()
    assert server.start() == {}
    with connect(server.url) as client:
        assert read(client, "v", 1, "a") == [5]


def test_a_start_without_the_tables_rebuilds_them_from_the_journal(server: Servers):
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a", "b"])
        for event in range(1, 51):
            write(client, "v", event % 5, event, a=event)
        write(client, "v", 1, 100, b=7)
        client.delete("v", {"k": [2]}, event_timestamps=100)
        write(client, "v", 2, 99, a=99)
    server.stop()
    server.lose_memory()
    found = server.start()
    assert (found["records"], found["tables"], found["cut_bytes"]) == (53, 1, 0)
    with connect(server.url) as client:
        assert read(client, "v", 1, "a", "b") == [46, 7]
        assert read(client, "v", 2, "a", "b") == [None, None]
        assert read(client, "v", 3, "a", "b") == [48, None]


def test_tables_that_are_filled_again_have_the_shards_of_now(server: Servers):
    server.start(shards="2")
    with connect(server.url) as client:
        apply(client, v=["a"])
        client.write("v", {"k": [*range(100)], "a": [*range(100)]})
    server.stop()
    server.start(shards="8")
    with connect(server.url) as client:
        assert client.list_tables()[0]["shards"] == 2
    server.stop()
    server.lose_memory()
    server.start(shards="8")
    with connect(server.url) as client:
        assert client.list_tables()[0]["shards"] == 8
        assert client.get(["v:a"], {"k": [*range(100)]}).to_dict()["a"] == [*range(100)]


def test_without_an_event_time_the_clock_of_then_is_used_again(server: Servers):
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a"])
        client.write("v", {"k": [1], "a": [1]})
        before = client.get(["v:a"], {"k": [1]}, event_timestamps=True).event_timestamps
    server.kill()
    server.lose_memory()
    server.start()
    with connect(server.url) as client:
        after = client.get(["v:a"], {"k": [1]}, event_timestamps=True).event_timestamps
    assert before is not None
    assert after is not None
    assert (before == after).all()


@pytest.mark.parametrize("loss", ["none", "memory"])
def test_a_view_made_again_has_none_of_the_old_ones_rows(server: Servers, loss: str):
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a"], other=["a"])
        write(client, "v", 1, 10, a=1)
        write(client, "other", 1, 10, a=1)
        apply(client, other=["a"])
        apply(client, v=["a"], other=["a"])
        write(client, "v", 2, 10, a=2)
    server.kill()
    if loss == "memory":
        server.lose_memory()
    server.start()
    with connect(server.url) as client:
        assert read(client, "v", 1, "a") == [None]
        assert read(client, "v", 2, "a") == [2]
        assert read(client, "other", 1, "a") == [1]


@pytest.mark.parametrize("loss", ["none", "memory"])
def test_a_feature_made_again_has_none_of_the_old_ones_values(server: Servers, loss: str):
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a", "b"])
        write(client, "v", 1, 10, a=1, b=1)
        write(client, "v", 2, 10, a=1, b=1)
        apply(client, v=["a"])
        write(client, "v", 1, 11, a=2)
        apply(client, v=["a", "b"])
        write(client, "v", 2, 12, b=3)
    server.kill()
    if loss == "memory":
        server.lose_memory()
    server.start()
    with connect(server.url) as client:
        assert read(client, "v", 1, "a", "b") == [2, None]
        assert read(client, "v", 2, "a", "b") == [1, 3]


def test_rows_that_were_streamed_in_are_kept(server: Servers):
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a"])
        client.ingest("v", [{"k": [*range(n * 100, n * 100 + 100)], "a": [n] * 100} for n in range(20)])
    server.kill()
    server.lose_memory()
    server.start()
    with connect(server.url) as client:
        assert client.get(["v:a"], {"k": [*range(2_000)]}).to_dict()["a"] == [key // 100 for key in range(2_000)]


def test_damage_is_refused_with_file_and_offset_and_no_traceback(server: Servers):
    server.start(fsync="always")
    with connect(server.url) as client:
        apply(client, v=["a"])
        for event in range(1, 11):
            write(client, "v", event, event, a=event)
    server.stop()
    path = journal_files(server.data / "journal")[0].path
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    server.lose_memory()
    assert server.refused().startswith(f"{path}: got damage at byte 40, expected record 1, which had been written and synced")
    path.chmod(0)
    if not os.access(path, os.R_OK):  # root reads everything
        assert server.refused() == f"{path}: got Permission denied, expected a journal's file that can be read"
    path.chmod(0o600)
    path.unlink()
    path.mkdir()
    assert server.refused() == f"{path}: got Is a directory, expected a journal's file that can be read"
    path.rmdir()
    assert "Traceback" not in "".join(server.lines)
    path.write_bytes(whole)
    server.start()
    with connect(server.url) as client:
        assert [read(client, "v", key, "a") for key in range(1, 11)] == [[key] for key in range(1, 11)]


def test_a_torn_end_is_cut_and_told(server: Servers):
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a"])
        write(client, "v", 1, 1, a=1)
    server.kill()
    path = journal_files(server.data / "journal")[0].path
    with path.open("ab") as file:
        file.write(b"half a record")
    assert server.start()["cut_bytes"] == len(b"half a record")
    with connect(server.url) as client:
        assert read(client, "v", 1, "a") == [1]


def test_what_was_written_under_other_limits_comes_back_all_the_same(server: Servers):
    texts = {
        "entities": [{"name": "t", "join_keys": [{"name": "t", "type": "string"}]}],
        "feature_views": [{"name": "of_t", "entity": "t", "features": [{"name": "s", "type": "string"}]}],
    }
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a"])
        client.apply(texts)
        client.write("v", {"k": [*range(50)], "a": [*range(50)]})
        client.write("of_t", {"t": ["key" * 10], "s": ["value" * 10]})
    tight = {"batch_rows_max": "9", "rows_max": "9", "key_bytes_max": "9", "value_bytes_max": "9"}
    for _ in range(2):  # from the journal, and then from a snapshot
        server.kill()
        server.lose_memory()
        server.start(**tight)
        with connect(server.url) as client:
            assert read(client, "v", 49, "a") == [49]
            with pytest.raises(ResourceExhaustedError, match="rows of a batch: got 10, at most 9 is allowed"):
                client.write("v", {"k": [*range(10)], "a": [*range(10)]})
            client.take_snapshot()
    server.kill()
    server.start()
    with connect(server.url) as client:
        assert client.get(["of_t:s"], {"t": ["key" * 10]}).to_dict()["s"] == ["value" * 10]


def test_a_full_disk_refuses_writes_reads_go_on_and_space_is_all_it_takes(small_disk: Path, tmp_path: Path):
    with servers(tmp_path) as server:
        server.data = small_disk / "data"
        server.start()
        with connect(server.url) as client:
            apply(client, v=["a"])
            write(client, "v", 0, 1, a=1)
            filler = small_disk / "filler"
            with filler.open("wb", buffering=0) as file:
                while (left := os.statvfs(small_disk)).f_bavail > 3:
                    file.write(bytes(left.f_frsize))
            written, sentence = 0, ""
            while not sentence:
                try:
                    client.write("v", {"k": [*range(100)], "a": [written + 2] * 100}, event_timestamps=written + 2)
                    written += 1
                except ResourceExhaustedError as error:
                    sentence = error.message
            assert sentence.startswith(f"the journal's disk is full: {server.data}/journal has ")
            assert sentence.endswith("nothing was written. Make room there, and writes go on by themselves")
            assert read(client, "v", 7, "a") == [written + 1]
            with pytest.raises(ResourceExhaustedError):
                client.write("v", {"k": [*range(100)], "a": [-1] * 100}, event_timestamps=written + 2)
            with pytest.raises(ResourceExhaustedError):
                client.delete("v", {"k": [*range(100)]}, event_timestamps=written + 2)
            assert read(client, "v", 7, "a") == [written + 1]
            filler.unlink()
            client.write("v", {"k": [*range(100)], "a": [9] * 100}, event_timestamps=written + 3)
        server.kill()
        server.lose_memory()
        server.start()
        with connect(server.url) as client:
            assert read(client, "v", 7, "a") == [9]
        server.stop()


def test_a_start_on_a_full_disk_serves_reads(small_disk: Path, tmp_path: Path):
    with servers(tmp_path) as server:
        server.data = small_disk / "data"
        server.start()
        with connect(server.url) as client:
            apply(client, v=["a"])
            write(client, "v", 1, 1, a=1)
        server.stop()
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4_096)):
                pass
        server.start()
        with connect(server.url) as client:
            assert read(client, "v", 1, "a") == [1]
            with pytest.raises(FeatureStoreError, match="the journal's disk is full"):
                write(client, "v", 1, 2, a=2)
            filler.unlink()
            write(client, "v", 1, 2, a=2)
            assert read(client, "v", 1, "a") == [2]
        server.stop()


def test_a_read_only_disk_serves_reads_and_refuses_writes(small_disk: Path, tmp_path: Path):
    with servers(tmp_path) as server:
        server.data = small_disk / "data"
        server.start()
        with connect(server.url) as client:
            apply(client, v=["a"])
            write(client, "v", 1, 1, a=1)
        server.stop()
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        server.start()
        with connect(server.url) as client:
            assert read(client, "v", 1, "a") == [1]
            with pytest.raises(FeatureStoreError, match="got Read-only file system, expected to write"):
                write(client, "v", 1, 2, a=2)
            assert read(client, "v", 1, "a") == [1]
        server.stop()


def test_tables_of_another_journal_are_not_trusted(server: Servers):
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a"])
        write(client, "v", 1, 1, a=1)
    server.stop()
    kept = server.directory / "kept"
    shutil.copytree(server.data, kept)
    server.start()
    with connect(server.url) as client:
        write(client, "v", 1, 2, a=2)
    server.stop()
    shutil.rmtree(server.data / "journal")
    server.start()  # the tables are all that there is: they are kept, and a journal of another number begins
    with connect(server.url) as client:
        assert read(client, "v", 1, "a") == [2]
        write(client, "v", 2, 2, a=2)
    server.stop()
    shutil.rmtree(server.data)
    kept.rename(server.data)
    assert server.start()["tables"] == 1
    with connect(server.url) as client:
        assert read(client, "v", 1, "a") == [1]
        assert read(client, "v", 2, "a") == [None]


def test_the_log_says_what_was_repaired_in_one_line(server: Servers):
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a"])
        write(client, "v", 1, 1, a=1)
    server.kill()
    server.lose_memory()
    server.start()
    lines = [json.loads(line) for line in server.lines if '"recovered"' in line]
    assert len(lines) == 1
    assert {"records", "tables", "cut_bytes", "seconds"} <= lines[0].keys()


ROWS_OFFSET, ROW_SEQ, VALUES = 4_096, 16, 32
"""Where rows begin in an arena; and in a row of int64 features the sequence number and the values (``tables/segment.pxd``)."""


def tear_rows(table: Path) -> int:
    """Makes the first row of each shard one whose writer died over it: a part of it is of another write."""
    torn = 0
    for path in table.glob("arena-*"):
        with path.open("r+b") as file:
            file.seek(ROWS_OFFSET + ROW_SEQ)
            sequence = int.from_bytes(file.read(4), "little")
            if sequence:
                file.seek(ROWS_OFFSET + ROW_SEQ)
                file.write((sequence + 1).to_bytes(4, "little"))
                file.seek(ROWS_OFFSET + VALUES)
                file.write(b"\xff" * 8)
                torn += 1
    return torn


def test_a_row_that_its_writer_died_over_comes_back_with_what_it_held_before(server: Servers):
    server.start(shards="2")
    with connect(server.url) as client:
        apply(client, v=["a", "b"], other=["a"])
        for key in range(50):
            write(client, "v", key, 1, a=key, b=key)
        write(client, "other", 1, 1, a=1)
        for key in range(50):
            write(client, "v", key, 2, a=-key)
    server.kill()
    assert tear_rows(server.segments / "default.v") == 2
    assert server.start(shards="2")["tables"] == 1
    with connect(server.url) as client:
        assert [read(client, "v", key, "a", "b") for key in range(50)] == [[-key, key] for key in range(50)]
        assert read(client, "other", 1, "a") == [1]


def test_a_start_that_ends_while_it_fills_a_table_is_begun_again(server: Servers):
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a"])
        for key in range(20):
            write(client, "v", key, 1, a=key)
        client.write("v", {"k": [*range(50, 100)], "a": [*range(50, 100)]})
    server.kill()
    shutil.rmtree(server.segments / "default.v")  # the mark beside it still says that all is applied
    (file,) = journal_files(server.data / "journal")
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:-1] + b"x")
    note_end(file.path.parent, NotedEnd(journal_number(file.path.parent), 21))
    assert "expected record 21, which had been written and synced" in server.refused()
    file.path.write_bytes(whole)
    server.start()
    with connect(server.url) as client:
        assert [read(client, "v", key, "a") for key in (0, 19, 50, 99)] == [[0], [19], [50], [99]]


def test_a_start_without_the_definitions_is_refused_and_loses_nothing(server: Servers):
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a"])
        write(client, "v", 1, 1, a=1)
        client.take_snapshot()
        write(client, "v", 1, 2, a=2)
    server.stop()
    registry = server.data / "registry.json"
    kept = registry.rename(server.directory / "kept")
    assert f"{registry} is not there, and {server.data / 'journal'} holds rows whose definitions were in it" in server.refused()
    server.lose_memory()
    assert "is not there" in server.refused()
    kept.rename(registry)
    server.start()
    with connect(server.url) as client:
        assert read(client, "v", 1, "a") == [2]


def test_a_start_without_the_last_file_of_a_closed_journal_is_refused(server: Servers):
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a"])
        write(client, "v", 1, 1, a=1)
        client.take_snapshot()
        write(client, "v", 1, 2, a=2)
    server.stop()
    last = journal_files(server.data / "journal")[-1].path
    kept = last.rename(server.directory / "kept")
    for _ in range(2):  # with the tables in memory, and without
        assert "got no file of a journal, expected record 2 as its last one, as when it was closed" in server.refused()
        server.lose_memory()
    kept.rename(last)
    server.start()
    with connect(server.url) as client:
        assert read(client, "v", 1, "a") == [2]


@pytest.mark.parametrize("fsync", ["interval", "never", "always"])
def test_a_loss_of_power_soon_after_a_file_was_begun_costs_no_more_than_what_was_not_synced(server: Servers, fsync: str):
    server.start(fsync=fsync, fsync_interval_s="3600")
    with connect(server.url) as client:
        apply(client, v=["a"], w=["a"])
        for key in range(20):
            write(client, "w", key, 1, a=key)
        client._run(calls.begin_replace("default", "v", "a load that begins a file", 0), 10)
        files, key = server.data / "journal", 20
        while len(journal_files(files)) < 2:
            write(client, "w", key, 1, a=key)
            key += 1
    server.kill()
    server.lose_power()
    server.start()
    with connect(server.url) as client:
        found = [read(client, "w", each, "a")[0] for each in range(key)]
        there = key - found.count(None)
        assert found == [*range(there), *[None] * (key - there)]
        assert fsync != "always" or there == key
        write(client, "w", 0, 2, a=100)
    server.stop()
    server.lose_memory()
    server.start()
    with connect(server.url) as client:
        assert read(client, "w", 0, "a") == [100]


def test_a_read_only_disk_with_what_a_killed_server_left_half_done_serves_reads(small_disk: Path, tmp_path: Path):
    with servers(tmp_path) as server:
        server.data = small_disk / "data"
        server.start()
        with connect(server.url) as client:
            apply(client, v=["a"])
            write(client, "v", 1, 1, a=1)
        server.kill()
        journal = server.data / "journal"
        (journal / f"{7:020d}.next.new").write_bytes(b"")
        (journal / "versions/default.v/half-done.new").mkdir(parents=True)
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        server.start()
        with connect(server.url) as client:
            assert read(client, "v", 1, "a") == [1]
        server.stop()


def test_a_row_that_was_torn_and_a_journal_that_ends_before_the_mark(server: Servers):
    """Both have their table made anew, and it is one table."""
    server.start()
    with connect(server.url) as client:
        apply(client, v=["a"])
        for key in range(10):
            write(client, "v", key, 1, a=key)
    server.kill()
    path = journal_files(server.data / "journal")[-1].path
    os.truncate(path, path.stat().st_size - 8)
    assert tear_rows(server.segments / "default.v")
    server.start()
    with connect(server.url) as client:
        assert [read(client, "v", key, "a")[0] for key in range(10)] == [*range(9), None]
