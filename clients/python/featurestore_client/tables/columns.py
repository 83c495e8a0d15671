"""Columns: how values enter and leave the store, as flat buffers and never as a Python object a value."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class VarColumn(NamedTuple):
    """n strings or byte strings: value i is ``data[offsets[i]:offsets[i + 1]]``.

    ``data`` is uint8; ``offsets`` is int32 of n + 1 entries that never fall, the first 0 (a slice of Arrow's may start higher).
    """

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int32]


Values = np.ndarray | VarColumn
"""n values: a C-contiguous array of the type's NumPy dtype, shape (n,) or (n, length) for vectors; or a VarColumn."""


class Column(NamedTuple):
    """n values and which of them are there: bit i of ``validity`` (uint8, least significant bit first) is 1 where not null."""

    values: Values
    validity: npt.NDArray[np.uint8] | None = None
