"""The native engine's busy polling: no sleeps while requests follow one another closely, no work while none come."""

import time
from pathlib import Path
from typing import Any

import featurestore_client
import pytest

from tests.conftest import require_engine

pytestmark = pytest.mark.usefixtures("native")

CALLS = 300
PATIENCE_S = 10
IDLE_S = 0.5


@pytest.fixture(scope="module")
def native() -> None:
    require_engine("native")


def sleeps(server: Any) -> int:
    """How often its event loop has gone to sleep."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches")).split()[1])


def processor_s(server: Any) -> float:
    """What its event loop has used."""
    return int(Path(f"/proc/{server.process.pid}/schedstat").read_text().split()[0]) / 1e9


def burst(server: Any) -> int:
    """Calls one after the other; returns how often the server slept meanwhile."""
    with featurestore_client.connect(server.url, transport="native", busy_poll_us=0) as client:
        client.list_tables()
        before = sleeps(server)
        for _ in range(CALLS):
            client.list_tables()
        return sleeps(server) - before


def test_it_does_not_sleep_between_requests_that_follow_closely(start_server: Any) -> None:
    polling, sleeping = (start_server("--busy-poll-us", bound, "--unix-socket", "off") for bound in ("10000", "0"))
    # Where both ends are on one core the next request may be there whenever it looks, and for a while it does not look where
    # somebody else wanted its core, as other tests do: one burst without that is enough.
    assert any(burst(sleeping) > CALLS / 2 for _ in range(10))
    assert any(burst(polling) < CALLS / 4 for _ in range(10))


def test_an_idle_server_sleeps_and_uses_no_processor(start_server: Any) -> None:
    server = start_server("--busy-poll-us", "10000", "--unix-socket", "off")
    burst(server)
    stat = Path(f"/proc/{server.process.pid}/stat")
    ends_s = time.monotonic() + PATIENCE_S
    while stat.read_text().rpartition(")")[2].split()[0] != "S":
        assert time.monotonic() < ends_s, "it goes on polling"
    used_s = processor_s(server)
    time.sleep(IDLE_S)  # nothing happens, which is what is measured
    assert processor_s(server) - used_s < IDLE_S / 10
