from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from featurestore_client.tables.columns import Column
from featurestore_client.tables.keys import KeyBatch
from featurestore_client.tables.layout import RowLayout

from featurestore.store.fixed_batch import FixedBatch

class Source:
    string_bytes: int
    def __init__(
        self, layout: RowLayout, columns: Mapping[str, Column], event_timestamps_us: npt.NDArray[np.int64] | None = None
    ) -> None: ...

def source_of(batch: FixedBatch) -> Source: ...
def keys_of(batch: FixedBatch) -> KeyBatch: ...
