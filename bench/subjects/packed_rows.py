"""What LMDB, packed Redis and memcached share: a row as its float32 bytes, followed by its strings by msgpack."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from bench.cores import ANY
from bench.dataset import KEY_CHARACTERS, Chunk, Dataset, Floats, Indices, Strings, texts
from bench.subjects import Subject


def split(data: bytes, width: int) -> list[bytes]:
    """Bytes cut into pieces of equal width."""
    return [data[start : start + width] for start in range(0, len(data), width)]


class PackedRows(Subject):
    """Keys as bytes, rows as bytes."""

    def __init__(self, dataset: Dataset, directory: Path, server_cores: frozenset[int] = ANY) -> None:
        super().__init__(dataset, directory, server_cores)
        self._width = len(dataset.float_names)
        self._float_bytes = 4 * self._width

    def keys(self, indices: Indices) -> Any:
        return self.calls(indices[None, :])[0]

    def calls(self, indices: Indices) -> list[Any]:
        flat = indices.reshape(-1)
        if self.dataset.strings:
            keys = split(self.dataset.string_keys(flat).tobytes(), KEY_CHARACTERS)
        else:
            keys = split(self.dataset.integer_keys(flat).tobytes(), 8)
        return [keys[start : start + indices.shape[1]] for start in range(0, len(keys), indices.shape[1])]

    def items(self, chunk: Chunk) -> list[tuple[bytes, bytes]]:
        """Rows as pairs of key and value."""
        rows = split(chunk.floats.tobytes(), self._float_bytes)
        if not isinstance(chunk.keys, Strings):
            return list(zip(split(chunk.keys.tobytes(), 8), rows, strict=True))
        strings = zip(*map(texts, chunk.strings), strict=True)
        rows = [row + msgpack.packb(names) for row, names in zip(rows, strings, strict=True)]
        return list(zip(split(chunk.keys.data.tobytes(), KEY_CHARACTERS), rows, strict=True))

    def matrix(self, rows: Any) -> Any:
        """Packed rows as the answer."""
        if not self.dataset.strings:
            return np.frombuffer(b"".join(rows), np.float32).reshape(-1, self._width)
        size, unpack = self._float_bytes, msgpack.unpackb
        rows = list(rows)
        matrix = np.frombuffer(b"".join([row[:size] for row in rows]), np.float32).reshape(-1, self._width)
        return matrix, [unpack(row[size:]) for row in rows]

    def decode(self, answer: Any) -> tuple[Floats, Sequence[Sequence[str]]]:
        if not self.dataset.strings:
            return answer, []
        matrix, strings = answer
        return matrix, [list(column) for column in zip(*strings, strict=True)]
