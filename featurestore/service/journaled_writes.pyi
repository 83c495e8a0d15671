from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

from featurestore.durability import Journal, Message, Unsynced
from featurestore.registry import Registry
from featurestore.service.write_plan import WritePlan
from featurestore.store import FixedBatch, Store, Table

_Result = TypeVar("_Result")
_Counts = tuple[int, int, int, int, int]

INLINE_BYTES_MAX: int

class _Gate(Protocol):
    def locked(self) -> bool: ...

class JournaledWrites:
    def __init__(self, store: Store, registry: Registry, journal: Journal | None, gates: Mapping[int, _Gate]) -> None: ...
    def may_begin(self, table: Table, message: Message | None) -> bool: ...
    def is_free(self, message: Message | None) -> bool: ...
    def apply(
        self, plan: WritePlan, message: Message | None, apply: Callable[..., _Result], begin: Callable[[], None] | None
    ) -> tuple[_Result, int]: ...
    def write_quickly(
        self, plan: WritePlan, batch: FixedBatch, message: Message, begin: Callable[[], None] | None
    ) -> _Counts | Unsynced[_Counts] | None: ...
    def acknowledged(self, result: _Result, sequence: int) -> _Result | Awaitable[_Result]: ...
