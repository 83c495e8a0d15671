"""What a table takes, before there is one: by the functions that make and grow the real one.

Rows are taken to spread evenly over the shards, as hashes do, and strings to be of one length. Growth goes in steps: an index
is doubled when it is full, rows are committed a little ahead, and further ahead while large batches are loaded. So there are
three figures: ``memory_bytes`` is where rows came in small batches, within a few percent (more where a row is little larger
than its place in the index); the two beside it always hold.
"""

from collections.abc import Mapping
from typing import NamedTuple

from featurestore_client.tables.layout import RowLayout
from featurestore_client.types import ViewSchema

from featurestore.store.memory import committed_bytes, heap_bytes, index_bytes, index_capacity, index_rows
from featurestore.store.quick_writer import INLINE_ROWS_MAX
from featurestore.store.room import ahead_bytes
from featurestore.store.table import FIRST_ROWS, INLINE_HEAP_BYTES, grown_rows

HEADER_BYTES = 4_096
"""Of an arena (``tables/segment.pxd``)."""
CONTROL_BYTES = 33 * 4_096
"""Of a table's control file (``tables/segment.pxd``)."""
TABLE_BYTES = 4_096
"""Of a short schema's file, whose page is a table's too."""
SHARD_BYTES_MAX = 1 << 30
"""Of a shard's rows, or of its strings: to so many it grows in place, beyond it is copied (``store/memory.pyx``)."""
_PAGE = 4_096


class TableSize(NamedTuple):
    """What so many rows of a view take in memory."""

    rows: int
    shards: int
    row_bytes: int
    """Of a row, without its strings and its place in the index."""
    row_string_bytes: int
    """Of a row's strings, as the heap holds them."""
    memory_least_bytes: int
    memory_bytes: int
    """As ``TableStats.memory_bytes`` will say."""
    memory_most_bytes: int

    @property
    def shards_wanted(self) -> int:
        """So many that no shard is ever copied to grow: those it has, or a larger power of two."""
        shard_bytes = self.rows * max(self.row_bytes, self.row_string_bytes) / SHARD_BYTES_MAX
        return max(self.shards, 1 << max(0, int(-(-shard_bytes // 1)) - 1).bit_length())


def size_of_table(view: ViewSchema, rows: int, shards: int, string_bytes: Mapping[str, float]) -> TableSize:
    """``string_bytes``: of a value, for each join key and feature that is a string or bytes."""
    layout = RowLayout.of(view)
    strings = [string_bytes[name] for name, each in view.features.items() if each.is_variable]
    row_string_bytes = heap_bytes(round(sum(strings) + (_key_bytes(view, string_bytes) if layout.key_in_heap else 0)))
    shard_rows = -(-rows // shards)
    used, heap_used = shard_rows * layout.row_bytes, shard_rows * row_string_bytes
    committed, heap_committed = committed_bytes(used), committed_bytes(heap_used)
    slack = (committed - used + heap_committed - heap_used) // 2
    ahead = max(ahead_bytes(used), INLINE_ROWS_MAX * layout.row_bytes)
    heap_ahead = INLINE_HEAP_BYTES if layout.parts else 0
    least = index_bytes(_entries_for(shard_rows)) + _page_up(used) + _page_up(heap_used)
    usual = index_bytes(_entries_after_growth(shard_rows)) + used + heap_used + slack
    most = (
        index_bytes(index_capacity(max(2 * shard_rows, FIRST_ROWS)))
        + committed_bytes(used + ahead)
        + committed_bytes(heap_used + heap_ahead)
    )
    return TableSize(
        rows,
        shards,
        layout.row_bytes,
        row_string_bytes,
        *(CONTROL_BYTES + shards * (HEADER_BYTES + each) for each in (least, usual, most)),
    )


def _key_bytes(view: ViewSchema, string_bytes: Mapping[str, float]) -> float:
    """Of a key that has a string in it (``tables/keys.pyx``): its bytes, or a column after the other."""
    if len(view.join_keys) == 1:
        return sum(string_bytes[name] for name in view.join_keys)
    return sum(4 + string_bytes[name] if each.is_variable else 8 for name, each in view.join_keys.items())


def _entries_for(rows: int) -> int:
    """Of the smallest index that can hold so many rows."""
    smallest = index_capacity(FIRST_ROWS)
    return max(smallest, -(-rows // 8) * 10)


def _entries_after_growth(rows: int) -> int:
    """Of the index that a shard has after growing to so many rows, a few at a time."""
    entries = index_capacity(FIRST_ROWS)
    while index_rows(entries) < rows:
        entries = index_capacity(grown_rows(index_rows(entries), index_rows(entries) + 1))
    return entries


def _page_up(count: int) -> int:
    return -(-count // _PAGE) * _PAGE
