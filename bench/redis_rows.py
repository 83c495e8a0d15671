"""Redis over TCP as a feature server's peer: each row packed under its key, the rows of each request under a key of its own.

So one ``GET`` answers a request of one row, or (with the request's own key) of a hundred; ``MGET`` a hundred rows one by one.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bench.cores import Cores
from bench.dataset import FEATURES, Dataset, Indices
from bench.load.redis_callers import get_command
from bench.redis_process import RedisProcess
from bench.subjects.packed_rows import split

LOAD_ROWS = 10_000


class RedisRows:
    """A redis-server on the servers' cores. A context manager."""

    def __init__(self, dataset: Dataset, directory: Path, cores: Cores) -> None:
        self._dataset = dataset
        self._process = RedisProcess(directory, tcp=True, cores=cores.servers)
        self.port = self._process.port

    def __enter__(self) -> "RedisRows":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.stop()

    def load(self, reads: Mapping[int, Indices]) -> None:
        """Writes all rows, and those of these requests (by the number of rows of each) packed together."""
        with self._process.client() as client:
            for start in range(0, self._dataset.rows, LOAD_ROWS):
                indices = np.arange(start, min(start + LOAD_ROWS, self._dataset.rows), dtype=np.int64)
                rows = split(self._dataset.chunk(indices).floats.tobytes(), FEATURES * 4)
                client.mset(dict(zip(self._row_keys(indices), rows, strict=True)))
            for rows_each, drawn in reads.items():
                for number, indices in enumerate(drawn):
                    client.set(self.request_key(rows_each, number), self._dataset.chunk(indices).floats.tobytes())

    @staticmethod
    def request_key(rows: int, number: int) -> bytes:
        """The key of all rows of one request."""
        return b"rows_%d:%d" % (rows, number)

    def raw_reads(self, drawn: Indices) -> tuple[str, list[bytes]]:
        """Requests of RedisRaw: one GET for each, of all its rows."""
        count, rows = drawn.shape
        keys = self._row_keys(drawn[:, 0]) if rows == 1 else [self.request_key(rows, number) for number in range(count)]
        return str(rows * FEATURES * 4), [get_command(key) for key in keys]

    def packed_reads(self, drawn: Indices) -> tuple[str, list[Any]]:
        """Requests of RedisPy: GET of a row, MGET of several."""
        if drawn.shape[1] == 1:
            return "GET", self._row_keys(drawn[:, 0])
        return "MGET", [self._row_keys(each) for each in drawn]

    def _row_keys(self, indices: Indices) -> list[bytes]:
        return [b"%d" % key for key in self._dataset.integer_keys(indices).tolist()]
