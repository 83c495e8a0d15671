from collections.abc import Collection, Iterable
from typing import final

@final
class Headers:
    def __init__(self, pairs: Iterable[tuple[bytes, bytes]], unindexed: Collection[bytes] = ()) -> None: ...
