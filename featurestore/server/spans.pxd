"""Length-delimited fields of a message, within its bytes: what the walks of read_wire.pyx and write_wire.pyx have in common."""

from libc.stdint cimport uint8_t, uint64_t

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
