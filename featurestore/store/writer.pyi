from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from featurestore_client.tables.columns import Column
from featurestore_client.tables.keys import KeyBatch
from featurestore_client.tables.layout import RowLayout
from featurestore_client.tables.reader import Snapshot

from featurestore.store.memory import Memory

class Source:
    string_bytes: int
    def __init__(self, layout: RowLayout, columns: Mapping[str, Column]) -> None: ...

class Room:
    def __init__(self, memory: Memory, snapshot: Snapshot, keys: KeyBatch, source: Source, deleting: bool) -> None: ...
    def wanting(self, snapshot: Snapshot) -> list[tuple[int, int, int]]: ...
    def commit(self, snapshot: Snapshot) -> None: ...

def ahead_bytes(used: int) -> int: ...
def count_new(snapshot: Snapshot, keys: KeyBatch, source: Source) -> int: ...
def write_rows(
    snapshot: Snapshot, keys: KeyBatch, event_timestamps_us: npt.NDArray[np.int64], source: Source, room: Room, now: int
) -> tuple[int, int, int, int]: ...
