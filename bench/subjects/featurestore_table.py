"""The feature store's kernel, called in the process: ``Table.read`` and ``Table.write``, segments in tmpfs."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from featurestore_client.tables.columns import Column, VarColumn

from bench import footprint
from bench.dataset import Chunk, Floats, Indices, Strings, texts
from bench.subjects import Read, Subject
from featurestore.store import Store

FLOAT32 = np.dtype("<f4")


class FeaturestoreTable(Subject):
    def open(self) -> None:
        self._store = Store.open(self.directory / "data", segments=self.directory / "segments")
        self._table = self._store.create_table(self.dataset.view, self.dataset.entity)
        self._projection = self._table.projection(self.dataset.feature_names)
        self._width = len(self.dataset.float_names)
        self._now_us = time.time_ns() // 1_000
        self._event_us = self._now_us - 3_600_000_000

    def close(self) -> None:
        self._store.close()

    def keys(self, indices: Indices) -> Any:
        return self.calls(indices[None, :])[0]

    def calls(self, indices: Indices) -> list[Any]:
        if self.dataset.strings:
            characters = self.dataset.string_keys(indices.reshape(-1))
            rows, length = indices.shape[1], characters.shape[1]
            offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(length)
            return [[VarColumn(each, offsets)] for each in characters.reshape(len(indices), rows * length)]
        return [[each] for each in self.dataset.integer_keys(indices.reshape(-1)).reshape(indices.shape)]

    def reader(self) -> Read:
        read, projection, now_us, width = self._table.read, self._projection, self._now_us, self._width

        def floats(keys: Any) -> Any:
            batch = read(keys, projection, now_us=now_us)
            return np.ndarray((batch.rows, width), FLOAT32, batch.values)

        def floats_and_strings(keys: Any) -> Any:
            batch = read(keys, projection, now_us=now_us)
            return np.ndarray((batch.rows, width), FLOAT32, batch.values), batch.var

        return floats_and_strings if self.dataset.strings else floats

    def batch(self, chunk: Chunk) -> Any:
        columns = {
            name: Column(values)
            for name, values in zip(self.dataset.float_names, np.ascontiguousarray(chunk.floats.T), strict=True)
        }
        columns |= {
            name: Column(VarColumn(*values)) for name, values in zip(self.dataset.string_names, chunk.strings, strict=True)
        }
        # Each batch is newer than the one before, as in a stream of updates: an overwrite compares and stores event times.
        self._event_us += 1
        keys = VarColumn(*chunk.keys) if isinstance(chunk.keys, Strings) else chunk.keys
        return [keys], np.array([self._event_us]), columns

    def write(self, batch: Any) -> None:
        keys, event_timestamps_us, columns = batch
        self._table.write(keys, event_timestamps_us, columns, now_us=self._now_us)

    def settle(self) -> bool:
        return self._table.tidy_memory()  # the server's upkeep calls it once a table is quiet

    def outside_bytes(self) -> int:
        return footprint.file_bytes(self.directory / "segments")

    def decode(self, answer: Any) -> tuple[Floats, Sequence[Sequence[str]]]:
        if not self.dataset.strings:
            return answer, []
        matrix, strings = answer
        return matrix, [
            texts(Strings(np.frombuffer(data, np.uint8), np.frombuffer(offsets, np.int32))) for data, offsets in strings
        ]
