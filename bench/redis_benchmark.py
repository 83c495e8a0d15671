"""redis-benchmark, Redis's own load generator: GET of one key over and over; each round has another key."""

import csv
import shutil
import subprocess
from collections.abc import Sequence

from bench.cores import Cores, started_on
from bench.histogram import Histogram
from bench.rounds import Measured

FIRST_REQUESTS = 2_000
REQUESTS_MIN = 500


class RedisBenchmark:
    """GETs of ``keys`` from the server on ``port``."""

    def __init__(self, port: int, keys: Sequence[bytes], cores: Cores) -> None:
        self._port = port
        self._keys = keys
        self._cores = cores
        self._rates: dict[tuple[int, int], float] = {}

    @staticmethod
    def missing() -> str:
        """What this machine lacks to run it; empty when nothing."""
        lacking = [name for name in ("redis-server", "redis-benchmark") if not shutil.which(name)]
        return f"{' and '.join(lacking)} not installed" if lacking else ""

    def turn(self, connections: int, pipeline: int, seconds: float, seed: int) -> Measured:
        """So many connections, each with so many requests in one send, and the next ones once all are answered."""
        key = self._keys[seed % len(self._keys)]
        load = connections, pipeline
        # It takes a number of requests and no time: the rate of the turn before says how many.
        if load not in self._rates:
            self._rates[load] = float(self._run(load, FIRST_REQUESTS, key)["rps"])
        count = max(REQUESTS_MIN, int(self._rates[load] * seconds))
        said = self._run(load, count, key)
        rate = self._rates[load] = float(said["rps"])
        milliseconds = {"50": "p50_latency_ms", "99": "p99_latency_ms", "mean": "avg_latency_ms"}
        figures = {name: float(said[column]) * 1_000 for name, column in milliseconds.items()}
        return Measured(Histogram(), count, count / rate, figures)

    def _run(self, load: tuple[int, int], count: int, key: bytes) -> dict[str, str]:
        connections, pipeline = map(str, load)
        options = ("-p", str(self._port), "-c", connections, "-P", pipeline, "-n", str(count), "--csv")
        command = ["redis-benchmark", *options, "GET", key.decode()]
        with started_on(self._cores.clients):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        rows = list(csv.DictReader(done.stdout.splitlines()))
        if done.returncode or len(rows) != 1:
            raise RuntimeError(
                f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-2_000:]}{done.stderr[-2_000:]}"
            )
        return rows[0]
