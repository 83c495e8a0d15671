"""Which keys requests are made of: where they come from, and how popular each is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.dataset import Dataset, Indices, Strings
from bench.settings import SettingsError
from bench.wire import Keys


@dataclass(frozen=True)
class KeySource:
    """``count`` keys by number; ``columns`` makes the key columns of some of them."""

    count: int
    columns: Callable[[Indices], Keys]


def of_dataset(dataset: Dataset) -> KeySource:
    """The keys of a dataset of our own."""
    name = dataset.entity.join_keys[0].name
    return KeySource(dataset.rows, lambda indices: {name: dataset.chunk(indices).keys})


def of_range(types: Mapping[str, str], count: int, text: str) -> KeySource:
    """Keys 0 .. count - 1; ``text`` makes a string key of a number, such as ``user_{:08d}``."""
    try:
        text.format(0)
    except (ValueError, IndexError, KeyError):
        raise SettingsError(f"key_format: got {text!r}, expected one place for a number, such as user_{{:08d}}") from None

    def columns(indices: Indices) -> Keys:
        return {
            name: strings([text.format(each) for each in indices.tolist()]) if kind == "string" else indices.astype(np.int64)
            for name, kind in types.items()
        }

    return KeySource(count, columns)


def of_file(types: Mapping[str, str], path: Path) -> KeySource:
    """Keys from a text file: one a line, the parts of a composite key separated by tabs, in the order of the join keys."""
    lines = [line.split("\t") for line in path.read_text().splitlines() if line]
    for number, line in enumerate(lines, 1):
        if len(line) != len(types):
            raise SettingsError(f"{path} line {number}: got {len(line)} parts, expected {len(types)} ({', '.join(types)})")
    if not lines:
        raise SettingsError(f"{path}: got no keys, expected one a line")
    parts = list(zip(*lines, strict=True))
    integers = {
        name: np.array(values, np.int64) for (name, kind), values in zip(types.items(), parts, strict=True) if kind != "string"
    }

    def columns(indices: Indices) -> Keys:
        chosen = indices.tolist()
        return {
            name: integers[name][indices] if name in integers else strings([values[each] for each in chosen])
            for name, values in zip(types, parts, strict=True)
        }

    return KeySource(len(lines), columns)


def strings(values: list[str]) -> Strings:
    """Strings as a column."""
    encoded = [value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(each) for each in encoded], out=offsets[1:])
    return Strings(np.frombuffer(b"".join(encoded), np.uint8), offsets)


def draw(count: int, shape: tuple[int, int], zipf: float, random: np.random.Generator) -> Indices:
    """Key numbers of some requests, uniform (``zipf`` 0) or by a zipf law: the k-th most popular has weight 1 / k ** zipf.

    The popular ones lie scattered over the numbers, as they would in a store.
    """
    if zipf == 0:
        return random.integers(0, count, shape)
    weights = np.cumsum(np.arange(1, count + 1, dtype=np.float64) ** -zipf)
    ranks = np.searchsorted(weights, random.random(shape) * weights[-1]).clip(0, count - 1)
    # The same permutation in every process and run, so that all of them agree on which keys are popular.
    scattered: Indices = np.random.default_rng(count).permutation(count)[ranks]
    return scattered
