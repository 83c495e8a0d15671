"""``featurestore.open``: the store in this process, for writing and read-only. What it answers: ``tests/conformance``."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from featurestore_client import Client, FailedPreconditionError, UnavailableError, connect

import featurestore
from tests.conftest import RunningServer, StartServer
from tests.shared_memory.test_shared_memory import FEATURES, ROWS, definitions, fill, is_local, read_until_it_fails


def opened(directory: Path, **options: Any) -> Client:
    return featurestore.open(directory, segments=directory / "segments", **options)


@pytest.fixture
def owner(start_server: StartServer) -> RunningServer:
    """A server that has the directory, with a filled view."""
    server = start_server("--shards", "2")
    with connect(server.url) as client:
        client.apply(definitions(*FEATURES))
        fill(client)
    return server


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.apply(definitions(*FEATURES))
        fill(store)
    with opened(tmp_path) as store:
        for _ in range(2):
            assert store.get("model", {"user": [7]}).to_numpy().tolist() == [[7, 0]]
        assert is_local(store)
        store.delete("users", {"user": [7]})
        assert store.get("model", {"user": [7]}).statuses.tolist() == [[2, 2]]


def test_it_has_one_owner(owner: RunningServer) -> None:
    with pytest.raises(FailedPreconditionError, match=f"held by process {owner.process.pid}"):
        opened(owner.directory)


def test_an_owner_that_was_killed_does_not_stand_in_the_way(owner: RunningServer) -> None:
    owner.stop(signal.SIGKILL)
    with opened(owner.directory) as store:
        assert (store.get("model", {"user": np.arange(ROWS)}).to_numpy()[:, 0] == np.arange(ROWS)).all()


def test_a_read_only_store_follows_its_owner(owner: RunningServer) -> None:
    with opened(owner.directory, read_only=True) as reader, connect(owner.url) as writer:
        for value in range(1, 50):
            fill(writer, 1, first=5, value=value)
            assert reader.get("model", {"user": [5]}).to_numpy().tolist() == [[5 + value, value]]
        assert is_local(reader)
        fill(writer, 50_000, first=ROWS)
        assert reader.get("model", {"user": [ROWS + 49_999]}).statuses.tolist() == [[0, 0]]
        writer.apply(definitions("a", "c"))
        for _ in range(2):
            assert reader.get("model", {"user": [3]}).to_dict() == {"a": [3.0], "c": [None]}
        assert [table["rows"] for table in reader.list_tables()] == [ROWS + 50_000]
        assert reader.describe_feature_view("users")["table"]["rows"] == ROWS + 50_000


def test_a_read_only_store_changes_nothing(owner: RunningServer) -> None:
    with opened(owner.directory, read_only=True) as reader:
        for call in (
            lambda: fill(reader),
            lambda: reader.delete("users", {"user": [1]}),
            lambda: reader.apply(definitions("a")),
            lambda: reader.ingest("users", {"user": [1], "a": [1.0]}),
        ):
            with pytest.raises(FailedPreconditionError, match="the store was opened read-only"):
                call()


def test_a_read_only_store_outlives_its_owner_in_good_order(owner: RunningServer) -> None:
    with opened(owner.directory, read_only=True) as reader:
        assert reader.get("model", {"user": [7]}).to_numpy().tolist() == [[7, 0]]
        assert owner.stop() == 0
        assert reader.get("model", {"user": [8]}).to_numpy().tolist() == [[8, 0]]
    with opened(owner.directory, read_only=True) as reader:
        assert reader.get("model", {"user": [9]}).to_numpy().tolist() == [[9, 0]]


def test_a_read_only_store_says_that_its_owner_died(owner: RunningServer) -> None:
    with opened(owner.directory, read_only=True) as reader:
        reader.get("model", {"user": [1]})
        owner.stop(signal.SIGKILL)
        with pytest.raises(UnavailableError, match=rf"the process that owns it \({owner.process.pid}\) has been silent"):
            read_until_it_fails(reader)
        with opened(owner.directory) as writer:
            fill(writer, 1, first=1, value=2)
        for _ in range(2):
            assert reader.get("model", {"user": [1]}).to_numpy().tolist() == [[3, 2]]


def test_where_nothing_is_a_read_only_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(FailedPreconditionError, match="no store was opened here yet"):
        opened(tmp_path, read_only=True)
    assert not list(tmp_path.iterdir())
