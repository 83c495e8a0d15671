from collections.abc import Sequence

from featurestore_client.tables.layout import RowLayout

class Index:
    path: str
    @staticmethod
    def attach(path: str, writable: bool) -> Index: ...

class Arena:
    path: str
    @staticmethod
    def attach(path: str, layout: RowLayout, writable: bool) -> Arena: ...

class Segment:
    arena: Arena
    index: Index
    def __init__(self, arena: Arena, index: Index) -> None: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def counts(self) -> tuple[int, int, int, int, int, int, int, int]: ...

class Control:
    clean: bool
    @staticmethod
    def attach(path: str, writable: bool) -> Control: ...
    @property
    def epoch(self) -> int: ...
    def publish(self, schema_id: int, arenas: Sequence[int], indexes: Sequence[int]) -> None: ...
    def read(self) -> tuple[int, int, list[int], list[int]] | None: ...
