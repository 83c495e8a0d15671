"""A dict of the process: key to a NumPy row, or key to a list of Python values.

What a model server writes first. The fastest of nine ways to make the matrix was kept for each (joining the rows' bytes beats
``np.stack``, ``np.array``, ``np.concatenate`` and filling row by row). The garbage collector is off while anything is timed.
"""

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np

from bench.dataset import Chunk, Floats, Indices, Strings, texts
from bench.subjects import Read, Subject


class _Dictionary(Subject):
    def open(self) -> None:
        self._rows: dict[Any, Any] = {}
        self._width = len(self.dataset.float_names)
        self._kinds: list[bool] = [self.dataset.is_string(number) for number in range(len(self.dataset.feature_names))]

    def keys(self, indices: Indices) -> Any:
        return self.calls(indices[None, :])[0]

    def close(self) -> None:
        self._rows = {}

    def calls(self, indices: Indices) -> list[Any]:
        if self.dataset.strings:
            flat = [each.decode() for each in self.dataset.string_keys(indices.reshape(-1)).view("S20")[:, 0].tolist()]
            return [flat[start : start + indices.shape[1]] for start in range(0, len(flat), indices.shape[1])]
        calls: Any = self.dataset.integer_keys(indices.reshape(-1)).reshape(indices.shape).tolist()
        return list(calls)

    def _chunk_keys(self, chunk: Chunk) -> list[Any]:
        return texts(chunk.keys) if isinstance(chunk.keys, Strings) else chunk.keys.tolist()

    def decode(self, answer: Any) -> tuple[Floats, Sequence[Sequence[str]]]:
        if not self.dataset.strings:
            return answer, []
        matrix, strings = answer
        return matrix, [list(column) for column in zip(*strings, strict=True)]


class DictNumpy(_Dictionary):
    """Key to a float32 array; with strings, to an array and a tuple of strings."""

    def reader(self) -> Read:
        rows, width = self._rows, self._width

        def floats(keys: Any) -> Any:
            return np.frombuffer(b"".join([rows[key] for key in keys]), np.float32).reshape(-1, width)

        def floats_and_strings(keys: Any) -> Any:
            found = [rows[key] for key in keys]
            matrix = np.frombuffer(b"".join([row[0] for row in found]), np.float32).reshape(-1, width)
            return matrix, [row[1] for row in found]

        return floats_and_strings if self.dataset.strings else floats

    def batch(self, chunk: Chunk) -> Any:
        return self._chunk_keys(chunk), chunk.floats, list(zip(*map(texts, chunk.strings), strict=True))

    def write(self, batch: Any) -> None:
        keys, floats, strings = batch
        # A copy of each row: a view would keep its whole batch in memory for as long as one of its rows is not overwritten.
        rows = [row.copy() for row in floats]
        self._rows.update(zip(keys, zip(rows, strings, strict=True) if strings else rows, strict=True))


class DictLists(_Dictionary):
    """Key to a list of the 50 values as Python objects."""

    def reader(self) -> Read:
        rows = self._rows
        # itertools.compress picks the floats, and the strings, of a row without a step of Python for each.
        strings = [self.dataset.is_string(number) for number in range(len(self.dataset.feature_names))]
        numbers = [not each for each in strings]

        def floats(keys: Any) -> Any:
            return np.array([rows[key] for key in keys], np.float32)

        def floats_and_strings(keys: Any) -> Any:
            found = [rows[key] for key in keys]
            matrix = np.array([list(compress(row, numbers)) for row in found], np.float32)
            return matrix, [list(compress(row, strings)) for row in found]

        return floats_and_strings if self.dataset.strings else floats

    def batch(self, chunk: Chunk) -> Any:
        rows = chunk.floats.tolist()
        if self.dataset.strings:
            strings = list(zip(*map(texts, chunk.strings), strict=True))
            merged = []
            for numbers, names in zip(rows, strings, strict=True):
                each, other = iter(numbers), iter(names)
                merged.append([next(other) if string else next(each) for string in self._kinds])
            rows = merged
        return self._chunk_keys(chunk), rows

    def write(self, batch: Any) -> None:
        keys, rows = batch
        # Copied, so that a batch that is written twice does not share its lists.
        self._rows.update(zip(keys, map(list, rows), strict=True))
