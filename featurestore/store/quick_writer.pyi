from featurestore_client.tables.reader import Snapshot, SnapshotReader

from featurestore.mutex import Mutex
from featurestore.store.fixed_batch import FixedBatch
from featurestore.store.writer import Beginning

INLINE_ROWS_MAX: int

class QuickWriter:
    def __init__(self, lock: Mutex, rows_max: int) -> None: ...
    def forget(self) -> None: ...
    def may_hold(self, snapshot: Snapshot, rows: int) -> bool: ...
    def write(
        self, table: SnapshotReader, batch: FixedBatch, now_us: int, beginning: Beginning
    ) -> tuple[int, int, int, int, int] | None: ...
