"""A server whose owner is killed at random moments, while it writes, changes schemas, and makes and drops views.

``python -m tests.workers.kills --seed 1 --kills 40`` goes on for longer than the tests do, and prints how long processes
were away. A client knows what was acknowledged; whatever else happens, that is there, and reads of it go on.
"""

import argparse
import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import numpy as np
from featurestore_client import Client, RetryPolicy, UnavailableError, connect

from tests.conftest import RunningServer, new_directory

BATCH_ROWS = 200
ENTITIES = [{"name": "user", "join_keys": [{"name": "user", "type": "int64"}]}]


def users_view(number: int) -> dict[str, Any]:
    """The view that is written and read, each time with another feature beside those."""
    features = [{"name": "value", "type": "int64"}, {"name": "text", "type": "string"}]
    return {
        "entities": ENTITIES,
        "feature_views": [
            {"name": "users", "entity": "user", "features": [*features, {"name": f"more_{number}", "type": "float64"}]}
        ],
    }


PASSING: dict[str, Any] = {
    "projects": [{"name": "passing"}],
    "entities": [{**ENTITIES[0], "project": "passing"}],
    "feature_views": [
        {"name": "users", "project": "passing", "entity": "user", "features": [{"name": "value", "type": "int64"}]}
    ],
}


class Kills:
    """One run. ``errors`` holds what should not have happened, ``away_s`` how long the owner was away each time."""

    def __init__(self, server: RunningServer, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._client = connect(server.url)
        self._acknowledged: list[int] = []
        self.errors: list[str] = []
        self.reads = 0
        self.away_s: list[float] = []

    def run(self, kills: int) -> None:
        """Kills the owner so many times, and looks at all that was acknowledged at the end."""
        self._client.apply(users_view(0))
        threads = [threading.Thread(target=self._repeat, args=(step,)) for step in (self._write, self._change, self._read)]
        for each in threads:
            each.start()
        try:
            for _ in range(kills):
                time.sleep(self._random.uniform(0.05, 0.4))  # a moment that nothing tells
                self.away_s.append(self.kill("owner"))
        finally:
            self._stopping.set()
            for each in threads:
                each.join(120)
        for first in self._acknowledged:
            self._check(self._client, first)

    def close(self) -> None:
        """Gives the connection back."""
        self._client.close()

    @property
    def acknowledged_rows(self) -> int:
        """That were read again at the end."""
        return len(self._acknowledged) * BATCH_ROWS

    def kill(self, role: str, number: int = 0) -> float:
        """Kills a process, and returns the seconds until there was another that served in its place."""
        processes = self._client.status()["processes"]
        (pid,) = (each["pid"] for each in processes if (each["role"], each["number"]) == (role, number))
        os.kill(pid, signal.SIGKILL)
        ended, again = (self._server.wait_for(name) for name in ("process ended", "serving again"))
        times = [datetime.fromisoformat(each["time"]) for each in (ended, again)]
        return (times[1] - times[0]).total_seconds()

    def _repeat(self, step: Callable[[Client, int], None]) -> None:
        number = 0
        once = RetryPolicy(attempts_max=1)
        with connect(self._server.url, retry=once if step == self._read else None) as client:
            while not self._stopping.is_set():
                try:
                    step(client, number)
                except UnavailableError as error:
                    if step == self._read:
                        self.errors.append(f"read: {error!r}")
                except Exception as error:
                    self.errors.append(f"{step.__name__}: {error!r}")
                number += 1

    def _write(self, client: Client, number: int) -> None:
        users = np.arange(number * BATCH_ROWS, (number + 1) * BATCH_ROWS)
        columns = {"user": users, "value": users, "text": [f"text {user}" for user in users]}
        client.write("users", columns, event_timestamps=1_700_000_000_000_000)
        self._acknowledged.append(number * BATCH_ROWS)

    def _change(self, client: Client, number: int) -> None:
        client.apply(users_view(number % 5))
        if number % 3 == 0:
            with suppress(UnavailableError):
                client.apply(PASSING)
            client.apply({"projects": PASSING["projects"]}, prune=True)

    def _read(self, client: Client, number: int) -> None:
        if self._acknowledged:
            self._check(client, self._acknowledged[number * 7 % len(self._acknowledged)])
            self.reads += 1

    def _check(self, client: Client, first: int) -> None:
        users = np.arange(first, first + BATCH_ROWS)
        found = client.get(["users:value", "users:text"], {"user": users}).to_dict()
        if found != {"value": users.tolist(), "text": [f"text {user}" for user in users]}:
            self.errors.append(f"users from {first} are not what was acknowledged")


def main() -> None:
    """Runs, and says what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=40)
    given = parser.parse_args()
    with new_directory() as directory:
        server = RunningServer(directory, ("--workers", "2", "--shards", "4"), {})
        server.wait_for("serving")
        kills = Kills(server, given.seed)
        try:
            kills.run(given.kills)
            readers = [kills.kill("reader", number) for number in (1, 2)]
            kills.close()
        finally:
            code = server.stop()
    print(f"{given.kills} kills of the owner, each with its delay before it is started again: away for")
    median_s, most_s = statistics.median(kills.away_s), max(kills.away_s)
    print(f"  {kills.away_s[0]:.2f} s the first time, {median_s:.2f} s in the median, {most_s:.2f} s at most")
    print(f"one kill of each reader: away for {readers[0]:.2f} s and {readers[1]:.2f} s")
    print(f"{kills.acknowledged_rows:,} rows acknowledged and there, {kills.reads:,} reads of {BATCH_ROWS} rows meanwhile")
    print(f"exit code {code}")
    for error in kills.errors[:20]:
        print(error)
    if kills.errors:
        raise SystemExit(f"{len(kills.errors)} errors")


if __name__ == "__main__":
    main()
