"""A random walk through what a store can be asked to do, beside a model of it that is compared after each step.

    python -m tests.faults.walk --steps 5000 --seed 7

Where ``torture.py`` kills a server in the middle of many calls, here one follows another, in any order: writes and deletes with
older, equal and later event times; features and views that go and come again; loads that replace all rows, with writes,
snapshots, backups, failures and kills inside; rollbacks; restores in place and elsewhere; starts after a stop, a kill, a loss
of memory or of power. Each server's directory and each backup is verified too. A failure names its seed.
"""

import argparse
import copy
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from featurestore_client import Client, NotFoundError, Replaced, ValueStatus

from featurestore.backup import back_up, open_destination, restore, verify
from featurestore.server.write_decoding import message_problem
from tests.faults.oracle import ENTITY, connect
from tests.faults.servers import Servers, servers

TYPES = {"a": "int64", "s": "string", "v": "float32[2]", "d": "float64"}
VIEWS, KEYS, BACKUPS = ("v", "w"), range(12), ("one", "other")
HOUR_US = 3_600_000_000
TTL_US = {None: 1 << 62, "3h": 3 * HOUR_US, "30m": HOUR_US // 2}
FIRST_EVENT_US = time.time_ns() // 1_000 - 8 * HOUR_US
"""Event times lie so many whole hours behind it, and a few microseconds: none comes to its TTL while it is looked at."""
KILL_IN_START_S = 0.1

Values = dict[str, Any]
Rows = dict[int, tuple[int, Values | None]]
"""By key: the event time, and the values; None: it is deleted."""
Write = Callable[[Rows], None]
"""What a write makes of rows."""


class View:
    """A view as it should be."""

    def __init__(self) -> None:
        self.features = ["a", "s"]
        self.ttl: str | None = None
        self.rows: Rows = {}
        self.number = 1
        self.kept: list[tuple[int, Rows]] = []

    def definition(self, name: str) -> dict[str, Any]:
        features = [{"name": feature, "type": TYPES[feature]} for feature in self.features]
        return {"name": name, "entity": "e", "features": features, **({"ttl": self.ttl} if self.ttl else {})}

    def drop_feature(self, feature: str) -> None:
        self.features.remove(feature)
        for rows in (self.rows, *(rows for _, rows in self.kept)):
            for _, values in rows.values():
                (values or {}).pop(feature, None)

    def served(self, key: int, feature: str) -> tuple[Any, ValueStatus]:
        event, values = self.rows.get(key, (0, None))
        if values is None:
            return None, ValueStatus.NOT_FOUND
        if event < time.time_ns() // 1_000 - TTL_US[self.ttl]:
            return None, ValueStatus.EXPIRED
        value = values.get(feature)
        return value, ValueStatus.NULL if value is None else ValueStatus.PRESENT

    def swap(self, rows: Rows, result: Replaced, versions_kept: int) -> None:
        """Takes other rows as its own; the answer told of them."""
        assert result.version.number == 1 + max(self.number, *(number for number, _ in self.kept), 0)
        self.kept = [(self.number, self.rows), *self.kept][:versions_kept]
        self.rows, self.number = rows, result.version.number
        assert result.former_is_kept == bool(self.kept)


def written(keys: Sequence[int], times: Sequence[int], columns: Values | None) -> Write:
    """A write of some features; a delete where there are none. The later event time wins, or else the later write."""

    def write(rows: Rows) -> None:
        for i, (key, event) in enumerate(zip(keys, times, strict=True)):
            former, values = rows.get(key, (event, None))
            if event >= former:
                new = None if columns is None else {**(values or {}), **{name: column[i] for name, column in columns.items()}}
                rows[key] = event, new

    return write


class Walk:
    """One server, its directory and the model."""

    def __init__(self, server: Servers, root: Path, seed: int) -> None:
        self._rng = rng = random.Random(seed)
        self._server, self._root = server, root
        self._versions_kept = rng.choice((0, 1, 2))
        self._fsync = rng.choice(("always", "interval", "never"))
        self._keeps_power = self._fsync != "always"
        self._flags = {
            "fsync": self._fsync,
            "snapshot_bytes_min": rng.choice(("1", str(1 << 30))),
            "versions_kept": str(self._versions_kept),
            "shards": rng.choice(("1", "2")),
        }
        self._views: dict[str, View] = {}
        self._backups: dict[str, dict[str, View]] = {}
        self.log = [f"seed {seed}, {self._flags}"]
        self._start()

    def step(self) -> None:
        """Does something, and looks at everything."""
        on_views = {
            self._change_features: 3,
            self._change_ttl: 1,
            self._write: 12,
            self._replace: 4,
            self._roll_back: 3,
        }
        always = {self._change_views: 2, self._snapshot: 2, self._back_up: 2, self._restart: 4, self._restore: 1}
        steps = {**on_views, **always} if self._views else {**always, self._change_views: 9}
        self._rng.choices([*steps], [*steps.values()])[0]()
        self._check()

    def close(self) -> None:
        """The client's end; the server goes on."""
        self._client.close()

    def _check(self) -> None:
        for name, view in self._views.items():
            batch = self._client.get([f"{name}:{feature}" for feature in view.features], {"k": [*KEYS]})
            columns = {feature: batch[feature].tolist() for feature in view.features}
            for row, key in enumerate(KEYS):
                for place, feature in enumerate(view.features):
                    value, status = view.served(key, feature)
                    found = columns[feature][row] if status is ValueStatus.PRESENT else None
                    assert (found, batch.statuses[row][place]) == (value, status), f"{name}:{feature} of {key}"
            described = self._client.describe_feature_view(name)
            numbers = [described["version"]["number"], *(each["number"] for each in described["kept"])]
            assert numbers == [view.number, *(number for number, _ in view.kept)]

    # -------------------------------------------------------------------------------------------------------- definitions

    def _apply(self) -> None:
        views = [view.definition(name) for name, view in self._views.items()]
        self._say("apply", views)
        self._client.apply({"entities": [ENTITY], "feature_views": views}, prune=True)

    def _change_views(self) -> None:
        name = self._rng.choice(VIEWS)
        if name not in self._views:
            self._views[name] = View()
        elif self._rng.random() < 0.3:
            del self._views[name]
        self._apply()

    def _change_features(self) -> None:
        _, view = self._any()
        feature = self._rng.choice([*TYPES])
        if feature not in view.features:
            view.features.insert(self._rng.randrange(len(view.features) + 1), feature)
        elif len(view.features) > 1:
            view.drop_feature(feature)
        self._apply()

    def _change_ttl(self) -> None:
        _, view = self._any()
        view.ttl = self._rng.choice([*TTL_US])
        self._apply()

    # --------------------------------------------------------------------------------------------------------------- rows

    def _any(self) -> tuple[str, View]:
        return self._rng.choice([*self._views.items()])

    def _batch(self, features: Sequence[str]) -> tuple[list[int], list[int], Values]:
        rng, rows = self._rng, self._rng.randrange(1, 6)
        times = [FIRST_EVENT_US + rng.randrange(16) * HOUR_US + rng.randrange(3) for _ in range(rows)]
        columns = {name: [None if rng.random() < 0.15 else self._value(TYPES[name]) for _ in range(rows)] for name in features}
        return rng.choices(KEYS, k=rows), times, columns

    def _value(self, data_type: str) -> Any:
        number = self._rng.randrange(1_000_000)
        return {
            "int64": number,
            "string": f"{number}," * self._rng.randrange(4),
            "float32[2]": [float(number), float(number % 7)],
            "float64": number / 4,
        }[data_type]

    def _write(self) -> None:
        name, view = self._any()
        self._write_to(name, view)(view.rows)

    def _write_to(self, name: str, view: View) -> Write:
        some = [feature for feature in view.features if self._rng.random() < 0.6] or view.features[:1]
        keys, times, columns = self._batch(some)
        if self._rng.random() < 0.3:
            self._say("delete", name, keys, times)
            self._client.delete(name, {"k": keys}, event_timestamps=times)
            return written(keys, times, None)
        self._say("write", name, keys, times, columns)
        self._client.write(name, {"k": keys, **columns}, event_timestamps=times)
        return written(keys, times, columns)

    def _replace(self) -> None:
        name, view = self._any()
        rng, new, late = self._rng, Rows(), list[Write]()
        ends = rng.choices(("well", "failed", "killed"), (77, 15, 8))[0]
        with_snapshot, with_backup = rng.random() < 0.2, rng.random() < 0.2

        def batches() -> Iterator[Values]:
            for _ in range(rng.randrange(1, 4)):
                keys, times, columns = self._batch(view.features)
                self._say("load", name, keys, times, columns)
                yield {"k": keys, **columns, "event_timestamp": times}
                written(keys, times, columns)(new)
                if rng.random() < 0.5:
                    late.append(self._write_to(name, view))
                    late[-1](view.rows)
                if with_snapshot:
                    self._snapshot()
                if with_backup:
                    self._back_up()
            if ends != "well":
                raise InterruptedError

        self._say("replace", name, ends)
        try:
            result = self._client.replace(name, batches(), source="walk")
        except InterruptedError:
            if ends == "killed":
                self._end(self._server.kill)
                self._start()
            return
        for write in late:
            write(new)
        view.swap(new, result, self._versions_kept)

    def _roll_back(self) -> None:
        name, view = self._any()
        if not view.kept:
            with pytest.raises(NotFoundError):
                self._client.rollback(name)
            return
        number, rows = self._rng.choice(view.kept)
        self._say("rollback", name, number)
        view.swap(copy.deepcopy(rows), self._client.rollback(name, version=number), self._versions_kept)

    # ------------------------------------------------------------------------------------------------------------- copies

    def _snapshot(self) -> None:
        self._say("snapshot")
        self._client.take_snapshot()

    def _back_up(self) -> None:
        name = self._rng.choice(BACKUPS)
        self._say("backup", name)
        back_up(self._client, open_destination(str(self._root / name)))
        self._backups[name] = copy.deepcopy(self._views)
        self._verify(self._root / name)

    def _restore(self) -> None:
        if not self._backups:
            return
        name, server = self._rng.choice([*self._backups]), self._server
        self._end(self._rng.choice((server.stop, server.kill)))
        gone = self._rng.choice((server.data, server.directory))  # with its tables in memory, or only what is on the disk
        self._say("restore", name, "in place of", gone)
        shutil.rmtree(gone)
        server.directory.mkdir(exist_ok=True)
        restore(open_destination(str(self._root / name)), server.data)
        self._views = copy.deepcopy(self._backups[name])
        self._keeps_power = True  # nobody noted what this process has synced
        self._start()

    def _verify(self, directory: Path) -> None:
        found = verify(open_destination(str(directory)), message_problem)
        assert found.is_whole, found
        assert not found.versions_lost, found

    # ------------------------------------------------------------------------------------------------------------- starts

    def _start(self) -> None:
        self._server.start(**self._flags)
        self._client: Client = connect(self._server.url)

    def _end(self, how: Callable[[], None]) -> None:
        self._say(how.__name__)
        self._client.close()
        how()

    def _restart(self) -> None:
        rng, server = self._rng, self._server
        self._end(rng.choice((server.stop, server.kill, server.kill)))
        self._verify(server.data)
        loss = rng.random()
        if loss < 0.3:
            self._say("lose memory")
            server.lose_memory()
        elif loss < 0.9 and not self._keeps_power:
            self._say("lose power")
            server.lose_power()
        while rng.random() < 0.15:
            self._say("kill in a start")
            server.begin(**self._flags)
            time.sleep(rng.random() * KILL_IN_START_S)  # not to wait for anything: any moment will do
            server.kill()
        self._start()

    def _say(self, *words: object) -> None:
        self.log.append(" ".join(map(str, words)))


def walk(seed: int, steps: int) -> None:
    """Goes so many steps in a directory of its own. What fails has the last steps and the server's last lines as a note."""
    with tempfile.TemporaryDirectory(prefix="featurestore-walk-") as root, servers(Path(root) / "server") as server:
        each = Walk(server, Path(root), seed)
        try:
            for _ in range(steps):
                each.step()
        except BaseException as error:
            error.add_note("\n".join((each.log[0], *each.log[-25:], *server.lines[-10:])))
            raise
        finally:
            with suppress(Exception):
                each.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="steps in any order, and what is there after each")
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--steps-a-directory", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = parser.parse_args()
    for done in range(0, given.steps, given.steps_a_directory):
        walk(given.seed + done, given.steps_a_directory)
        print(f"\r{done + given.steps_a_directory} steps: all as it should be", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


if __name__ == "__main__":
    main()
