from libc.stdint cimport uint8_t

from featurestore_client.http2.nghttp2 cimport nghttp2_nv


cdef class Headers:
    cdef nghttp2_nv *pairs
    cdef size_t count
    cdef tuple _held  # what the pairs point into


cdef class HeaderBlock:
    cdef bytes apart
    cdef char *_text
    cdef size_t _length, _capacity, _counted, _counted_max
    cdef bytes _name_apart, _last

    cdef void begin(self) noexcept
    cdef int add(self, const uint8_t *name, size_t name_length, const uint8_t *value, size_t value_length) except -1
    cdef bytes end(self)
    cdef bint is_interim(self) noexcept
