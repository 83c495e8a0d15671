"""GetFeatures on the wire, byte by byte: ordinary requests read in one walk, answers written in one allocation.

A request that this module reads is one that protobuf would read to the same fields and that holds nothing to refuse before its
names are resolved. Whatever is in any way out of the ordinary (a field twice, an unknown one, a length that does not add up, a
text that is not ASCII) gives None, and the caller has protobuf read it: so the rules and their errors are written in one place,
which is not here. Answers are, byte for byte, what protobuf would write. Invariant: the field numbers are read from the
generated descriptor, and no byte is read that is not within the request.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_XDECREF
from cpython.tuple cimport PyTuple_GET_SIZE
from libc.stdint cimport int32_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from numpy cimport NPY_INT32, NPY_INT64, NPY_UINT8, PyArray_BYTES, PyArray_SimpleNew, import_array, ndarray, npy_intp

from featurestore.server.wire import featurestore_raw_pb2 as wire
from featurestore_client.tables.columns import VarColumn

from featurestore.server.spans cimport FIXED64, VARINT, Span, bytes_of, is_ascii, is_text, tag_of, take_span
from featurestore_client.http2.growing_bytes cimport _PyBytes_Resize, new_bytes

import_array()


cdef uint8_t REQUEST_SELECTION = tag_of(wire.GetFeaturesRequest, "selection")
cdef uint8_t REQUEST_KEYS = tag_of(wire.GetFeaturesRequest, "keys")
cdef uint8_t REQUEST_KNOWN_SCHEMA = tag_of(wire.GetFeaturesRequest, "known_schema_id", FIXED64)

cdef uint8_t COLUMN_NAME = tag_of(wire.Column, "name")
cdef uint8_t COLUMN_INT64S = tag_of(wire.Column, "int64s")
cdef uint8_t COLUMN_DATA = tag_of(wire.Column, "data")
cdef uint8_t COLUMN_OFFSETS = tag_of(wire.Column, "offsets")

cdef uint8_t ANSWER_ROWS = tag_of(wire.GetFeaturesResponse, "rows", VARINT)
cdef uint8_t ANSWER_SCHEMA_ID = tag_of(wire.GetFeaturesResponse, "schema_id", FIXED64)
cdef uint8_t ANSWER_SCHEMA = tag_of(wire.GetFeaturesResponse, "schema")
cdef uint8_t ANSWER_MATRIX = tag_of(wire.GetFeaturesResponse, "matrix")
cdef uint8_t ANSWER_COLUMNS = tag_of(wire.GetFeaturesResponse, "columns")
cdef uint8_t ANSWER_ROW_STATUSES = tag_of(wire.GetFeaturesResponse, "row_statuses")
cdef uint8_t ANSWER_NULLS = tag_of(wire.GetFeaturesResponse, "nulls")
cdef uint8_t ANSWER_EVENT_TIMESTAMPS = tag_of(wire.GetFeaturesResponse, "event_timestamps_us")


# --------------------------------------------------------------------------------------------------------------- requests


cdef bint take_column(Span *whole, KeyColumn *column) noexcept nogil:
    cdef const uint8_t *at = whole.at
    cdef const uint8_t *end = at + whole.length
    cdef uint8_t tag
    cdef Span *field
    while at < end:
        tag = at[0]
        at += 1
        if tag == COLUMN_NAME:
            field = &column.name
        elif tag == COLUMN_INT64S:
            field = &column.int64s
        elif tag == COLUMN_DATA:
            field = &column.data
        elif tag == COLUMN_OFFSETS:
            field = &column.offsets
        else:
            return False
        if not take_span(&at, end, field):
            return False
    return is_ascii(&column.name)


cdef bint are_texts(Span *offsets, Span *data) noexcept nogil:
    # Whether these are one or more ASCII texts, one after the other.
    cdef int32_t before = 0, offset = 0
    cdef Py_ssize_t i
    if offsets.length < 8 or offsets.length % 4:
        return False
    for i in range(0, offsets.length, 4):
        memcpy(&offset, offsets.at + i, 4)
        if offset < before or (i == 0 and offset != 0):
            return False
        before = offset
    return offset == data.length and is_ascii(data)


cdef class KeyFormat:
    """The key columns that a plan is read by: ``names`` in its order, and which of them hold text; the others hold int64."""

    cdef tuple names
    cdef tuple texts

    def __init__(self, names, texts):
        self.names = tuple([name.encode() for name in names])
        self.texts = tuple([bool(text) for text in texts])


cdef class ReadRequest:
    """The fields of an ordinary GetFeaturesRequest. Made by ``read_request``."""

    cdef readonly bytes selection
    cdef readonly uint64_t known_schema_id
    cdef readonly Py_ssize_t rows
    """After ``keys``: the values of each key column; 0 where their numbers differ."""
    cdef bytes _data
    cdef ReadSpans _spans

    def keys(self, KeyFormat wanted not None):
        """The key columns in the plan's order, checked as ``columns.read_keys`` checks them; None when it is to judge them."""
        cdef Py_ssize_t index, place, rows
        cdef KeyColumn *column
        cdef list values = []
        if PyTuple_GET_SIZE(wanted.names) != self._spans.count:
            return None
        for index in range(self._spans.count):
            column = self._named(<bytes>wanted.names[index])
            if column == NULL:
                return None
            if <bint>wanted.texts[index]:
                if column.int64s.length or not are_texts(&column.offsets, &column.data):
                    return None
                rows = column.offsets.length // 4 - 1
                data = array_of(&column.data, NPY_UINT8, column.data.length)
                values.append(VarColumn(data, array_of(&column.offsets, NPY_INT32, rows + 1)))
            else:
                if column.int64s.length == 0 or column.int64s.length % 8 or column.data.length or column.offsets.length:
                    return None
                rows = column.int64s.length // 8
                values.append(array_of(&column.int64s, NPY_INT64, rows))
            self.rows = rows if index == 0 or rows == self.rows else 0
        return values

    cdef KeyColumn *_named(self, bytes name) noexcept:
        # As many columns as names, and each name found: so none stands twice.
        cdef Py_ssize_t index
        for index in range(self._spans.count):
            if is_text(&self._spans.columns[index].name, name):
                return &self._spans.columns[index]
        return NULL


cdef ndarray array_of(Span *span, int dtype, npy_intp count):
    # Not a view of the request, whose arrays begin at any byte: the kernel's loops take aligned ones.
    cdef ndarray array = PyArray_SimpleNew(1, &count, dtype)
    memcpy(PyArray_BYTES(array), span.at, span.length)
    return array


def read_request(bytes data not None):
    """The request, or None when it is for protobuf to read."""
    cdef ReadRequest request = ReadRequest.__new__(ReadRequest)
    cdef ReadSpans *spans = &request._spans
    if not take_read(data, spans):
        return None
    request.known_schema_id = spans.known_schema_id
    request.selection = bytes_of(&spans.selection)
    request._data = data
    return request


cdef bint take_read(bytes data, ReadSpans *request) noexcept:
    """Finds the fields of a GetFeaturesRequest; False where it is for protobuf to read."""
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef const uint8_t *end = at + PyBytes_GET_SIZE(data)
    cdef Span column
    cdef bint known = False
    cdef uint8_t tag
    request.selection = Span(NULL, 0)
    request.known_schema_id = 0
    request.count = 0
    while at < end:
        tag = at[0]
        at += 1
        if tag == REQUEST_SELECTION:
            if not take_span(&at, end, &request.selection):
                return False
        elif tag == REQUEST_KEYS:
            column = Span(NULL, 0)
            if request.count == COLUMNS_MAX or not take_span(&at, end, &column):
                return False
            memset(&request.columns[request.count], 0, sizeof(KeyColumn))
            if not take_column(&column, &request.columns[request.count]):
                return False
            request.count += 1
        elif tag == REQUEST_KNOWN_SCHEMA and not known and end - at >= 8:
            memcpy(&request.known_schema_id, at, 8)
            known = True
            at += 8
        else:
            return False
    return True


# ---------------------------------------------------------------------------------------------------------------- answers


cdef Py_ssize_t varint_bytes(uint64_t value) noexcept nogil:
    cdef Py_ssize_t count = 1
    while value >= 0x80:
        value >>= 7
        count += 1
    return count


cdef char *put_varint(char *at, uint64_t value) noexcept nogil:
    while value >= 0x80:
        at[0] = <char>(value & 0x7F | 0x80)
        value >>= 7
        at += 1
    at[0] = <char>value
    return at + 1


cdef Py_ssize_t field_bytes(Py_ssize_t length) noexcept nogil:
    return 1 + varint_bytes(length) + length


cdef char *put_head(char *at, uint8_t tag, Py_ssize_t length) noexcept nogil:
    at[0] = <char>tag
    return put_varint(at + 1, length)


cdef char *put_field(char *at, uint8_t tag, bytes value) noexcept:
    at = put_head(at, tag, PyBytes_GET_SIZE(value))
    memcpy(at, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    return at + PyBytes_GET_SIZE(value)


cdef class AnswerFormat:
    """What all answers of a plan have in common.

    ``schema``: an AnswerSchema message. ``arrays``: of each feature, the field of Column that holds its values. ``row_bytes``:
    of a row of the matrix; 0 where the answer is a column a feature, from the plan's ``sources``.
    """

    def __cinit__(self, uint64_t schema_id, bytes schema not None, arrays, Py_ssize_t row_bytes, sources):
        self.schema_id = schema_id
        self.schema = schema
        self.row_bytes = row_bytes
        self.count = len(sources)
        self.sources = <Source *>malloc(self.count * sizeof(Source))
        if self.sources == NULL:
            raise MemoryError
        for k, (array, source) in enumerate(zip(arrays, sources, strict=True)):
            self.sources[k] = Source(
                tag_of(wire.Column, array), source.is_variable, source.lookup, source.place, source.width_bytes
            )

    def __dealloc__(self):
        free(self.sources)

    cpdef AnswerWriter begin(self, Py_ssize_t rows, uint64_t known_schema_id):
        """An answer of so many rows, up to its values; without the schema where that is known."""
        cdef AnswerWriter answer = AnswerWriter.__new__(AnswerWriter)
        cdef bint schema = known_schema_id != self.schema_id
        cdef Py_ssize_t matrix = rows * self.row_bytes
        cdef Py_ssize_t column = field_bytes(matrix)
        cdef Py_ssize_t size = 1 + varint_bytes(rows) + 1 + 8
        cdef char *at
        assert rows > 0
        if schema:
            size += field_bytes(PyBytes_GET_SIZE(self.schema))
        if matrix:
            size += field_bytes(column)
        answer._format = self
        answer._rows = rows
        answer._answer = new_bytes(NULL, size)
        at = PyBytes_AS_STRING(<object>answer._answer)
        at = put_head(at, ANSWER_ROWS, rows)
        at[0] = <char>ANSWER_SCHEMA_ID
        memcpy(at + 1, &self.schema_id, 8)
        at += 9
        if schema:
            at = put_field(at, ANSWER_SCHEMA, self.schema)
        if matrix:
            at = put_head(at, ANSWER_MATRIX, column)
            answer._matrix = put_head(at, self.sources[0].tag, matrix)
            answer._matrix_bytes = matrix
        return answer


cdef class AnswerWriter:
    """An answer on its way. The place of its matrix is its buffer, which the store fills; ``finish`` adds the rest."""

    def __dealloc__(self):
        Py_XDECREF(self._answer)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        assert self._answer != NULL, "finished"
        self._exports += 1
        PyBuffer_FillInfo(buffer, self, self._matrix, self._matrix_bytes, 0, flags)

    def __releasebuffer__(self, Py_buffer *buffer):
        self._exports -= 1

    cpdef bytes finish(self, blocks, bytes row_statuses, bytes nulls, bytes event_timestamps_us):
        """The answer's bytes. ``blocks``: what each lookup found, where there is no matrix."""
        cdef Py_ssize_t size, more = 0
        cdef char *at
        assert self._answer != NULL and not self._exports, "finished, or still written to"
        if self._matrix == NULL:
            more = self._columns(blocks, NULL)
        if row_statuses is not None:
            more += field_bytes(PyBytes_GET_SIZE(row_statuses))
        if nulls is not None:
            more += field_bytes(PyBytes_GET_SIZE(nulls))
        if event_timestamps_us is not None:
            more += field_bytes(PyBytes_GET_SIZE(event_timestamps_us))
        if more:
            size = PyBytes_GET_SIZE(<object>self._answer)
            _PyBytes_Resize(&self._answer, size + more)
            at = PyBytes_AS_STRING(<object>self._answer) + size
            if self._matrix == NULL:
                at += self._columns(blocks, at)
            if row_statuses is not None:
                at = put_field(at, ANSWER_ROW_STATUSES, row_statuses)
            if nulls is not None:
                at = put_field(at, ANSWER_NULLS, nulls)
            if event_timestamps_us is not None:
                at = put_field(at, ANSWER_EVENT_TIMESTAMPS, event_timestamps_us)
            assert at == PyBytes_AS_STRING(<object>self._answer) + size + more
        answer = <object>self._answer
        Py_DECREF(answer)
        self._answer = NULL
        return answer

    cdef Py_ssize_t _columns(self, blocks, char *out) except -1:
        # The bytes of all columns; written to `out` unless that is NULL.
        cdef Py_ssize_t k, length, total = 0
        cdef Source *source
        cdef char *at
        cdef bytes values, data, offsets
        for k in range(self._format.count):
            source = &self._format.sources[k]
            fixed, strings = blocks[source.lookup]
            if source.is_variable:
                data, offsets = strings[source.place]
                length = field_bytes(PyBytes_GET_SIZE(offsets))
                if PyBytes_GET_SIZE(data):  # protobuf leaves out what is empty
                    length += field_bytes(PyBytes_GET_SIZE(data))
            else:
                values = fixed
                length = self._rows * source.width_bytes
                assert self._rows * source.place + length <= PyBytes_GET_SIZE(values)
                length = field_bytes(length)
            if out != NULL:
                at = put_head(out + total, ANSWER_COLUMNS, length)
                if not source.is_variable:
                    at = put_head(at, source.tag, self._rows * source.width_bytes)
                    memcpy(at, PyBytes_AS_STRING(values) + self._rows * source.place, self._rows * source.width_bytes)
                else:
                    if PyBytes_GET_SIZE(data):
                        at = put_field(at, source.tag, data)
                    put_field(at, COLUMN_OFFSETS, offsets)
            total += field_bytes(length)
        return total
