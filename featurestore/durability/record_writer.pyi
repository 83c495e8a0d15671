from featurestore.durability.group_sync import GroupSync
from featurestore.durability.record import Message
from featurestore.errors import FeatureStoreError
from featurestore.mutex import Mutex

PIECE_BYTES: int
WHOLE_BYTES: int

class RecordWriter:
    lock: Mutex
    number: int
    last: int
    turns: bool
    bytes_since_snapshot: int
    _synced: int
    _file: int
    _offset: int
    _group: GroupSync | None
    _is_one_file: bool
    _failure: FeatureStoreError | None
    def __init__(self, number: int, last: int, mark: memoryview, turn_offset: int, bytes_since_snapshot: int) -> None: ...
    def append(self, message: Message, project: str, view: str, definitions: int) -> int: ...
    def applied(self, sequence: int) -> None: ...
    @property
    def applied_to(self) -> int: ...
    def forget_bytes(self, count: int) -> None: ...
    def _turn_file(self, sequence: int) -> None: ...
    def _refusal(self, error: OSError, size: int) -> FeatureStoreError: ...
