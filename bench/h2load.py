"""h2load, the load generator of nghttp2: what an HTTP/2 server does when its client costs next to nothing.

It sends one request over and over; each round has another. It looks at no answer, so ``check`` counts the bytes that come back
against those of the right answer before anything is timed. Latencies come from its log of each request, in microseconds.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.cores import Cores, started_on
from bench.histogram import Histogram
from bench.rounds import Measured

HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")
FRAME_BYTES = 5  # of gRPC's prefix to each message
CHECKED_REQUESTS = 16
WARM_SHARE = 0.2
WARM_S_MIN = 0.1  # connections that are not there when it ends (TLS on a busy core) make h2load 1.52 go on for ever
TURN_S_MIN = 0.05
PATIENCE_S = 20.0
ATTEMPTS = 3
FAILED = re.compile(r"(\d+) failed, (\d+) errored, (\d+) timeout")
SUCCEEDED = re.compile(r"(\d+) succeeded")
RATE = re.compile(r"finished in [^,]+, ([\d.]+) req/s")
DATA = re.compile(r"\((\d+)\) data")


class H2load:
    """Requests to one method of one server; files go to ``directory``."""

    def __init__(self, url: str, requests: Sequence[bytes], directory: Path, cores: Cores) -> None:
        directory.mkdir()
        self._url = url
        self._cores = cores
        self._log = directory / "requests.log"
        self._bodies = [directory / f"{number}.request" for number in range(len(requests))]
        for path, request in zip(self._bodies, requests, strict=True):
            path.write_bytes(b"\0" + len(request).to_bytes(FRAME_BYTES - 1, "big") + request)

    @staticmethod
    def missing() -> str:
        """What this machine lacks to run it; empty when nothing."""
        return "" if shutil.which("h2load") else "h2load is not installed (Debian: nghttp2-client)"

    def check(self, answers: Sequence[bytes]) -> None:
        """Raises RuntimeError unless each request is answered by so many bytes as its answer has."""
        for body, answer in zip(self._bodies, answers, strict=True):
            said = self._run(body, "-n", str(CHECKED_REQUESTS), "-c", "1", "-m", "1")
            found, expected = _number(DATA, said), CHECKED_REQUESTS * (FRAME_BYTES + len(answer))
            if found != expected:
                raise RuntimeError(f"{self._url} answers h2load with {found} bytes, expected {expected}: {said}")

    def turn(self, connections: int, streams: int, seconds: float, seed: int) -> Measured:
        """So many connections, each with so many requests in flight."""
        self._log.unlink(missing_ok=True)
        length_s, warm_s = max(seconds, TURN_S_MIN), max(seconds * WARM_SHARE, WARM_S_MIN)
        said = self._run(
            self._bodies[seed % len(self._bodies)],
            *("-D", f"{length_s * 1_000:.0f}ms", "--warm-up-time", f"{warm_s * 1_000:.0f}ms"),
            *("-c", str(connections), "-m", str(streams), "--log-file", str(self._log)),
        )
        count = _number(SUCCEEDED, said)
        durations_us = np.fromfile(self._log, np.int64, sep=" ").reshape(-1, 3)[:, 2]
        histogram = Histogram()
        histogram.record_all(durations_us * 1_000)
        return Measured(histogram, count, length_s)

    def send(self, requests: int, connections: int = 1, streams: int = 1) -> tuple[int, float]:
        """Sends so many: how many of them were answered, and how many a second."""
        load = ("-n", str(requests), "-c", str(connections), "-m", str(streams))
        command = ["h2load", *load, *HEADERS, "-d", str(self._bodies[0]), self._url]
        with started_on(self._cores.clients):
            said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        rate = RATE.search(said)
        return _number(SUCCEEDED, said), float(rate.group(1)) if rate else 0.0

    def _run(self, body: Path, *options: str) -> str:
        command = ["h2load", *options, *HEADERS, "-d", str(body), self._url]
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with started_on(self._cores.clients):
                    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
                if _number(SUCCEEDED, done.stdout):
                    break  # else, on a busy machine, a short turn was over before anything was answered
            except subprocess.TimeoutExpired:
                if attempt == ATTEMPTS:
                    raise
        failed = FAILED.search(done.stdout)
        if done.returncode or failed is None or any(map(int, failed.groups())) or not _number(SUCCEEDED, done.stdout):
            raise RuntimeError(
                f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-2_000:]}{done.stderr[-2_000:]}"
            )
        return done.stdout


def _number(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    return int(found.group(1)) if found else 0
