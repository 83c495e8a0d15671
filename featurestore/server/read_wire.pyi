from collections.abc import Iterable, Sequence

from featurestore_client.tables.columns import Values
from featurestore_client.tables.lookups import Block, ColumnSource

class KeyFormat:
    def __init__(self, names: Sequence[str], texts: Sequence[bool]) -> None: ...

class ReadRequest:
    selection: bytes
    known_schema_id: int
    rows: int
    def keys(self, wanted: KeyFormat) -> list[Values] | None: ...

def read_request(data: bytes) -> ReadRequest | None: ...

class AnswerFormat:
    schema_id: int
    def __init__(
        self, schema_id: int, schema: bytes, arrays: Iterable[str], row_bytes: int, sources: Sequence[ColumnSource]
    ) -> None: ...
    def begin(self, rows: int, known_schema_id: int) -> AnswerWriter: ...

class AnswerWriter(bytearray):  # which it is not: it has a buffer that can be written to, as that has
    def finish(
        self,
        blocks: Sequence[Block],
        row_statuses: bytes | None,
        nulls: bytes | None,
        event_timestamps_us: bytes | None,
    ) -> bytes: ...
