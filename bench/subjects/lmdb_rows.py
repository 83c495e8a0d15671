"""LMDB with one packed row a key, tuned as its documentation says for data in memory.

Fixed-size integer keys (``integerkey``) for int64; a writable map, no sync, no read-ahead, no zeroing of pages; a read
transaction a call (a longer one would not see later writes) from the spare ones that LMDB keeps; batches by ``putmulti``.
Tried and slower here: cursors with ``getmulti``, duplicates of fixed size, values as buffers.
"""

from typing import Any

import lmdb

from bench import footprint
from bench.dataset import Chunk
from bench.subjects import Read
from bench.subjects.packed_rows import PackedRows

MAP_BYTES_A_ROW = 1_500
MAP_BYTES_MIN = 1 << 28


class LmdbRows(PackedRows):
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
