"""Kill -9 at random moments: what was acknowledged is there, whole, and nothing older has won."""

import random
import time
from pathlib import Path

import pytest

from tests.faults.servers import servers
from tests.faults.torture import Torture

ROUNDS = 200
BOX_S = 20
"""A machine that is busy does fewer rounds."""


@pytest.mark.parametrize("fsync", ["interval", "always"])
def test_acknowledged_writes_survive_kill_9(tmp_path: Path, fsync: str) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    with servers(tmp_path) as server:
        torture = Torture(server, seed, fsync)
        ends = time.monotonic() + BOX_S
        rounds = 0
        try:
            while rounds < ROUNDS // 2 and (rounds < 5 or time.monotonic() < ends):
                torture.round()
                rounds += 1
        except BaseException as error:
            error.add_note(f"seed {seed}, round {rounds}\n" + "".join(server.lines[-20:]))
            raise
    assert torture.acknowledged > rounds
