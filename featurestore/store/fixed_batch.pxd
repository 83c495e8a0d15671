from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef struct Place:             # of a feature in a row, as layout.py has it
    uint32_t width             # bytes; 0 of one of variable width, which no fixed batch has
    uint32_t offset
    uint32_t bit

cdef struct FeatureValues:
    const char *data           # NULL: the feature is not written
    const uint8_t *validity    # NULL: all values are there

cdef class FixedLayout:
    cdef readonly object layout
    cdef Place *places         # in the order of the layout's slots
    cdef readonly uint32_t count
    cdef uint32_t parts, bitmap_words, values_offset
    cdef bytes empty_row

cdef class FixedBatch:
    cdef readonly FixedLayout layout
    cdef readonly Py_ssize_t rows
    cdef bytes message             # what all of these point into; at any byte, so they are read by memcpy alone
    cdef const char *keys          # eight bytes a row
    cdef const char *events        # eight bytes a row, or a time for all
    cdef Py_ssize_t event_count
    cdef int64_t clock_us          # where `events` points to when the message had no time
    cdef FeatureValues *features   # in the order of `places`

cdef FixedBatch new_batch(FixedLayout layout, bytes message)
