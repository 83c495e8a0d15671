from collections.abc import Sequence

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

class WriteRequest:
    project: str
    view: str
    load: str
    sequence: int
    batch: Batch

def read_write_request(data: bytes) -> WriteRequest | None: ...
def read_ingest_request(data: bytes) -> WriteRequest | None: ...
