from featurestore_client.tables.keys import KeyBatch
from featurestore_client.tables.reader import Snapshot

from featurestore.store.room import Room
from featurestore.store.source import Source

class Beginning:
    def begin(self) -> int: ...

def write_rows(
    snapshot: Snapshot, keys: KeyBatch, source: Source, room: Room | None, now: int
) -> tuple[int, int, int, int, int]: ...
