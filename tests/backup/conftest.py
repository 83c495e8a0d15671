"""A server, and what its tests ask of it again and again."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from featurestore_client import Client

from featurestore.backup import restore
from featurestore.backup.destination import Destination
from tests.faults.oracle import ENTITY, connect
from tests.faults.servers import Servers, servers

VIEW = {"name": "v", "entity": "e", "features": [{"name": "a", "type": "int64"}, {"name": "b", "type": "int64"}]}
DEFINITIONS: dict[str, Any] = {"entities": [ENTITY], "feature_views": [VIEW]}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Servers, Servers]]:
    """For two servers at a time."""
    with servers(tmp_path_factory.mktemp("a"), shards="2") as one, servers(tmp_path_factory.mktemp("b"), shards="2") as other:
        yield one, other


@pytest.fixture
def server(hosts: tuple[Servers, Servers], tmp_path: Path) -> Iterator[Servers]:
    """Not started yet."""
    hosts[0].move(tmp_path / "server")
    yield hosts[0]
    if hosts[0].pid:
        hosts[0].kill()


@pytest.fixture
def client(server: Servers) -> Iterator[Client]:
    """Of the server, with a view of two features that are always written alike."""
    server.start()
    with connect(server.url) as client:
        client.apply(DEFINITIONS)
        yield client


Restored = Callable[[Destination], AbstractContextManager[Client]]


@pytest.fixture
def restored(hosts: tuple[Servers, Servers], tmp_path_factory: pytest.TempPathFactory) -> Restored:
    """A client of a server on what is restored of a backup."""

    @contextmanager
    def open_restored(place: Destination) -> Iterator[Client]:
        other = hosts[1]
        other.move(tmp_path_factory.mktemp("restored"))
        restore(place, other.data)
        other.start()
        try:
            with connect(other.url) as client:
                yield client
        finally:
            other.kill()

    return open_restored


def write(client: Client, value: int, keys: range = range(100)) -> None:
    """Rows that all hold a value, of which it is the event time too."""
    same = [value] * len(keys)
    client.write("v", {"k": [*keys], "a": same, "b": same}, event_timestamps=same)


def read(client: Client, keys: range = range(100)) -> list[tuple[int | None, int | None]]:
    """(a, b) of each row."""
    found = client.get(["v:a", "v:b"], {"k": [*keys]}).to_dict()
    return list(zip(found["a"], found["b"], strict=True))
