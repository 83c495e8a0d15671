from collections.abc import Sequence

from featurestore_client.tables.columns import Values
from featurestore_client.tables.layout import RowLayout

class KeyBatch:
    rows: int

def key_batch(layout: RowLayout, join_keys: list[str], columns: Sequence[Values], key_bytes_max: int) -> KeyBatch: ...
def check_strings(name: str, column: Values, bytes_max: int) -> None: ...
