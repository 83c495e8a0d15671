"""The store kernel: packed, memory-mapped tables of features, read by key without a lock. It knows no network."""

from featurestore_client.tables.columns import Column, Values, VarColumn
from featurestore_client.tables.reader import Projection, RowBatch
from featurestore_client.tables.table import TableReader, TableStats

from featurestore.store.fixed_batch import FixedBatch
from featurestore.store.store import Store, Trust
from featurestore.store.table import UNLIMITED, DeleteCounts, Limits, Table, WriteCounts

__all__ = [
    "UNLIMITED",
    "Column",
    "DeleteCounts",
    "FixedBatch",
    "Limits",
    "Projection",
    "RowBatch",
    "Store",
    "Table",
    "TableReader",
    "TableStats",
    "Trust",
    "Values",
    "VarColumn",
    "WriteCounts",
]
