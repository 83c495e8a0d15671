"""Length-delimited fields of a message, within its bytes: what all that walks over requests has in common."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp

cdef enum:
    VARINT = 0          # wire types
    FIXED64 = 1
    LENGTH_DELIMITED = 2


cdef struct Span:              # a field's bytes within the request; at == NULL: the field is not there
    const uint8_t *at
    Py_ssize_t length


cdef inline int tag_of(message, str field, int kind=LENGTH_DELIMITED) except -1:
    cdef int tag = message.DESCRIPTOR.fields_by_name[field].number << 3 | kind
    assert tag < 0x80, "a tag of one byte"
    return tag


cdef inline bint take_span(const uint8_t **at, const uint8_t *end, Span *span) noexcept nogil:
    # A length and that many bytes, which must be there and the first of their field.
    cdef uint64_t length = 0
    cdef int shift = 0
    cdef uint8_t byte = 0x80
    while byte & 0x80:
        if at[0] == end or shift > 21:  # four bytes: 256 MB
            return False
        byte = at[0][0]
        at[0] += 1
        length |= <uint64_t>(byte & 0x7F) << shift
        shift += 7
    if span.at != NULL or length > <uint64_t>(end - at[0]):
        return False
    span.at = at[0]
    span.length = <Py_ssize_t>length
    at[0] += length
    return True


cdef inline bint is_ascii(Span *text) noexcept nogil:
    cdef uint8_t seen = 0
    cdef Py_ssize_t i
    for i in range(text.length):
        seen |= text.at[i]
    return seen < 0x80


cdef inline bint is_text(Span *text, bytes expected) noexcept:
    if text.length != PyBytes_GET_SIZE(expected):
        return False
    return text.length == 0 or memcmp(text.at, PyBytes_AS_STRING(expected), text.length) == 0


cdef inline bytes bytes_of(Span *span):
    return PyBytes_FromStringAndSize(<const char *>span.at, span.length) if span.length else b""


cdef inline str text_of(Span *span):
    return (<const char *>span.at)[: span.length].decode("ascii") if span.length else ""
