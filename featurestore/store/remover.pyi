import numpy as np
import numpy.typing as npt
from featurestore_client.tables.keys import KeyBatch
from featurestore_client.tables.reader import Snapshot

def delete_rows(
    snapshot: Snapshot, keys: KeyBatch, event_timestamps_us: npt.NDArray[np.int64], now: int
) -> tuple[int, int, int]: ...
def reclaim_rows(
    snapshot: Snapshot, shard: int, first_row: int, row_count: int, retained_from: int, deleted_from: int
) -> tuple[int, int]: ...
