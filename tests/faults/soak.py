"""A server under mixed work for a long time: every answer is checked, and what the server takes must not grow.

    python -m tests.faults.soak --seconds 1200 --workers 2

Writers write, delete and read keys of their own, over TCP, the unix socket and shared memory, and connect anew now and then;
the schema changes all the while, and snapshots are taken. Each read is held against what was acknowledged (``oracle.py``).
Once a second memory and open files of the server's processes are noted: after the warm-up they must stay where they are.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import featurestore_client

from tests.faults.oracle import REACH_MAX, Writer, definitions
from tests.faults.servers import Servers, servers

WRITERS = 4
RECONNECTS = 0.01
READS = 0.5
ALTER_EVERY_S = 0.5
SAMPLE_EVERY_S = 1.0
GROWTH_MAX = 0.02
MORE_FILES_MAX = WRITERS + 1
"""Each client may have a connection more open, or one that is not yet closed. A leak by each connection or schema is many."""
SNAPSHOTS = {"snapshot_bytes_min": str(8 << 20)}


class Sample(NamedTuple):
    """What all processes of the server take at a moment."""

    memory_bytes: int
    """Of each what is its own, and what it has mapped of the tables."""
    files: int


class Soaked(NamedTuple):
    """What a run came to. The samples are those after the warm-up."""

    calls: int
    connections: int
    schemas: int
    samples: list[Sample]

    @property
    def growth(self) -> float:
        """Of memory, from the first third of the samples to the last one, as a part of the former."""
        first, last = self._thirds()
        return (
            statistics.median(each.memory_bytes for each in last) / statistics.median(each.memory_bytes for each in first) - 1
        )

    @property
    def more_files(self) -> float:
        """Of the last third, in the middle of its samples, beside those of the first."""
        first, last = self._thirds()
        return statistics.median(each.files for each in last) - statistics.median(each.files for each in first)

    def _thirds(self) -> tuple[list[Sample], list[Sample]]:
        third = len(self.samples) // 3
        return self.samples[:third], self.samples[-third:]


class Soak:
    """One run on a server that serves."""

    def __init__(self, server: Servers, seed: int) -> None:
        self._server = server
        self._rng = random.Random(seed)
        address = server.url.partition("://")[2]
        self._urls = (server.url, f"unix://{server.directory}/soak.sock", f"shm://{address}")
        self._over = threading.Event()
        self._failures: list[BaseException] = []
        self._calls = self._connections = self._schemas = 0
        with featurestore_client.connect(server.url) as client:
            client.apply(definitions(0))
            self._pids = [process["pid"] for process in client.status()["processes"]]

    def run(self, seconds: float, warmup_s: float, tell: Callable[[str], None] = lambda _: None) -> Soaked:
        """Works for so long. Raises what went wrong."""
        seeds = [self._rng.random() for _ in range(WRITERS)]
        threads = [threading.Thread(target=self._kept, args=(self._write, number)) for number in enumerate(seeds)]
        threads.append(threading.Thread(target=self._kept, args=(self._alter, None)))
        for thread in threads:
            thread.start()
        began, samples = time.monotonic(), []
        try:
            while (elapsed := time.monotonic() - began) < seconds and not self._failures:
                self._over.wait(SAMPLE_EVERY_S)
                sample = self._sample()
                if elapsed >= warmup_s:
                    samples.append(sample)
                if len(samples) % 30 == 1:
                    tell(f"{elapsed:,.0f} s: {sample.memory_bytes / 1e6:,.1f} MB, {sample.files} files, {self._calls:,} calls")
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
        if self._failures:
            raise self._failures[0]
        return Soaked(self._calls, self._connections, self._schemas, samples)

    def _kept(self, work: Callable[[object], None], argument: object) -> None:
        try:
            work(argument)
        except BaseException as error:
            self._failures.append(error)
            self._over.set()

    def _write(self, numbered: object) -> None:
        number, seed = numbered  # type: ignore[misc]
        rng = random.Random(seed)
        writer = Writer(number, rng)
        while not self._over.is_set():
            with featurestore_client.connect(rng.choice(self._urls)) as client:
                self._connections += 1
                while not self._over.is_set() and rng.random() > RECONNECTS:
                    if rng.random() < READS:
                        writer.check_some(client, rng.randrange(1, REACH_MAX))
                    else:
                        writer.step(client)
                    self._calls += 1
        with featurestore_client.connect(self._server.url) as client:
            writer.check(client)

    def _alter(self, _: object) -> None:
        while not self._over.wait(ALTER_EVERY_S):
            with featurestore_client.connect(self._server.url) as client:
                self._schemas += 1
                client.apply(definitions(self._schemas % 4))

    def _sample(self) -> Sample:
        return Sample(sum(map(_memory_bytes, self._pids)), sum(map(_open_files, self._pids)))


def _memory_bytes(pid: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return sum(int(fields[name].split()[0]) << 10 for name in ("RssAnon", "RssShmem"))


def _open_files(pid: int) -> int:
    # But for pipes: they are to what writes a snapshot, which gives way to all else and may be at it for as long as this lasts.
    files = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            files += not str(path.readlink()).startswith("pipe:")
    return files


def soak(
    directory: Path, seconds: float, warmup_s: float, *, workers: int, seed: int, tell: Callable[[str], None] = lambda _: None
) -> Soaked:
    """A run on a server of its own, whose log must have no error in it."""
    with servers(directory, workers=str(workers), unix_socket=str(directory / "soak.sock"), **SNAPSHOTS) as server:
        try:
            server.start()
            done = Soak(server, seed).run(seconds, warmup_s, tell)
            server.stop()
        except BaseException as error:
            error.add_note(f"seed {seed}, {workers} workers\n" + "".join(server.lines[-20:]))
            raise
        wrong = [line for line in server.lines if '"level": "ERROR"' in line or '"event": "process ended"' in line]
        assert not wrong, "".join(wrong)
    return done


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="mixed work for a long time: every read checked, memory and files flat")
    parser.add_argument("--seconds", type=float, default=1_200)
    parser.add_argument("--warmup-s", type=float, default=120)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="featurestore-soak-", dir="/dev/shm") as directory:
        done = soak(
            Path(directory),
            given.seconds,
            given.warmup_s,
            workers=given.workers,
            seed=given.seed,
            tell=lambda line: print(line, flush=True),
        )
    print(
        f"{given.seconds:,.0f} s, {given.workers} workers: {done.calls:,} calls on {done.connections:,} connections through "
        f"{done.schemas:,} schemas, each read as it was written; memory {done.growth:+.2%}, open files {done.more_files:+g}"
    )
    return int(done.growth > GROWTH_MAX or done.more_files > MORE_FILES_MAX)


if __name__ == "__main__":
    sys.exit(main())
