from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from featurestore_client.tables.columns import Values
from featurestore_client.tables.layout import RowLayout
from featurestore_client.tables.segment import Control, Segment

class ReadLimits(Protocol):
    @property
    def key_bytes_max(self) -> int: ...
    @property
    def batch_rows_max(self) -> int: ...
    @property
    def read_string_bytes_max(self) -> int: ...

class Snapshot:
    segments: tuple[Segment, ...]
    layout: RowLayout
    schema_id: int
    join_keys: list[str]
    def __init__(
        self,
        layout: RowLayout,
        schema_id: int,
        segments: Sequence[Segment],
        join_keys: Sequence[str],
        ttl_us: int,
        limits: ReadLimits,
    ) -> None: ...

class Projection:
    features: tuple[str, ...]
    columnar: bool
    row_bytes: int
    null_row_bytes: int
    offsets: tuple[int, ...]
    null_bits: tuple[int, ...]
    var_features: tuple[str, ...]
    layout: RowLayout
    def __init__(
        self, layout: RowLayout, features: Sequence[str], columnar: bool, null_bits: Sequence[int] | None, null_row_bytes: int
    ) -> None: ...

class RowBatch:
    rows: int
    values: bytes | None
    var: tuple[tuple[bytes, bytes], ...]
    statuses: bytes | None
    nulls: bytes | None
    event_timestamps_us: bytes | None

class SnapshotReader:
    _snapshot: Snapshot
    _epoch: int
    _control: Control
    def __init__(self, control: Control, follows: bool) -> None: ...
    def _current(self) -> Snapshot: ...
    def read(
        self,
        keys: Sequence[Values],
        projection: Projection,
        *,
        now_us: int,
        expired_values: bool = False,
        event_timestamps: bool = False,
        out: bytearray | memoryview | npt.NDArray[np.generic] | None = None,
        out_offset: int = 0,
        out_stride: int = 0,
        nulls_out: bytearray | None = None,
    ) -> RowBatch: ...
