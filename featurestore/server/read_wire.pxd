from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from featurestore.server.spans cimport Span

cdef enum:
    COLUMNS_MAX = 8     # key columns of an ordinary request


cdef struct KeyColumn:
    Span name
    Span int64s
    Span data
    Span offsets


cdef struct ReadSpans:         # an ordinary request
    Span selection
    uint64_t known_schema_id
    KeyColumn[COLUMNS_MAX] columns
    Py_ssize_t count

cdef bint take_read(bytes data, ReadSpans *request) noexcept


cdef struct Source:            # of one column, as plans have it (service/read_plan.py, ColumnSource)
    uint8_t tag
    bint is_variable
    Py_ssize_t lookup
    Py_ssize_t place
    Py_ssize_t width_bytes


cdef class AnswerFormat:
    cdef readonly uint64_t schema_id
    cdef bytes schema
    cdef Py_ssize_t row_bytes
    cdef Source *sources
    cdef Py_ssize_t count

    cpdef AnswerWriter begin(self, Py_ssize_t rows, uint64_t known_schema_id)


cdef class AnswerWriter:
    cdef AnswerFormat _format
    cdef Py_ssize_t _rows
    cdef PyObject *_answer       # bytes that nobody else has seen yet, and which may therefore still be written and grow
    cdef char *_matrix
    cdef Py_ssize_t _matrix_bytes
    cdef int _exports

    cpdef bytes finish(self, blocks, bytes row_statuses, bytes nulls, bytes event_timestamps_us)
    cdef Py_ssize_t _columns(self, blocks, char *out) except -1
