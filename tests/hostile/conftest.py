"""The servers of these tests. Without the HTTP/2 session there is no engine to attack."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

if importlib.util.find_spec("featurestore_client.http2.session") is None:
    collect_ignore_glob = ["test_*.py"]

MIB = 1 << 20
SMALL = {
    "message_bytes_max": MIB,
    "streams_max": 20,
    "header_bytes_max": 4_096,
    "window_bytes": 65_536,
    "control_frames_max": 300,
    "held_bytes_max": 4 * MIB,
    "held_bytes_max_in_all": 6 * MIB,
    "unsent_bytes_max": 4 * MIB,
    "unsent_bytes_max_in_all": 8 * MIB,
}


@pytest.fixture(scope="session")
def attack() -> Iterator[Callable[..., Any]]:
    """Starts servers with limits: ``attack(streams_max=3)``; the same one for the same options."""
    from tests.hostile.peers import Attacked

    servers: dict[str, Attacked] = {}

    def start(files: int | None = None, tls: str | None = None, tick_s: float | None = None, **limits: float) -> Any:
        options = {"files": files, "tls": tls, "tick_s": tick_s, "limits": limits}
        key = json.dumps({name: value for name, value in options.items() if value is not None})
        if key not in servers:
            servers[key] = Attacked(json.loads(key))
        return servers[key]

    yield start
    for server in servers.values():
        server.stop()


@pytest.fixture
def patient(attack: Callable[..., Any]) -> Iterator[Any]:
    """With small sizes and long times."""
    server = attack(**SMALL)
    yield server
    server.leave()
