"""Snapshots: what they stand for is all there, the journal behind them is gone, and what is not whole is not used."""

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import featurestore_client
import pytest

import featurestore
from featurestore.durability import latest_snapshot
from featurestore.durability.reading import journal_files
from featurestore.errors import FeatureStoreError, InternalError, ResourceExhaustedError
from featurestore.server import snapshot_process
from featurestore.server.snapshot_process import write_snapshot
from tests.faults.oracle import connect
from tests.faults.servers import Servers, servers

TYPES = ("bool", "int32", "string", "int64", "float32", "float64", "timestamp", "bytes", "float32[2]", "int64[2]")
DEFINITIONS = {
    "entities": [
        {"name": "user", "join_keys": [{"name": "user", "type": "int64"}]},
        {"name": "page", "join_keys": [{"name": "page", "type": "string"}]},
        {"name": "pair", "join_keys": [{"name": "left", "type": "int64"}, {"name": "right", "type": "int64"}]},
        {"name": "visit", "join_keys": [{"name": "user", "type": "int64"}, {"name": "page", "type": "string"}]},
    ],
    "feature_views": [
        {
            "name": f"of_{entity}",
            "entity": entity,
            "features": [
                {"name": name.replace("[2]", "s"), "type": name}
                for name in (
                    "bool",
                    "int32",
                    "string",
                    "int64",
                    "float32",
                    "float64",
                    "timestamp",
                    "bytes",
                    "float32[2]",
                    "int64[2]",
                )
            ],
        }
        for entity in ("user", "page", "pair", "visit")
    ],
}
KEYS: dict[str, dict[str, list[Any]]] = {
    "user": {"user": [*range(300)]},
    "page": {"page": ["p" * (n % 9) + str(n) for n in range(300)]},
    "pair": {"left": [n % 7 for n in range(300)], "right": [*range(300)]},
    "visit": {"user": [n % 7 for n in range(300)], "page": [f"p{n}" * (1 + n % 3) for n in range(300)]},
}
FEATURES = ["bool", "int32", "string", "int64", "float32", "float64", "timestamp", "bytes", "float32s", "int64s"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Servers]:
    with servers(tmp_path, shards="2", snapshot_bytes_min="1") as each:
        yield each


def values(number: int) -> dict[str, Any]:
    return {
        "bool": number % 2 == 0,
        "int32": number,
        "string": "s" * (number % 11),
        "int64": number << 33,
        "float32": number / 2,
        "float64": number / 3,
        "timestamp": number * 1_000_000,
        "bytes": bytes([number % 256]) * (number % 5),
        "float32s": [number, -number],
        "int64s": [number, number << 40],
    }


def fill(client: featurestore_client.Client) -> None:
    """Rows of each kind, some of them with nulls, some deleted, each of an event time of its own."""
    for entity, keys in KEYS.items():
        rows = [values(number) for number in range(300)]
        columns = {name: [row[name] for row in rows] for name in FEATURES}
        for place, name in enumerate(FEATURES):
            columns[name][place::13] = [None] * len(columns[name][place::13])
        times = [1_700_000_000_000_000 + number for number in range(300)]
        client.write(f"of_{entity}", {**keys, **columns}, event_timestamps=times)
        gone = {name: column[5::20] for name, column in keys.items()}
        client.delete(f"of_{entity}", gone, event_timestamps=1_700_000_000_001_000)


def everything(client: featurestore_client.Client) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entity, keys in KEYS.items():
        batch = client.get([f"of_{entity}:{name}" for name in FEATURES], keys, event_timestamps=True)
        assert batch.event_timestamps is not None
        found[entity] = (repr(batch.to_dict()), batch.event_timestamps.tolist(), batch.statuses.tolist())
    return found


def write_until_snapshot(server: Servers, client: featurestore_client.Client) -> None:
    """Overwrites rows until the journal is large enough that a snapshot is taken, and it has been."""
    snapshots = sum('"snapshot"' in line for line in server.lines)
    ends = time.monotonic() + 60
    value = 0
    while sum('"snapshot"' in line for line in server.lines) == snapshots:
        assert time.monotonic() < ends, "no snapshot is taken"
        value += 1
        columns = {"string": ["x" * 900 + str(value)] * 100, "int32": [value] * 100}
        client.write("of_user", {"user": [*range(100)], **columns}, event_timestamps=1_700_000_000_002_000 + value)


def test_all_comes_back_from_a_snapshot_and_what_lies_behind_it(server: Servers):
    server.start()
    with connect(server.url) as client:
        client.apply(DEFINITIONS)
        fill(client)
        write_until_snapshot(server, client)
        client.write("of_page", {"page": [KEYS["page"]["page"][7]], "int32": [-7]}, event_timestamps=1_700_000_000_003_000)
        client.delete("of_pair", {"left": [1], "right": [1]}, event_timestamps=1_700_000_000_003_000)
        before = everything(client)
    server.kill()
    journal = server.data / "journal"
    assert journal_files(journal)[0].first_sequence > 1
    assert latest_snapshot(journal) is not None
    server.lose_memory()
    (journal / "snapshot.killed.new").mkdir()  # of a server that died while one was written
    (journal / f"{journal_files(journal)[-1].first_sequence + 1_000_000:020d}.new").write_bytes(b"")
    found = server.start()
    assert found["tables"] == 4
    with connect(server.url) as client:
        assert everything(client) == before
        # A delete that was in the snapshot still keeps an older event from coming back.
        late = {name: column[5:6] for name, column in KEYS["visit"].items()}
        counts = client.write("of_visit", {**late, "int32": [1]}, event_timestamps=1_700_000_000_000_500)
        assert counts.older == 1


def test_all_comes_back_from_a_snapshot_after_a_loss_of_power(server: Servers):
    server.start(fsync="always")
    with connect(server.url) as client:
        client.apply(DEFINITIONS)
        fill(client)
        client.take_snapshot()
        before = everything(client)
    server.kill()
    server.lose_power()
    assert all(file.first_sequence > 1 for file in journal_files(server.data / "journal"))
    server.start()
    with connect(server.url) as client:
        assert everything(client) == before


def test_a_snapshot_that_is_not_whole_is_refused_with_its_file(server: Servers):
    server.start()
    with connect(server.url) as client:
        client.apply(DEFINITIONS)
        fill(client)
        write_until_snapshot(server, client)
    server.kill()
    server.lose_memory()
    snapshot = latest_snapshot(server.data / "journal")
    assert snapshot is not None
    path = journal_files(snapshot.directory)[0].path
    whole = path.read_bytes()
    path.write_bytes(whole[:1_000] + bytes([whole[1_000] ^ 1]) + whole[1_001:])
    assert server.refused().startswith(f"{path}: got damage at byte ")
    path.write_bytes(whole[: len(whole) // 2])
    assert server.refused().startswith(f"{path}: got damage at byte ")
    path.unlink()
    assert server.refused().startswith(f"{snapshot.directory}: got 0 records, expected ")
    path.write_bytes(whole)
    server.start()


def test_rows_without_a_journal_get_a_snapshot_at_once(server: Servers):
    server.start()
    with connect(server.url) as client:
        client.apply(DEFINITIONS)
        fill(client)
        before = everything(client)
    server.stop()
    shutil.rmtree(server.data / "journal")
    server.start()
    server.wait_for("snapshot")
    server.kill()
    server.lose_memory()
    server.start()
    with connect(server.url) as client:
        assert everything(client) == before


def test_a_journal_that_grew_too_long_before_a_start_gets_a_snapshot_after_it(server: Servers):
    server.start(snapshot_bytes_min=str(1 << 30))
    with connect(server.url) as client:
        client.apply(DEFINITIONS)
        for value in range(60):
            columns = {"string": ["x" * 900] * 100, "int32": [value] * 100}
            client.write("of_user", {"user": [*range(100)], **columns}, event_timestamps=value)
    server.kill()
    server.start()
    assert server.wait_for("snapshot")["base"] == 60


def test_a_view_made_again_has_none_of_a_snapshots_rows(server: Servers):
    server.start()
    with connect(server.url) as client:
        client.apply(DEFINITIONS)
        fill(client)
        write_until_snapshot(server, client)
        views = [view for view in DEFINITIONS["feature_views"] if view["name"] != "of_user"]
        client.apply({**DEFINITIONS, "feature_views": views}, prune=True)
        client.apply(DEFINITIONS)
        before = everything(client)
    server.kill()
    server.lose_memory()
    server.start()
    with connect(server.url) as client:
        assert everything(client) == before
        assert client.get(["of_user:int32"], {"user": [1]}).to_dict() == {"int32": [None]}


def test_a_feature_that_came_while_a_snapshot_was_written_keeps_what_was_written_to_it(server: Servers):
    view = {"name": "v", "entity": "user", "features": [{"name": "a", "type": "int64"}]}
    more = {**view, "features": [*view["features"], {"name": "b", "type": "int64"}]}
    entities = DEFINITIONS["entities"][:1]
    server.start(fsync="always")
    with connect(server.url) as client, connect(server.url) as other:
        client.apply({"entities": entities, "feature_views": [view]})
        client.write("v", {"user": [1], "a": [1]}, event_timestamps=10)
        with ThreadPoolExecutor(1) as thread:
            snapshot = thread.submit(other.take_snapshot)
            while not [*(server.data / "journal").glob("snapshot.*.new")]:
                assert not snapshot.done()
            client.apply({"entities": entities, "feature_views": [more]})
            client.write("v", {"user": [1], "b": [3]}, event_timestamps=25)
            client.write("v", {"user": [1], "a": [2]}, event_timestamps=30)
            assert snapshot.result(60)["base"] in (1, 2, 3)
    server.kill()
    server.lose_memory()
    server.start()
    with connect(server.url) as client:
        assert client.get(["v:a", "v:b"], {"user": [1]}).to_dict() == {"a": [2], "b": [3]}


def test_snapshots_are_taken_while_definitions_change_all_the_time(server: Servers):
    entities = DEFINITIONS["entities"][:1]

    def views(count: int) -> list[dict[str, Any]]:
        return [{"name": f"v{n}", "entity": "user", "features": [{"name": "a", "type": "int64"}]} for n in range(count)]

    server.start()
    with connect(server.url) as client, connect(server.url) as other, ThreadPoolExecutor(1) as thread:
        client.apply({"entities": entities, "feature_views": views(1)})
        client.write("v0", {"user": [1], "a": [1]}, event_timestamps=10)
        snapshot = thread.submit(other.take_snapshot)
        count = 1
        while not snapshot.done():
            count = count % 40 + 1
            client.apply({"entities": entities, "feature_views": views(count)}, prune=True)
        assert snapshot.result()["records"] == 1


def test_a_snapshot_that_the_disk_did_not_take_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    definitions = {
        "entities": DEFINITIONS["entities"][:1],
        "feature_views": [{"name": "v", "entity": "user", "features": [{"name": "a", "type": "int64"}]}],
    }

    def fail(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with featurestore.open(tmp_path / "data", segments=tmp_path / "segments") as client:
        client.apply(definitions)
        client.write("v", {"user": [1], "a": [1]})
        (target := tmp_path / "target").mkdir()
        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(InternalError, match=f"{target}: got Input/output error, expected to sync the journal"):
            write_snapshot(tmp_path / "segments", target, 1, 1)
        monkeypatch.undo()


def test_a_full_disk_takes_no_snapshot_and_space_is_all_it_takes(small_disk: Path, tmp_path: Path):
    with servers(tmp_path, shards="2") as server:
        server.data = small_disk / "data"
        server.start()
        with connect(server.url) as client:
            client.apply(DEFINITIONS)
            fill(client)
            before = everything(client)
            filler = small_disk / "filler"
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(bytes(4_096)):
                    pass
            with pytest.raises(FeatureStoreError, match="the journal's disk is full"):
                client.take_snapshot()
            assert not [*(server.data / "journal").glob("snapshot*")]
            assert everything(client) == before
            filler.unlink()
            assert client.take_snapshot()["base"] == 8
        server.kill()
        server.lose_memory()
        server.start()
        with connect(server.url) as client:
            assert everything(client) == before
        server.stop()


def test_a_snapshot_has_keys_as_long_as_the_server_takes_them(server: Servers):
    view = {"name": "v", "entity": "page", "features": [{"name": "a", "type": "int64"}]}
    long = "k" * 2_000
    server.start(key_bytes_max="4096")
    with connect(server.url) as client:
        client.apply({"entities": DEFINITIONS["entities"][1:2], "feature_views": [view]})
        client.write("v", {"page": [long], "a": [1]}, event_timestamps=10)
        assert client.take_snapshot()["records"] == 1
    server.kill()
    server.lose_memory()
    server.start(key_bytes_max="4096")
    with connect(server.url) as client:
        assert client.get(["v:a"], {"page": [long]}).to_dict() == {"a": [1]}


def test_a_snapshot_that_fails_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise ResourceExhaustedError("a value that is too long for any message")

    def journals() -> int:
        return sum(thread.name == "featurestore-journal" for thread in threading.enumerate())

    view = {"name": "v", "entity": "user", "features": [{"name": "a", "type": "int64"}]}
    with featurestore.open(tmp_path / "data", segments=tmp_path / "segments") as client:
        client.apply({"entities": DEFINITIONS["entities"][:1], "feature_views": [view]})
        (target := tmp_path / "target").mkdir()
        before = journals()
        monkeypatch.setattr(snapshot_process, "messages_of", fail)
        with pytest.raises(ResourceExhaustedError, match="too long for any message"):
            write_snapshot(tmp_path / "segments", target, 1, 1)
        assert journals() == before
