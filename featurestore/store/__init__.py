"""The store kernel: packed, memory-mapped tables of features, read by key without a lock. It knows no network."""

from featurestore.store.columns import Column, Values, VarColumn
from featurestore.store.reader import Projection, RowBatch
from featurestore.store.store import Store
from featurestore.store.table import DeleteCounts, Limits, Table, TableReader, TableStats, WriteCounts

__all__ = [
    "Column",
    "DeleteCounts",
    "Limits",
    "Projection",
    "RowBatch",
    "Store",
    "Table",
    "TableReader",
    "TableStats",
    "Values",
    "VarColumn",
    "WriteCounts",
]
