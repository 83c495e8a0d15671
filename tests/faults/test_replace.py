"""Loads that replace, and what becomes of them when something breaks: all of the new rows, or all of the old ones."""

import itertools
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import featurestore_client
import pytest
from featurestore_client import calls
from featurestore_client.errors import FailedPreconditionError, FeatureStoreError, NotFoundError, ResourceExhaustedError

import featurestore
from featurestore.durability.reading import journal_files
from featurestore.registry import Registry, ViewVersions
from featurestore.server import in_process
from featurestore.server.context import CallContext
from featurestore.service import replacing
from featurestore.service.replacing import Replacing, Staged
from featurestore.service.snapshots import SnapshotWriter
from tests.faults.oracle import ENTITY, connect
from tests.faults.servers import Servers, servers

KEYS = [*range(200)]
VIEW = {"name": "v", "entity": "e", "features": [{"name": "a", "type": "int64"}, {"name": "s", "type": "string"}]}
DEFINITIONS = {"entities": [ENTITY], "feature_views": [VIEW]}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Servers]:
    with servers(tmp_path, shards="2") as each:
        yield each


def rows(value: int, keys: list[int] = KEYS) -> dict[str, Any]:
    return {"k": keys, "a": [value] * len(keys), "s": [f"{value}," * (key % 5) for key in keys]}


def now_us() -> int:
    return time.time_ns() // 1_000


def values(client: featurestore_client.Client, *keys: int) -> list[Any]:
    found: list[Any] = client.get(["v:a"], {"k": [*keys]}).to_dict()["a"]
    return found


def begun(server: Servers, client: featurestore_client.Client) -> None:
    client.apply(DEFINITIONS)
    client.write("v", rows(1), event_timestamps=1)


LOSSES: dict[str, Callable[[Servers], None]] = {
    "the process": lambda server: None,
    "the memory": Servers.lose_memory,
    "the power": Servers.lose_power,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_replaced_is_there_after_the_loss_of(server: Servers, loss: str) -> None:
    server.start(fsync="always")
    with connect(server.url) as client:
        begun(server, client)

        def load() -> Iterator[dict[str, Any]]:
            yield rows(2, KEYS[:100])
            client.write("v", {"k": [7], "a": [70]}, event_timestamps=now_us())
            yield rows(2, KEYS[100:150])

        client.replace("v", load(), source="first")
        client.write("v", {"k": [8], "a": [80]}, event_timestamps=now_us())
        before = values(client, 7, 8, 9, 149, 150)
        assert before == [70, 80, 2, 2, None]
    server.kill()
    LOSSES[loss](server)
    server.start(fsync="always")
    with connect(server.url) as client:
        assert values(client, 7, 8, 9, 149, 150) == before
        assert client.rollback("v").version.source == "version 1"
        assert values(client, 7, 8, 150) == [70, 1, 1]  # as it was when it was replaced
        client.write("v", {"k": [9], "a": [90]}, event_timestamps=now_us())
    server.kill()
    LOSSES[loss](server)
    server.start(fsync="always")
    with connect(server.url) as client:
        assert values(client, 7, 9, 150) == [70, 90, 1]
        assert client.rollback("v").version.source == "version 2 (first)"
        assert values(client, 7, 8, 9, 149, 150) == before


def test_a_load_that_the_server_did_not_outlive_leaves_the_old_rows_and_no_memory(server: Servers) -> None:
    server.start()
    with connect(server.url) as client:
        begun(server, client)
        load = client._run(calls.begin_replace("default", "v", "lost", 0), 10)
        assert [*(server.segments / "staged").iterdir()]
    server.kill()
    server.start()
    with connect(server.url) as client:
        assert not (server.segments / "staged").exists()
        assert values(client, 1) == [1]
        with pytest.raises(NotFoundError, match=r"there is no such load \(any more\)"):
            client._run(calls.commit_replace(load, calls.ReplaceChecks()), 10)
        client.replace("v", rows(2))
        assert values(client, 1) == [2]


def test_a_load_without_a_stream_is_given_up(server: Servers) -> None:
    server.start(replace_idle_s="0.2")
    with connect(server.url) as client:
        begun(server, client)
        load = client._run(calls.begin_replace("default", "v", "gone", 0), 10)
        assert server.wait_for("load given up")["source"] == "gone"
        with pytest.raises(NotFoundError, match=r"had no stream for 0\.2 s"):
            client._run(calls.commit_replace(load, calls.ReplaceChecks()), 10)
        client.replace("v", rows(2))  # another one may begin
        assert values(client, 1) == [2]


def test_a_load_whose_client_was_killed_is_given_up(server: Servers) -> None:
    server.start(replace_idle_s="0.5")
    with connect(server.url) as client:
        begun(server, client)
        command = [
            sys.executable,
            "-m",
            "featurestore",
            "ingest",
            "v",
            "-",
            "--format",
            "csv",
            "--replace",
            "--timestamp",
            "now",
        ]
        with subprocess.Popen([*command, "--server", server.url], stdin=subprocess.PIPE, text=True) as load:
            assert load.stdin is not None
            # More than a pipe holds: when it is taken, the load has begun.
            load.stdin.write("k,a,s\n" + "".join(f"{key},2,x\n" for key in range(1_000_000)))
            load.stdin.flush()
            load.kill()
            with suppress(BrokenPipeError):
                load.stdin.close()
        assert server.wait_for("load given up")["source"] == "standard input"
        assert values(client, 1) == [1]
        client.replace("v", rows(2))
        assert values(client, 1) == [2]


def test_a_commit_that_is_asked_again_answers_the_same(server: Servers) -> None:
    server.start()
    with connect(server.url) as client:
        begun(server, client)
        load = client._run(calls.begin_replace("default", "v", "", 0), 10)
        commit = calls.commit_replace(load, calls.ReplaceChecks(max_drop=1.0))
        first = client._run(commit, 10)
        assert client._run(commit, 10) == first
        assert first.version.number == 2
        client._run(calls.abort_replace(load), 10)  # too late, and no harm
        assert client.describe_feature_view("v")["version"]["number"] == 2


def test_a_snapshot_that_was_begun_before_the_swap_does_not_take_the_journal_that_the_new_rows_need(tmp_path: Path) -> None:
    with servers(tmp_path, shards="2", snapshot_bytes_min="1") as server:
        server.start()
        with connect(server.url) as client:
            begun(server, client)

            def load() -> Iterator[dict[str, Any]]:
                yield rows(2)
                client.write("v", {"k": [7], "a": [70]}, event_timestamps=now_us())
                snapshots = sum('"snapshot"' in line for line in server.lines)
                while sum('"snapshot"' in line for line in server.lines) == snapshots:
                    client.write("v", {"k": KEYS[100:], "a": [5] * 100, "s": ["x" * 900] * 100}, event_timestamps=1)

            client.replace("v", load())
        server.kill()
        server.lose_memory()
        server.start()
        with connect(server.url) as client:
            assert values(client, 6, 7, 150) == [2, 70, 2]
            number = client.describe_feature_view("v")["version"]["number"]
            assert number == 2
            snapshots = sum('"snapshot"' in line for line in server.lines)
            while sum('"snapshot"' in line for line in server.lines) == snapshots:
                client.write("v", {"k": KEYS[100:], "a": [5] * 100, "s": ["x" * 900] * 100}, event_timestamps=1)
        server.stop()
        # What a snapshot stands for is on disk once, the version before it for a rollback.
        assert [each.name.partition("-")[0] for each in (server.data / "journal/versions/default.v").iterdir()] == ["1"]
        assert journal_files(server.data / "journal")[0].first_sequence > 1
        server.lose_memory()
        server.start()
        with connect(server.url) as client:
            assert values(client, 6, 7) == [2, 70]
            client.rollback("v")
            assert values(client, 6) == [1]


def test_a_snapshot_that_was_begun_before_the_swap_and_ends_long_after_it_leaves_the_journal_behind_the_new_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written down; then comes a write, and the snapshot, which stands for the write and not for the new rows."""
    is_replaced = threading.Event()
    write, write_down = SnapshotWriter.write, Replacing.write_down

    def write_late(self: SnapshotWriter, segments: Path, target: Path, definitions: int, **named: Any) -> int:
        if named.pop("gives_way", False):
            assert is_replaced.wait(30)
            named["memory_bytes"] = 0  # so that it needs no process
        return write(self, segments, target, definitions, **named)

    def write_down_before_more(self: Replacing, staged: Staged) -> None:
        write_down(self, staged)
        client.write("v", {"k": [7], "a": [70]}, event_timestamps=now_us())
        snapshot.start()
        while not [*(tmp_path / "data/journal").glob("snapshot.*.new")]:
            assert snapshot.is_alive()

    with featurestore.open(tmp_path / "data", segments=tmp_path / "segments") as client:
        client.apply(DEFINITIONS)
        client.write("v", rows(1), event_timestamps=1)
        monkeypatch.setattr(SnapshotWriter, "write", write_late)
        monkeypatch.setattr(Replacing, "write_down", write_down_before_more)
        snapshot = threading.Thread(target=client.take_snapshot)
        client.replace("v", rows(2))
        is_replaced.set()
        snapshot.join()
    shutil.rmtree(tmp_path / "segments")
    with featurestore.open(tmp_path / "data", segments=tmp_path / "segments") as client:
        assert values(client, 6, 7) == [2, 70]


def test_as_many_versions_are_kept_as_is_said_and_go_with_their_view(server: Servers) -> None:
    server.start(versions_kept="2")
    with connect(server.url) as client:
        begun(server, client)
        for value in (2, 3, 4):
            client.replace("v", rows(value), source=f"load {value}")
        described = client.describe_feature_view("v")
        assert [each["source"] for each in described["kept"]] == ["load 3", "load 2"]
        assert client.rollback("v", version=2).version.source == "version 2 (load 2)"
        assert values(client, 1) == [2]
        client.apply({"entities": [ENTITY], "feature_views": []}, prune=True)
        assert not [*(server.data / "journal/versions").iterdir()]
        client.apply(DEFINITIONS)
        described = client.describe_feature_view("v")
        assert (described["version"]["number"], described["kept"]) == (1, [])
        assert values(client, 1) == [None]
    server.stop()
    server.start(versions_kept="0")
    with connect(server.url) as client:
        client.write("v", rows(1), event_timestamps=1)
        assert not client.replace("v", rows(2)).former_is_kept
        assert client.describe_feature_view("v")["kept"] == []
    server.kill()
    server.lose_memory()
    server.start()
    with connect(server.url) as client:
        assert values(client, 1) == [2]


def test_a_feature_that_was_dropped_since_is_not_in_a_version_that_comes_back(server: Servers) -> None:
    server.start()
    with connect(server.url) as client:
        begun(server, client)
        client.replace("v", rows(2))
        client.apply({"entities": [ENTITY], "feature_views": [{**VIEW, "features": VIEW["features"][1:]}]})
        client.apply(DEFINITIONS)  # another feature of the same name
        client.rollback("v")
        assert client.get(["v:a", "v:s"], {"k": [4]}).to_dict() == {"a": [None], "s": ["1," * 4]}


def test_the_memory_of_rows_that_no_longer_serve_is_given_back(server: Servers) -> None:
    server.start()
    with connect(server.url) as client:
        begun(server, client)
        client.replace("v", rows(2))
        with suppress(FeatureStoreError):
            client.replace("v", rows(3), checks=featurestore_client.ReplaceChecks(rows_min=10_000))
        client.rollback("v")
        assert values(client, 1) == [1]
    mapped = [line for line in Path(f"/proc/{server.pid}/maps").read_text().splitlines() if str(server.segments) in line]
    assert mapped
    assert not [line for line in mapped if line.endswith("(deleted)")]


@pytest.mark.parametrize("flags", [{}, {"workers": "1"}], ids=["one process", "a reader"])
def test_an_export_is_never_of_two_versions(server: Servers, flags: dict[str, str]) -> None:
    server.start(**flags)
    with connect(server.url) as client:
        client.apply(DEFINITIONS)
        client.write("v", {"k": [*range(40_000)], "s": ["x" * 400] * 40_000}, event_timestamps=1)
        batches = iter(client.export("v"))
        next(batches)
        client.replace("v", rows(2), checks=featurestore_client.ReplaceChecks(max_drop=1.0))
        with pytest.raises(FailedPreconditionError, match="view 'v' was replaced while its rows were read, by version 2: exp"):
            list(batches)
        assert sum(batch.num_rows for batch in client.export("v")) == len(KEYS)


def test_memory_for_two_is_asked_for_before_a_load_begins(server: Servers) -> None:
    server.start()
    with connect(server.url) as client:
        client.apply(DEFINITIONS)
        keys = [*range(60_000)]
        client.write("v", {"k": keys, "a": keys}, event_timestamps=1)
        memory_bytes = client.describe_feature_view("v")["table"]["memory_bytes"]
    server.stop()
    server.start(max_memory=str(int(memory_bytes * 1.8)))
    with connect(server.url) as client:
        with pytest.raises(
            ResourceExhaustedError, match="view 'v' cannot be replaced: the old and the new rows are in memory together"
        ):
            client.replace("v", rows(2))
        with pytest.raises(ResourceExhaustedError, match="cannot be replaced"):
            client.replace("v", rows(2), checks=featurestore_client.ReplaceChecks(rows_min=1_000_000))
        assert values(client, 1, 59_999) == [1, 59_999]
        assert not (server.segments / "staged").exists()


def test_a_full_disk_replaces_nothing_and_space_is_all_it_takes(small_disk: Path, tmp_path: Path) -> None:
    with servers(tmp_path) as server:
        server.data = small_disk / "data"
        server.start()
        with connect(server.url) as client:
            begun(server, client)
            filler = small_disk / "filler"
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(bytes(4_096)):
                    pass
            with pytest.raises(FeatureStoreError, match=r"disk is full|No space left"):
                client.replace("v", rows(2))
            assert values(client, 1) == [1]
            assert client.describe_feature_view("v")["version"]["number"] == 1
            filler.unlink()
            client.replace("v", rows(2))
            assert values(client, 1) == [2]
        server.stop()


def test_a_version_whose_files_are_damaged_is_refused_with_the_file(server: Servers) -> None:
    server.start()
    with connect(server.url) as client:
        begun(server, client)
        client.replace("v", rows(2))
        (kept,) = (path for path in (server.data / "journal/versions/default.v").iterdir() if path.name.startswith("1-"))
        path = journal_files(kept)[0].path
        whole = path.read_bytes()
        path.write_bytes(whole[:900] + bytes([whole[900] ^ 1]) + whole[901:])
        with pytest.raises(FeatureStoreError, match=f"{path}: got damage at byte "):
            client.rollback("v")
        assert values(client, 1) == [2]
        path.write_bytes(whole)
        client.rollback("v")
        assert values(client, 1) == [1]
    server.kill()
    server.lose_memory()
    shutil.rmtree(server.data / "journal/versions")
    assert "got no files of version 3 of view 'v'" in server.refused()


def start_with(server: Servers, table: Path, before: Path) -> None:
    """Kills the server, and starts one that finds the table as it was before."""
    server.kill()
    shutil.rmtree(table)
    before.rename(table)
    server.start()


def test_the_tables_of_a_swap_that_was_not_finished_are_those_of_the_registry(server: Servers) -> None:
    """Killed between the commit of the registry and the exchange of the tables."""
    server.start()
    with connect(server.url) as client:
        begun(server, client)
        table = server.segments / "default.v"
        before = shutil.copytree(table, server.directory / "before")
        client.replace("v", rows(2))
        client.write("v", {"k": [7], "a": [70]}, event_timestamps=now_us())
    start_with(server, table, before)
    with connect(server.url) as client:
        assert values(client, 6, 7) == [2, 70]


def test_the_tables_of_a_swap_before_any_write_are_those_of_the_registry(server: Servers) -> None:
    """As above, where there is no journal yet that would say so."""
    server.start()
    with connect(server.url) as client:
        client.apply(DEFINITIONS)
        table = server.segments / "default.v"
        before = shutil.copytree(table, server.directory / "before")
        client.replace("v", rows(2))
    start_with(server, table, before)
    with connect(server.url) as client:
        assert values(client, 6, 7) == [2, 2]


def test_what_is_written_after_a_loss_of_power_is_not_taken_for_what_a_version_holds(server: Servers) -> None:
    server.start(fsync_interval_s="3600")
    with connect(server.url) as client:
        begun(server, client)
        for key in range(50):
            client.write("v", {"k": [key], "a": [3]}, event_timestamps=now_us())
        client.replace("v", rows(2, [*range(20)]))
    server.kill()
    server.lose_power()
    server.start(fsync="always")
    with connect(server.url) as client:
        for key in range(10):
            client.write("v", {"k": [key], "a": [1000 + key]}, event_timestamps=now_us())
    server.stop()
    server.lose_memory()
    server.start()
    with connect(server.url) as client:
        assert values(client, *range(10)) == [1000 + key for key in range(10)]


def test_what_cannot_be_tidied_after_the_swap_does_not_undo_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = replacing.keep_versions

    def once(*arguments: Any, **named: Any) -> None:
        monkeypatch.setattr(replacing, "keep_versions", kept)
        raise FileNotFoundError(2, "No such file or directory")

    with featurestore.open(tmp_path / "data", segments=tmp_path / "segments") as client:
        client.apply(DEFINITIONS)
        client.write("v", rows(1), event_timestamps=1)
        monkeypatch.setattr(replacing, "keep_versions", once)
        assert client.replace("v", rows(2)).version.number == 2
        assert client.replace("v", rows(3)).version.number == 3
        assert client.rollback("v").version.source == "version 2"
    shutil.rmtree(tmp_path / "segments")
    with featurestore.open(tmp_path / "data", segments=tmp_path / "segments") as client:
        assert values(client, 1, 2) == [2, 2]


def test_a_write_that_comes_just_before_the_swap_is_in_the_new_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catch_up, times = Replacing.catch_up, itertools.count(1)

    def catch_up_before_more(self: Replacing, staged: Staged) -> int:
        applied = catch_up(self, staged)
        if next(times) == 2:  # the last one that no writer waits for
            client.write("v", {"k": [7], "a": [70]}, event_timestamps=now_us())
        return applied

    with featurestore.open(tmp_path / "data", segments=tmp_path / "segments") as client:
        client.apply(DEFINITIONS)
        client.write("v", rows(1), event_timestamps=1)
        monkeypatch.setattr(Replacing, "catch_up", catch_up_before_more)
        client.replace("v", rows(2))
        assert values(client, 6, 7) == [2, 70]


def test_a_write_of_a_thread_of_its_own_is_not_lost_at_the_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has asked whether it need wait, and then stands still until the swap is under way."""
    asked, is_swapping, written = threading.Event(), threading.Event(), threading.Event()
    checks = itertools.count(1)

    class Standing(CallContext):
        def check_deadline(self) -> None:
            if threading.current_thread() is writer and next(checks) == 2:  # the first is before it asks
                asked.set()
                assert is_swapping.wait(30)

    commit = Registry.commit_versions

    def commit_once(self: Registry, project: str, view: str, versions: ViewVersions) -> None:
        if not is_swapping.is_set():
            is_swapping.set()
            written.wait(0.5)  # enough for the write, if nothing kept it out
        commit(self, project, view, versions)

    def write() -> None:
        nonlocal checks
        while not asked.is_set():  # one that finds the table in use waits for its turn in another thread
            checks = itertools.count(1)
            client.write("v", {"k": [500], "a": [555]})
        written.set()

    with featurestore.open(tmp_path / "data", segments=tmp_path / "segments") as client:
        client.apply(DEFINITIONS)
        client.write("v", rows(1), event_timestamps=1)
        monkeypatch.setattr(in_process, "CallContext", Standing)
        monkeypatch.setattr(Registry, "commit_versions", commit_once)
        writer = threading.Thread(target=write)
        writer.start()
        assert asked.wait(30)
        client.replace("v", rows(2))
        writer.join()
        assert values(client, 1, 500) == [2, 555]
