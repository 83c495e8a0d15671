from collections.abc import Mapping, Sequence

from featurestore_client.tables.layout import RowLayout

from featurestore.store.fixed_batch import FixedBatch

class BatchColumn:
    name: str
    bools: bytes | memoryview
    int32s: bytes | memoryview
    int64s: bytes | memoryview
    float32s: bytes | memoryview
    float64s: bytes | memoryview
    data: bytes
    offsets: bytes
    validity: bytes

class Batch:
    keys: Sequence[BatchColumn]
    features: Sequence[BatchColumn]
    event_timestamps_us: bytes

class WriteFormat:
    def __init__(self, join_keys: Mapping[str, str], features: Mapping[str, str], layout: RowLayout) -> None: ...

class WriteRequest:
    project: str
    view: str
    load: str
    sequence: int
    def batch(self) -> Batch | None: ...
    def fixed_batch(self, wanted: WriteFormat, clock_us: int) -> FixedBatch | None: ...

def read_write_request(data: bytes) -> WriteRequest | None: ...
def read_ingest_request(data: bytes) -> WriteRequest | None: ...
