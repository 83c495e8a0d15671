"""WriteFeatures and IngestFeatures on the wire: an ordinary request taken apart in one walk, its values left where they are.

protobuf would copy each array into the message and once more out of it; here a feature's array is a view of the request's own
bytes. What columns hold is checked in one place, ``columns.py``, which reads these as it reads protobuf's. A request that is in
any way out of the ordinary (a field twice, an unknown one, a length that does not add up, a name that is not ASCII) gives None,
and the caller has protobuf read it. Invariant: the field numbers are read from the generated descriptor, and no byte is read that
is not within the request.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset

from featurestore.server.wire import featurestore_raw_pb2 as wire

from featurestore.server.spans cimport VARINT, Span, bytes_of, is_ascii, tag_of, take_span, text_of
from featurestore.store.fixed_batch cimport FeatureValues, FixedBatch, FixedLayout, new_batch

cdef enum:
    VARINT_BYTES_MAX = 9   # of 63 bits; a longer one is for protobuf to read

cdef enum:                 # the fields of a column
    NAME, BOOLS, INT32S, INT64S, FLOAT32S, FLOAT64S, DATA, OFFSETS, VALIDITY, FIELDS

cdef int8_t[256] field_of_tag
memset(field_of_tag, -1, sizeof(field_of_tag))
TAGS = [
    tag_of(wire.Column, field)
    for field in ("name", "bools", "int32s", "int64s", "float32s", "float64s", "data", "offsets", "validity")
]
for field, tag in enumerate(TAGS):
    field_of_tag[tag] = field

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


cdef class WriteFormat:
    """The batches of one view that ``WriteRequest.fixed_batch`` reads.

    ``join_keys`` and ``features``: by name, the field of Column that holds the values. Each feature has a slot in ``layout``.
    """

    def __cinit__(self, join_keys, features, layout):
        cdef FeatureFormat *feature
        self.layout = FixedLayout(layout)
        fields = {"bools": BOOLS, "int32s": INT32S, "int64s": INT64S, "float32s": FLOAT32S, "float64s": FLOAT64S}
        fixed = [(name, fields[array]) for name, array in features.items() if array in fields]
        if list(join_keys.values()) == ["int64s"]:
            self.key = list(join_keys)[0].encode()
        self.features = <FeatureFormat *>malloc(max(len(fixed), 1) * sizeof(FeatureFormat))
        if self.features == NULL:
            raise MemoryError
        names = [name.encode() for name, _ in fixed]
        heads = [head_of(name, field) for name, (_, field) in zip(names, fixed)]
        self._held = (names, heads)
        self.places = {name: place for place, name in enumerate(names)}
        slots = {slot.name: index for index, slot in enumerate(layout.slots)}
        for name, field in fixed:
            feature = &self.features[self.count]
            feature.name, feature.name_bytes = PyBytes_AS_STRING(names[self.count]), len(names[self.count])
            feature.head, feature.head_bytes = PyBytes_AS_STRING(heads[self.count]), len(heads[self.count])
            feature.field, feature.is_bool = field, field == BOOLS
            feature.slot = slots[name]
            feature.width = self.layout.places[feature.slot].width
            self.count += 1

    def __dealloc__(self):
        free(self.features)

    cdef FeatureFormat *named(self, Span *name, Py_ssize_t likely):
        # The feature of that name, which most likely is the one that stands there; NULL: it is not to be read so.
        cdef FeatureFormat *feature
        if likely < self.count:
            feature = &self.features[likely]
            if feature.name_bytes == name.length and memcmp(feature.name, name.at, name.length) == 0:
                return feature
        place = self.places.get(bytes_of(name))
        return NULL if place is None else &self.features[<Py_ssize_t>place]


cdef class WriteRequest:
    """A WriteFeaturesRequest, or an IngestFeaturesRequest, which has a sequence and may have a load."""

    cdef readonly str project, view, load
    cdef readonly uint64_t sequence
    cdef bytes _data
    cdef Span _batch

    def batch(self):
        """The columns, or None when they are for protobuf to read."""
        return batch_of(&self._batch, self._data)

    def fixed_batch(self, WriteFormat wanted not None, int64_t clock_us):
        """The rows of an ordinary batch of that form; None where it is another, or is to be judged column by column.

        ``clock_us``: the event time of rows that come without one.
        """
        return fixed_batch_of(&self._batch, self._data, wanted, clock_us)


cdef FixedBatch fixed_batch_of(Span *whole, bytes data, WriteFormat wanted, int64_t clock_us):
    """As ``WriteRequest.fixed_batch``, of the batch in those bytes of a request."""
    cdef FixedBatch batch
    cdef const uint8_t *at = whole.at
    cdef const uint8_t *end = at + whole.length
    cdef Span column, times = Span(NULL, 0)
    cdef Py_ssize_t likely = 0
    cdef uint8_t tag
    if wanted.key is None:
        return None
    batch = new_batch(wanted.layout, data)
    while at < end:
        tag = at[0]
        at += 1
        column = Span(NULL, 0)
        if tag == BATCH_EVENT_TIMESTAMPS:
            if not take_span(&at, end, &times):
                return None
        elif tag == BATCH_KEYS:
            if batch.rows or not take_span(&at, end, &column) or not take_key(batch, wanted, &column):
                return None
        elif tag == BATCH_FEATURES:  # which come after the keys, else they are not read so
            if not take_span(&at, end, &column) or not take_feature(batch, wanted, &column, &likely):
                return None
        else:
            return None
    if batch.rows == 0 or times.length not in (0, 8, 8 * batch.rows):
        return None
    batch.clock_us = clock_us
    batch.events = <const char *>times.at if times.length else <const char *>&batch.clock_us
    batch.event_count = times.length // 8 if times.length else 1
    return batch


cdef bint take_key(FixedBatch batch, WriteFormat wanted, Span *whole) except -1:
    cdef Span[FIELDS] fields
    cdef int field
    if not take_fields(whole, fields):
        return False
    for field in range(FIELDS):
        if field != NAME and field != INT64S and fields[field].length:
            return False
    if bytes_of(&fields[NAME]) != wanted.key or fields[INT64S].length == 0 or fields[INT64S].length % 8:
        return False
    batch.rows = fields[INT64S].length // 8
    batch.keys = <const char *>fields[INT64S].at
    return True


cdef bytes head_of(bytes name, int field):
    # Nothing where the values are to be looked at, or the name's length takes more than a byte.
    if field == BOOLS or len(name) > 0x7F:
        return b""
    return bytes([TAGS[NAME], len(name)]) + name + bytes([TAGS[field]])


cdef bint take_likely(FixedBatch batch, FeatureFormat *feature, Span *whole) noexcept nogil:
    # Takes a column that is this feature's name and values, in this order; what is not gets judged by `take_feature`.
    cdef const uint8_t *at = whole.at + feature.head_bytes
    cdef Span values = Span(NULL, 0)
    if (
        feature.head_bytes == 0 or whole.length <= feature.head_bytes or batch.features[feature.slot].data != NULL
        or memcmp(whole.at, feature.head, feature.head_bytes) or not take_span(&at, whole.at + whole.length, &values)
        or at != whole.at + whole.length or values.length != batch.rows * feature.width
    ):
        return False
    batch.features[feature.slot].data = <const char *>values.at
    return True


cdef bint take_feature(FixedBatch batch, WriteFormat wanted, Span *whole, Py_ssize_t *likely) except -1:
    cdef Span[FIELDS] fields
    cdef FeatureFormat *feature
    cdef FeatureValues *values
    cdef int field
    cdef Py_ssize_t i
    if likely[0] < wanted.count and batch.rows and take_likely(batch, &wanted.features[likely[0]], whole):
        likely[0] += 1
        return True
    if batch.rows == 0 or not take_fields(whole, fields):
        return False
    feature = wanted.named(&fields[NAME], likely[0])
    if feature == NULL:
        return False
    likely[0] = feature - wanted.features + 1
    for field in range(NAME + 1, VALIDITY):
        if fields[field].length != (batch.rows * feature.width if field == feature.field else 0):
            return False
    if fields[VALIDITY].length not in (0, (batch.rows + 7) // 8):
        return False
    if feature.is_bool:
        for i in range(batch.rows):
            if fields[BOOLS].at[i] > 1:
                return False
    values = &batch.features[feature.slot]
    if values.data != NULL:
        return False
    values.data = <const char *>fields[feature.field].at
    if fields[VALIDITY].length:
        values.validity = fields[VALIDITY].at
    return True


cdef bint take_fields(Span *whole, Span *fields) noexcept nogil:
    cdef const uint8_t *at = whole.at
    cdef const uint8_t *end = at + whole.length
    cdef int field
    memset(fields, 0, FIELDS * sizeof(Span))
    while at < end:
        field = field_of_tag[at[0]]
        at += 1
        if field < 0 or not take_span(&at, end, &fields[field]):
            return False
    return True


def read_write_request(bytes data not None):
    """The WriteFeaturesRequest, or None when it is for protobuf to read."""
    return request_of(data, &WRITE)


def read_ingest_request(bytes data not None):
    """The IngestFeaturesRequest, or None when it is for protobuf to read."""
    return request_of(data, &INGEST)


cdef WriteRequest request_of(bytes data, RequestTags *tags):
    cdef WriteRequest request
    cdef WriteSpans spans
    if not take_request(data, tags, &spans):
        return None
    if not (is_ascii(&spans.project) and is_ascii(&spans.view) and is_ascii(&spans.load)):
        return None
    request = WriteRequest.__new__(WriteRequest)
    request.project, request.view, request.load = text_of(&spans.project), text_of(&spans.view), text_of(&spans.load)
    request.sequence = spans.sequence
    request._data, request._batch = data, spans.batch
    return request


cdef bint take_write(bytes data, WriteSpans *request) noexcept:
    """Finds the fields of a WriteFeaturesRequest; False where it is for protobuf to read. Names may be of any bytes."""
    return take_request(data, &WRITE, request)


cdef bint take_request(bytes data, RequestTags *tags, WriteSpans *request) noexcept:
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef const uint8_t *end = at + PyBytes_GET_SIZE(data)
    cdef bint has_sequence = False
    cdef uint8_t tag
    memset(request, 0, sizeof(WriteSpans))
    while at < end:
        tag = at[0]
        at += 1
        if tag == tags.project:
            if not take_span(&at, end, &request.project):
                return False
        elif tag == tags.view:
            if not take_span(&at, end, &request.view):
                return False
        elif tag == tags.batch:
            if not take_span(&at, end, &request.batch):
                return False
        elif tag == tags.load and tag:
            if not take_span(&at, end, &request.load):
                return False
        elif tag == tags.sequence and tag and not has_sequence:
            has_sequence = True
            if not take_varint(&at, end, &request.sequence):
                return False
        else:
            return False
    return True


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
    cdef Span[FIELDS] fields
    if not take_fields(whole, fields) or not is_ascii(&fields[NAME]):
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
