"""LMDB with one packed row a key, tuned as its documentation says for data in memory.

Fixed-size integer keys (``integerkey``) for int64; a writable map, no sync, no read-ahead, no zeroing of pages; a read
transaction a call (a longer one would not see later writes) from the spare ones that LMDB keeps; batches by ``putmulti``.
Tried and slower here: cursors with ``getmulti``, duplicates of fixed size, values as buffers. A row with strings is its
floats, then its strings by msgpack.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lmdb
import msgpack
import numpy as np

from bench import footprint
from bench.dataset import KEY_CHARACTERS, Chunk, Dataset, Floats, Indices, Strings, texts
from bench.subjects import Read, Subject

MAP_BYTES_A_ROW = 1_500
MAP_BYTES_MIN = 1 << 28


def split(data: bytes, width: int) -> list[bytes]:
    """Bytes cut into pieces of equal width."""
    return [data[start : start + width] for start in range(0, len(data), width)]


class PackedRows(Subject):
    """What LMDB and packed Redis share: keys as bytes, and a row as its float32 bytes followed by its strings."""

    def __init__(self, dataset: Dataset, directory: Path) -> None:
        super().__init__(dataset, directory)
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


class LmdbRows(PackedRows):
    name = "lmdb"

    def open(self) -> None:
        path = self.directory / "lmdb"
        path.mkdir(parents=True)
        self._environment = lmdb.open(
            str(path),
            map_size=max(MAP_BYTES_MIN, self.dataset.rows * MAP_BYTES_A_ROW),
            max_dbs=1,
            writemap=True,
            sync=False,
            metasync=False,
            readahead=False,
            meminit=False,
            max_spare_txns=32,
        )
        self._database = self._environment.open_db(b"rows", integerkey=not self.dataset.strings)

    def close(self) -> None:
        self._environment.close()

    def reader(self) -> Read:
        begin, database, matrix = self._environment.begin, self._database, self.matrix

        def read(keys: Any) -> Any:
            with begin(db=database) as transaction:
                return matrix(map(transaction.get, keys))

        return read

    def batch(self, chunk: Chunk) -> Any:
        return self.items(chunk)

    def write(self, batch: Any) -> None:
        with self._environment.begin(write=True, db=self._database) as transaction:
            transaction.cursor().putmulti(batch)

    def outside_bytes(self) -> int:
        return footprint.file_bytes(self.directory / "lmdb")
