"""WriteFeatures and IngestFeatures on the wire: an ordinary request taken apart in one walk, its values left where they are.

protobuf would copy each array into the message and once more out of it; here a feature's array is a view of the request's own
bytes. What columns hold is checked in one place, ``columns.py``, which reads these as it reads protobuf's. A request that is in
any way out of the ordinary (a field twice, an unknown one, a length that does not add up, a name that is not ASCII) gives None,
and the caller has protobuf read it. Invariant: the field numbers are read from the generated descriptor, and no byte is read that
is not within the request.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int8_t, uint8_t, uint64_t
from libc.string cimport memset

from featurestore.server.wire import featurestore_raw_pb2 as wire

from featurestore.server.spans cimport VARINT, Span, is_ascii, tag_of, take_span

cdef enum:
    VARINT_BYTES_MAX = 9   # of 63 bits; a longer one is for protobuf to read

cdef enum:                 # the fields of a column
    NAME, BOOLS, INT32S, INT64S, FLOAT32S, FLOAT64S, DATA, OFFSETS, VALIDITY, FIELDS

cdef int8_t[256] field_of_tag
memset(field_of_tag, -1, sizeof(field_of_tag))
for number, field in enumerate(("name", "bools", "int32s", "int64s", "float32s", "float64s", "data", "offsets", "validity")):
    field_of_tag[tag_of(wire.Column, field)] = number

cdef uint8_t BATCH_KEYS = tag_of(wire.WriteBatch, "keys")
cdef uint8_t BATCH_FEATURES = tag_of(wire.WriteBatch, "features")
cdef uint8_t BATCH_EVENT_TIMESTAMPS = tag_of(wire.WriteBatch, "event_timestamps_us")


cdef struct RequestTags:
    uint8_t project
    uint8_t view
    uint8_t batch
    uint8_t sequence       # 0: it has none
    uint8_t load           # likewise


cdef RequestTags WRITE = RequestTags(
    tag_of(wire.WriteFeaturesRequest, "project"),
    tag_of(wire.WriteFeaturesRequest, "view"),
    tag_of(wire.WriteFeaturesRequest, "batch"),
    0,
    0,
)
cdef RequestTags INGEST = RequestTags(
    tag_of(wire.IngestFeaturesRequest, "project"),
    tag_of(wire.IngestFeaturesRequest, "view"),
    tag_of(wire.IngestFeaturesRequest, "batch"),
    tag_of(wire.IngestFeaturesRequest, "sequence", VARINT),
    tag_of(wire.IngestFeaturesRequest, "load"),
)


cdef class BatchColumn:
    """A Column. The numbers of a feature are a memoryview of the request and begin at any byte; all else is a copy."""

    cdef readonly str name
    cdef readonly object bools, int32s, int64s, float32s, float64s
    cdef readonly bytes data, offsets, validity


cdef class Batch:
    """A WriteBatch."""

    cdef readonly list keys, features
    cdef readonly bytes event_timestamps_us


cdef class WriteRequest:
    """A WriteFeaturesRequest, or an IngestFeaturesRequest, which has a sequence and may have a load."""

    cdef readonly str project, view, load
    cdef readonly uint64_t sequence
    cdef readonly Batch batch


def read_write_request(bytes data not None):
    """The WriteFeaturesRequest, or None when it is for protobuf to read."""
    return request_of(data, &WRITE)


def read_ingest_request(bytes data not None):
    """The IngestFeaturesRequest, or None when it is for protobuf to read."""
    return request_of(data, &INGEST)


cdef WriteRequest request_of(bytes data, RequestTags *tags):
    cdef WriteRequest request = WriteRequest.__new__(WriteRequest)
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef const uint8_t *end = at + PyBytes_GET_SIZE(data)
    cdef Span project = Span(NULL, 0)
    cdef Span view = Span(NULL, 0)
    cdef Span batch = Span(NULL, 0)
    cdef Span load = Span(NULL, 0)
    cdef bint has_sequence = False
    cdef uint8_t tag
    while at < end:
        tag = at[0]
        at += 1
        if tag == tags.project:
            if not take_span(&at, end, &project):
                return None
        elif tag == tags.view:
            if not take_span(&at, end, &view):
                return None
        elif tag == tags.batch:
            if not take_span(&at, end, &batch):
                return None
        elif tag == tags.load and tag:
            if not take_span(&at, end, &load):
                return None
        elif tag == tags.sequence and tag and not has_sequence:
            has_sequence = True
            if not take_varint(&at, end, &request.sequence):
                return None
        else:
            return None
    if not (is_ascii(&project) and is_ascii(&view) and is_ascii(&load)):
        return None
    request.project, request.view, request.load = text_of(&project), text_of(&view), text_of(&load)
    request.batch = batch_of(&batch, data)
    return request if request.batch is not None else None


cdef Batch batch_of(Span *whole, bytes data):
    cdef Batch batch = Batch.__new__(Batch)
    cdef const uint8_t *at = whole.at
    cdef const uint8_t *end = at + whole.length
    cdef Span column, times = Span(NULL, 0)
    cdef BatchColumn found
    cdef uint8_t tag
    view = memoryview(data)
    batch.keys, batch.features = [], []
    while at < end:
        tag = at[0]
        at += 1
        if tag == BATCH_EVENT_TIMESTAMPS:
            if not take_span(&at, end, &times):
                return None
            continue
        if tag != BATCH_KEYS and tag != BATCH_FEATURES:
            return None
        column = Span(NULL, 0)
        if not take_span(&at, end, &column):
            return None
        found = column_of(&column, data, view if tag == BATCH_FEATURES else None)
        if found is None:
            return None
        if tag == BATCH_KEYS:
            batch.keys.append(found)
        else:
            batch.features.append(found)
    batch.event_timestamps_us = bytes_of(&times)
    return batch


cdef BatchColumn column_of(Span *whole, bytes data, view):
    cdef BatchColumn column = BatchColumn.__new__(BatchColumn)
    cdef const uint8_t *at = whole.at
    cdef const uint8_t *end = at + whole.length
    cdef Span[FIELDS] fields
    cdef int field
    memset(fields, 0, sizeof(fields))
    while at < end:
        field = field_of_tag[at[0]]
        at += 1
        if field < 0 or not take_span(&at, end, &fields[field]):
            return None
    if not is_ascii(&fields[NAME]):
        return None
    column.name = text_of(&fields[NAME])
    column.bools = numbers_of(&fields[BOOLS], data, view)
    column.int32s = numbers_of(&fields[INT32S], data, view)
    column.int64s = numbers_of(&fields[INT64S], data, view)
    column.float32s = numbers_of(&fields[FLOAT32S], data, view)
    column.float64s = numbers_of(&fields[FLOAT64S], data, view)
    column.data = bytes_of(&fields[DATA])
    column.offsets = bytes_of(&fields[OFFSETS])
    column.validity = bytes_of(&fields[VALIDITY])
    return column


cdef object numbers_of(Span *span, bytes data, view):
    # The writer copies a feature's values byte by byte; whatever else is read as numbers has to be aligned.
    cdef Py_ssize_t start
    if view is None or span.length == 0:
        return bytes_of(span)
    start = span.at - <const uint8_t *>PyBytes_AS_STRING(data)
    return view[start : start + span.length]


cdef bytes bytes_of(Span *span):
    return PyBytes_FromStringAndSize(<const char *>span.at, span.length) if span.length else b""


cdef str text_of(Span *span):
    return (<const char *>span.at)[: span.length].decode("ascii") if span.length else ""


cdef bint take_varint(const uint8_t **at, const uint8_t *end, uint64_t *value) noexcept nogil:
    cdef int count
    cdef uint8_t byte
    value[0] = 0
    for count in range(VARINT_BYTES_MAX):
        if at[0] == end:
            return False
        byte = at[0][0]
        at[0] += 1
        value[0] |= <uint64_t>(byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return True
    return False
