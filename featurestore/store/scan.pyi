from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from featurestore_client.tables.columns import Values
from featurestore_client.tables.reader import Snapshot

def scan_rows(
    snapshot: Snapshot, shard: int, first: int, count: int
) -> tuple[list[Values], npt.NDArray[np.int64], npt.NDArray[np.uint8], int]: ...
def count_nulls(snapshot: Snapshot) -> list[int]: ...
def split_keys(scalars: Sequence[str], data: bytes, offsets: npt.NDArray[np.int32]) -> list[Values]: ...
