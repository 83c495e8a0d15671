from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from featurestore_client.tables.columns import Column
from featurestore_client.tables.layout import RowLayout

class FixedLayout:
    layout: RowLayout
    count: int
    def __init__(self, layout: RowLayout) -> None: ...

class FixedBatch:
    layout: FixedLayout
    rows: int
    def as_columns(self) -> tuple[list[npt.NDArray[np.int64]], npt.NDArray[np.int64], Mapping[str, Column]]: ...
