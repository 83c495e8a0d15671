"""The data that all subjects hold: a table whose every value follows from its row number.

Any process makes any part of it, so nothing is shipped between processes and every answer can be checked. Invariant: the same
``Dataset`` gives the same keys and values on every machine.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from featurestore.model import Entity, FeatureView

FEATURES = 50
STRING_EVERY = 10
KEY_CHARACTERS = 20
STRING_CHARACTERS_MIN = 4
STRING_CHARACTERS_MAX = 20
_KEY_PREFIX = np.frombuffer(b"user", np.uint8)
_HEXADECIMAL = np.frombuffer(b"0123456789abcdef", np.uint8)
_KEY_STREAM, _STRING_STREAM = 1 << 60, 1 << 61


class Strings(NamedTuple):
    """n strings: value i is ``data[offsets[i]:offsets[i + 1]]``. The feature store takes the same two arrays."""

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int32]


Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Chunk:
    """Some rows: their keys (int64 or strings), the float features as a row-major matrix, and the string features."""

    keys: npt.NDArray[np.int64] | Strings
    floats: Floats
    strings: list[Strings]

    @property
    def rows(self) -> int:
        return len(self.floats)


@dataclass(frozen=True)
class Dataset:
    """``rows`` rows of 50 float32 under random int64 keys; with ``strings``, of 45 float32 and 5 strings under string keys."""

    rows: int
    strings: bool = False
    seed: int = 1

    @property
    def name(self) -> str:
        return "strings" if self.strings else "floats"

    @property
    def feature_names(self) -> list[str]:
        return [f"f{number:02d}" for number in range(FEATURES)]

    def is_string(self, number: int) -> bool:
        """Whether feature ``number`` is a string: 1 in 10, where the dataset has strings at all."""
        return self.strings and number % STRING_EVERY == STRING_EVERY - 1

    @property
    def float_names(self) -> list[str]:
        return [name for number, name in enumerate(self.feature_names) if not self.is_string(number)]

    @property
    def string_names(self) -> list[str]:
        return [name for number, name in enumerate(self.feature_names) if self.is_string(number)]

    @property
    def entity(self) -> "Entity":
        from featurestore.model import Entity  # noqa: PLC0415  peers' processes need nothing of the store

        return Entity.model_validate(
            {"name": "user", "join_keys": [{"name": "user", "type": "string" if self.strings else "int64"}]}
        )

    @property
    def view(self) -> "FeatureView":
        from featurestore.model import FeatureView  # noqa: PLC0415  as above

        features = [
            {"name": name, "type": "string" if self.is_string(number) else "float32"}
            for number, name in enumerate(self.feature_names)
        ]
        return FeatureView.model_validate({"name": f"bench_{self.name}", "entity": "user", "features": features})

    def integer_keys(self, indices: Indices) -> npt.NDArray[np.int64]:
        """Random-looking int64 keys, all different."""
        return _mix(indices.astype(np.uint64) + np.uint64(self.seed * _KEY_STREAM % 2**64)).view(np.int64)

    def string_keys(self, indices: Indices) -> npt.NDArray[np.uint8]:
        """Keys of 20 characters, all different: a matrix of bytes, a row a key."""
        keys = np.empty((len(indices), KEY_CHARACTERS), np.uint8)
        keys[:, :4] = _KEY_PREFIX
        keys[:, 4:] = _digits(self.integer_keys(indices).view(np.uint64), _HEXADECIMAL)
        return keys

    def chunk(self, indices: Indices) -> Chunk:
        """The rows of these numbers."""
        floats = self._floats(indices)
        if not self.strings:
            return Chunk(self.integer_keys(indices), floats, [])
        keys = Strings(self.string_keys(indices).reshape(-1), np.arange(len(indices) + 1, dtype=np.int32) * KEY_CHARACTERS)
        return Chunk(keys, floats, [self._texts(indices, number) for number in range(len(self.string_names))])

    def slice(self, start: int, stop: int) -> Chunk:
        """Rows ``start`` to ``stop``."""
        return self.chunk(np.arange(start, min(stop, self.rows), dtype=np.int64))

    def _floats(self, indices: Indices) -> Floats:
        width = len(self.float_names)
        features = np.arange(self.seed, self.seed + width, dtype=np.uint64)
        cells: npt.NDArray[np.uint64] = (indices.astype(np.uint64) * np.uint64(FEATURES))[:, None] + features
        return ((_mix(cells) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)).reshape(len(indices), width)

    def _texts(self, indices: Indices, number: int) -> Strings:
        mixed = _mix(indices.astype(np.uint64) * np.uint64(8) + np.uint64(number + _STRING_STREAM))
        letters = np.empty((len(indices), STRING_CHARACTERS_MAX), np.uint8)
        letters[:, :16] = _digits(mixed, np.frombuffer(b"abcdefghijklmnop", np.uint8))
        letters[:, 16:] = ord("z")
        lengths = STRING_CHARACTERS_MIN + (mixed % np.uint64(STRING_CHARACTERS_MAX - STRING_CHARACTERS_MIN + 1)).astype(
            np.int32
        )
        offsets = np.zeros(len(indices) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        return Strings(letters[np.arange(STRING_CHARACTERS_MAX) < lengths[:, None]], offsets)


def texts(column: Strings) -> list[str]:
    """A string column as Python strings."""
    data, offsets = column.data.tobytes(), column.offsets.tolist()
    return [data[start:stop].decode() for start, stop in pairwise(offsets)]


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    # splitmix64: a bijection, so different numbers never share a key.
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _digits(values: npt.NDArray[np.uint64], alphabet: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    shifts = np.arange(60, -1, -4, dtype=np.uint64)
    return alphabet[((values[:, None] >> shifts) & np.uint64(15)).astype(np.intp)]
