"""Rounds of killing a server in the middle of its work, and holding what is there afterwards against what was acknowledged.

    python -m tests.faults.torture --rounds 1000 --seed 7

Each round: writers write, delete and make tables grow; in some the schema changes all the while, in others all rows are
replaced, again and again; after a random number of acknowledged calls the server is killed. In some rounds the memory is lost
too, or the power: then all that the journal had not synced is cut off (with ``--fsync always`` nothing may be missing; with the
others only the process dies). In some the server is killed again while it recovers. A failure names its seed.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.oracle import Replacer, Round, Writer, connect, definitions
from tests.faults.servers import Servers, servers

WRITERS = 3
CALLS_MAX = 120
LONG_ROUNDS, LONG_CALLS_MAX = 0.1, 6_000
"""Those that go on until a snapshot was taken, or for so many calls. In others the server is killed while one is written."""
KILL_IN_RECOVERY_S = 0.15
SNAPSHOTS = {"snapshot_bytes_min": "1"}
"""As often as can be: whenever the journal is larger than the rows."""


class Torture:
    """Rounds on one directory: what one leaves behind, the next begins with."""

    def __init__(self, server: Servers, seed: int, fsync: str) -> None:
        self._server = server
        self._rng = random.Random(seed)
        self._fsync = fsync
        self._writers = [Writer(number, random.Random(f"{seed} {number}")) for number in range(WRITERS)]
        self._replacer = Replacer(self._writers)
        server.start(fsync=fsync, shards="1", **SNAPSHOTS)
        with connect(server.url) as client:
            client.apply(definitions(0))
        self.kills = 0

    def round(self) -> None:
        """Work, kill, recover, check."""
        rng, server = self._rng, self._server
        kind = rng.random()
        replacer = self._replacer if 0.4 <= kind < 0.7 else None  # not beside changes of the schema, which would be refused
        work = Round(server.url, self._writers, alters=kind < 0.4, replacer=replacer)
        snapshots, long = self.snapshots, rng.random() < LONG_ROUNDS
        for _ in range(LONG_CALLS_MAX // CALLS_MAX if long else 0):
            if self.snapshots == snapshots:
                work.wait_for(CALLS_MAX)
        work.wait_for(rng.randrange(1, CALLS_MAX))
        work.end(server.kill)
        self.kills += 1
        loss = rng.random()
        if loss < 0.1 and self._fsync == "always":
            server.lose_power()
        elif loss < 0.2:
            server.lose_memory()
        while rng.random() < 0.2:
            server.begin(fsync=self._fsync, **SNAPSHOTS)
            time.sleep(rng.random() * KILL_IN_RECOVERY_S)  # not to wait for anything: any moment will do
            server.kill()
            self.kills += 1
        server.start(fsync=self._fsync, **SNAPSHOTS)
        with connect(server.url) as client:
            for writer in self._writers:
                writer.check(client)
            self._replacer.check(client)

    @property
    def snapshots(self) -> int:
        """Those that were taken whole."""
        return sum('"event": "snapshot"' in line for line in self._server.lines)

    @property
    def acknowledged(self) -> int:
        """Calls that were acknowledged in all rounds."""
        return sum(writer.acknowledged for writer in self._writers)

    @property
    def replaced(self) -> int:
        """How often all rows were replaced."""
        return self._replacer.acknowledged


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="kill -9, and what is there afterwards")
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--rounds-a-directory", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = parser.parse_args()
    rounds = kills = acknowledged = snapshots = replaced = 0
    while rounds < given.rounds:
        fsync = ("always", "interval", "never")[rounds // given.rounds_a_directory % 3]
        with tempfile.TemporaryDirectory(prefix="featurestore-torture-") as directory, servers(Path(directory)) as server:
            seed = given.seed + rounds
            torture = Torture(server, seed, fsync)
            try:
                for _ in range(min(given.rounds_a_directory, given.rounds - rounds)):
                    torture.round()
                    rounds += 1
            except BaseException:
                print(f"round {rounds}, seed {seed}, fsync {fsync}:\n" + "".join(server.lines[-20:]), file=sys.stderr)
                raise
            kills, acknowledged = kills + torture.kills, acknowledged + torture.acknowledged
            snapshots, replaced = snapshots + torture.snapshots, replaced + torture.replaced
        print(
            f"{rounds} rounds, {kills} kills, {snapshots} snapshots, {replaced} loads that replaced all rows, "
            f"{acknowledged} acknowledged calls: all there",
            flush=True,
        )


if __name__ == "__main__":
    main()
