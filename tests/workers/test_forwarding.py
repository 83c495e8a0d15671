"""A reader's calls to an owner that is not there, without processes."""

import time
from pathlib import Path

import pytest

from featurestore.errors import DeadlineExceededError, UnavailableError
from featurestore.server.context import CallContext
from featurestore.server.forwarding import Owner
from featurestore.server.methods import PREFIX
from tests.conftest import ENGINES, require_engine

AWAY = "the process that writes has been away for 0.1 s, while reads go on: try again later; the server's log has the reason"


@pytest.mark.parametrize("kind", ENGINES)
async def test_a_call_waits_for_the_owner_for_so_long_and_no_longer(tmp_path: Path, kind: str) -> None:
    require_engine(kind)
    owner = Owner(tmp_path / "owner.sock", kind, wait_s=0.1)  # type: ignore[arg-type]

    async def requests():
        yield b""

    with pytest.raises(UnavailableError) as raised:
        await owner.unary(PREFIX + "ListTables", b"", CallContext())
    assert raised.value.message == AWAY
    with pytest.raises(UnavailableError) as raised:
        async for _ in owner.stream(PREFIX + "IngestFeatures", requests(), CallContext()):
            pass
    await owner.close()


async def test_a_call_waits_for_the_owner_no_longer_than_its_deadline(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "owner.sock", wait_s=60)
    with pytest.raises(DeadlineExceededError):
        await owner.unary(PREFIX + "ListTables", b"", CallContext(deadline=time.monotonic() + 0.05))
    await owner.close()
