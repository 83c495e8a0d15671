from collections.abc import Callable, Mapping
from typing import TypeVar

from featurestore.durability import Journal, Message, Unsynced
from featurestore.registry import Registry
from featurestore.store import FixedBatch, Store, Table

_Result = TypeVar("_Result")
_Counts = tuple[int, int, int, int, int]

INLINE_BYTES_MAX: int

class Destination:
    project: str
    view: str
    table: Table
    is_staged: bool
    def __init__(self, project: str, view: str, table: Table, is_staged: bool) -> None: ...

class JournaledWrites:
    def __init__(self, store: Store, registry: Registry, journal: Journal | None, gates: Mapping[int, object]) -> None: ...
    def may_begin(self, table: Table, message: Message | None) -> bool: ...
    def is_free(self, message: Message | None) -> bool: ...
    def apply(
        self, to: Destination, message: Message | None, apply: Callable[..., _Result], begin: Callable[[], None] | None
    ) -> tuple[_Result, int]: ...
    def write_quickly(
        self, to: Destination, batch: FixedBatch, message: Message, begin: Callable[[], None] | None
    ) -> _Counts | Unsynced[_Counts] | None: ...
    def acknowledged(self, result: _Result, sequence: int) -> _Result | Unsynced[_Result]: ...
