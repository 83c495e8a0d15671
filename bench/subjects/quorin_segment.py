"""Quorin: rows in a POSIX shared-memory segment that the reading process has mapped, read by functions that Numba compiles.

As its documentation has it: a field a feature, ``insert`` of packed rows, ``assemble`` of one row, ``assemble_batch`` of many
into buffers that are there already, all compiled beforehand. (Its bulk path takes only a segment without rows, so no load in
parts.) Keys are strings, here the decimal digits of the int64. Redis is its control plane, which no read touches. Memory is
the segment.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from quorin.assembly import assemble, assemble_batch, prewarm
from quorin.layout import insert
from quorin.schema import FeatureField, FeatureSchema, dtype
from quorin.shm import SegmentRegistry

from bench import footprint
from bench.dataset import Chunk, Floats, Indices
from bench.redis_process import RedisProcess
from bench.subjects import Read, Subject, UnavailableError
from bench.subjects.packed_rows import split

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where POSIX shared memory is


class QuorinSegment(Subject):
    in_process = False

    def open(self) -> None:
        if reason := RedisProcess.missing():
            raise UnavailableError(reason)
        self._redis = RedisProcess(self.directory, tcp=True, cores=self.server_cores)
        fields = [FeatureField(name, dtype.float32) for name in self.dataset.feature_names]
        schema = type("Bench", (FeatureSchema,), {"version": 1, "fields": fields})
        self._registry = SegmentRegistry(self._redis.client())
        self._segment = self._registry.create(schema, capacity=self.dataset.rows)
        self._file = SHARED_MEMORY / str(self._segment.name).lstrip("/")
        prewarm()

    def close(self) -> None:
        self._registry.close(self._segment)
        self._file.unlink(missing_ok=True)
        self._redis.stop()

    def keys(self, indices: Indices) -> Any:
        return [str(key) for key in self.dataset.integer_keys(indices).tolist()]

    def reader(self) -> Read:
        segment, width = self._segment, len(self.dataset.float_names)
        buffers: dict[int, tuple[Any, Any]] = {}

        def read(keys: Any) -> Any:
            rows = len(keys)
            if rows == 1:
                return assemble(segment, keys[0])
            if rows not in buffers:
                buffers[rows] = np.empty((rows, width), np.float32), np.empty(rows, np.bool_)
            out, found = buffers[rows]
            return assemble_batch(segment, keys, out=out, found_mask=found)[0]

        return read

    def batch(self, chunk: Chunk) -> Any:
        assert not isinstance(chunk.keys, tuple), "this subject takes no part where keys are strings"
        keys = [str(key) for key in chunk.keys.tolist()]
        # As ``pack_row`` does it, for all rows at once: each field begins a cache line of its own.
        layout = self._segment.layout
        rows = np.zeros((chunk.rows, layout.row_size // 4), np.float32)
        rows[:, layout.assembly_byte_offsets // 4] = chunk.floats
        return list(zip(keys, split(rows.tobytes(), layout.row_size), strict=True))

    def write(self, batch: Any) -> None:
        segment = self._segment
        for key, row in batch:
            insert(segment, key, row)

    def outside_bytes(self) -> int:
        return self._file.stat().st_blocks * footprint.BLOCK_BYTES

    def decode(self, answer: Any) -> tuple[Floats, Sequence[Sequence[str]]]:
        return answer.reshape(-1, len(self.dataset.float_names)), []
