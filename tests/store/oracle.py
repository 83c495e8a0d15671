"""What the store is tested against: a dict of dicts, and the same calls on it and on a real table."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featurestore.model import DataType, Scalar
from featurestore.store import Column, Values, VarColumn

Key = tuple[Any, ...]


def var_column(values: list[bytes]) -> VarColumn:
    """Byte strings as data and offsets."""
    offsets = np.zeros(len(values) + 1, np.int32)
    offsets[1:] = np.cumsum([len(value) for value in values])
    return VarColumn(np.frombuffer(b"".join(values), np.uint8), offsets)


def key_values(scalars: tuple[Scalar, ...], keys: list[Key]) -> list[Values]:
    """Key tuples as a column for each join key."""
    columns: list[Values] = []
    for position, scalar in enumerate(scalars):
        values = [key[position] for key in keys]
        columns.append(
            np.array(values, np.int64) if scalar is Scalar.INT64 else var_column([value.encode() for value in values])
        )
    return columns


def feature_column(kind: DataType, values: list[Any]) -> Column:
    """Values, None for nulls, as a column. What stands behind a null is junk on purpose."""
    validity = np.packbits([value is not None for value in values], bitorder="little")
    if kind.is_variable:
        return Column(var_column([b"junk" if value is None else value for value in values]), validity)
    shape = (len(values),) if kind.length is None else (len(values), kind.length)
    junk: Any = 7 if kind.length is None else [7] * kind.length
    array = np.array([junk if value is None else value for value in values], kind.numpy).reshape(shape)
    return Column(array, validity if None in values or len(values) % 2 else None)


@dataclass
class Row:
    event: int
    dead: bool
    written: int
    values: dict[str, Any] = field(default_factory=dict)


class Oracle:
    """The model of a table: last writer wins by event time, deletes remembered for a window."""

    def __init__(self, ttl: int, retention: int, window: int) -> None:
        self.rows: dict[Key, Row] = {}
        self.ttl, self.retention, self.window = ttl, retention, window

    def write(self, keys: list[Key], events: list[int], columns: dict[str, list[Any]], now: int) -> tuple[int, int, int, int]:
        inserted = updated = equal = older = 0
        for i, (key, event) in enumerate(zip(keys, events, strict=True)):
            row = self.rows.get(key)
            if row is not None and event < row.event:
                older += 1
                continue
            if row is None or row.dead:
                row = self.rows[key] = Row(event, False, now)
                inserted += 1
            elif event == row.event:
                equal += 1
            else:
                updated += 1
            row.event, row.written = event, now
            row.values.update({name: values[i] for name, values in columns.items()})
        return inserted, updated, equal, older

    def delete(self, keys: list[Key], events: list[int], now: int) -> tuple[int, int, int]:
        deleted = absent = older = 0
        for key, event in zip(keys, events, strict=True):
            row = self.rows.get(key)
            if row is None or row.dead:
                absent += 1
                if row is None or event > row.event:
                    self.rows[key] = Row(event, True, now)
            elif event < row.event:
                older += 1
            else:
                deleted += 1
                self.rows[key] = Row(event, True, now)
        return deleted, absent, older

    def reclaim(self, now: int) -> int:
        gone = [
            key
            for key, row in self.rows.items()
            if (row.dead and row.written < now - self.window)
            or (not row.dead and self.retention and row.event < now - self.retention)
        ]
        for key in gone:
            del self.rows[key]
        return len(gone)

    def read(self, key: Key, now: int, expired_values: bool) -> tuple[int, int, dict[str, Any] | None]:
        """(status, event time, values; None where they are not answered)."""
        row = self.rows.get(key)
        if row is None or row.dead:
            return 2, 0, None
        if self.ttl and row.event < now - self.ttl:
            return 3, row.event, row.values if expired_values else None
        return 0, row.event, row.values
