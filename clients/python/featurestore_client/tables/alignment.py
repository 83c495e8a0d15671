"""The key columns of a read: their common length, and one value standing for all rows."""

from collections.abc import Sequence

import numpy as np

from featurestore_client.errors import InvalidArgumentError, ResourceExhaustedError
from featurestore_client.tables.columns import Values, VarColumn

BROADCAST_BYTES_MAX = 64 << 20


def length_of(values: Values) -> int:
    """How many values a column has."""
    return len(values.offsets) - 1 if isinstance(values, VarColumn) else len(values)


def align(names: Sequence[str], keys: Sequence[Values], rows_max: int) -> tuple[Sequence[Values], int]:
    """The key columns, all of one length, and that length. A column of one value is repeated for the rows of the others."""
    if len(keys) == 1 and 0 < (rows := length_of(keys[0])) <= rows_max:
        return keys, rows
    lengths = [length_of(values) for values in keys]
    rows = max(lengths)
    if rows > rows_max:
        raise ResourceExhaustedError.of("read_rows_max", rows, rows_max, "read the rows in several requests")
    if min(lengths) == rows and rows > 0:
        return keys, rows
    for name, length in zip(names, lengths, strict=True):
        if length == 0:
            raise InvalidArgumentError.of(f"keys.{name}", "0 values", "at least one")
        if length not in (1, rows):
            raise InvalidArgumentError.of(
                f"keys.{name}", f"{length} values", f"{rows}, as in the longest key column, or one for all rows"
            )
    return [
        values if length == rows else _repeat(name, values, rows)
        for name, values, length in zip(names, keys, lengths, strict=True)
    ], rows


def _repeat(name: str, values: Values, rows: int) -> Values:
    if not isinstance(values, VarColumn):
        return np.repeat(values, rows)
    width = len(values.data)
    if width * rows > BROADCAST_BYTES_MAX:
        raise ResourceExhaustedError.of(
            f"bytes of keys.{name}", width * rows, BROADCAST_BYTES_MAX, "use a shorter key or fewer rows"
        )
    return VarColumn(np.tile(values.data, rows), np.arange(rows + 1, dtype=np.int32) * np.int32(width))
