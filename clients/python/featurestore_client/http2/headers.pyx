# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Header blocks: as they are sent, and as they are received."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy

from featurestore_client.http2.nghttp2 cimport (
    NGHTTP2_NV_FLAG_NO_COPY_NAME, NGHTTP2_NV_FLAG_NO_COPY_VALUE, NGHTTP2_NV_FLAG_NO_INDEX, nghttp2_nv
)

cdef enum:
    FIRST_BYTES = 1024
    OVERHEAD_BYTES = 32  # of each header, as SETTINGS_MAX_HEADER_LIST_SIZE counts: RFC 9113, section 6.5.2
    HARD_FACTOR = 16  # a block so many times over the limit is no mistake


@cython.final
@cython.no_gc
cdef class Headers:
    """A header block that is made once and sent often: pairs of lower-case names and values, pseudo-headers first.

    Values of the names in ``unindexed`` are kept out of the peer's compression table: those that differ each time, and secrets.
    """

    def __cinit__(self, pairs, unindexed=()):
        cdef list texts = []
        cdef bytes name, value
        cdef size_t index = 0
        pairs = list(pairs)
        self.pairs = <nghttp2_nv *>calloc(len(pairs) or 1, sizeof(nghttp2_nv))
        if self.pairs is NULL:
            raise MemoryError
        for name, value in pairs:
            texts += [name, value]
            self.pairs[index].name = <uint8_t *>PyBytes_AS_STRING(name)
            self.pairs[index].namelen = PyBytes_GET_SIZE(name)
            self.pairs[index].value = <uint8_t *>PyBytes_AS_STRING(value)
            self.pairs[index].valuelen = PyBytes_GET_SIZE(value)
            self.pairs[index].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
            if name in unindexed:
                self.pairs[index].flags |= NGHTTP2_NV_FLAG_NO_INDEX
            index += 1
        self.count = index
        self._held = tuple(texts)

    def __dealloc__(self):
        free(self.pairs)


@cython.final
@cython.no_gc
cdef class HeaderBlock:
    """The block that is being received: each name and each value with a zero byte behind it, but for ``name_apart``, whose value
    is ``apart``. Of one above ``bytes_max`` nothing more is kept.
    """

    def __cinit__(self, bytes name_apart not None, size_t bytes_max):
        self._name_apart, self._counted_max = name_apart, bytes_max
        self._last = b""
        self._capacity = FIRST_BYTES
        self._text = <char *>malloc(self._capacity)
        if self._text is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._text)

    cdef void begin(self) noexcept:
        self._length = self._counted = 0
        self.apart = None

    cdef int add(self, const uint8_t *name, size_t name_length, const uint8_t *value, size_t value_length) except -1:
        # One more header; 1 where the block is so far above the limit that it is no mistake.
        cdef size_t length = name_length + value_length
        cdef char *grown
        self._counted += length + OVERHEAD_BYTES
        if self._counted > self._counted_max:
            return self._counted > HARD_FACTOR * self._counted_max
        if name_length == <size_t>PyBytes_GET_SIZE(self._name_apart) and name_length and memcmp(
            name, PyBytes_AS_STRING(self._name_apart), name_length
        ) == 0:
            self.apart = PyBytes_FromStringAndSize(<const char *>value, value_length)
            return 0
        if self._length + length + 2 > self._capacity:
            grown = <char *>realloc(self._text, 2 * (self._length + length + 2))
            if grown is NULL:
                raise MemoryError
            self._text = grown
            self._capacity = 2 * (self._length + length + 2)
        memcpy(self._text + self._length, name, name_length)
        self._length += name_length
        self._text[self._length] = 0
        memcpy(self._text + self._length + 1, value, value_length)
        self._length += value_length + 1
        self._text[self._length] = 0
        self._length += 1
        return 0

    cdef bytes end(self):
        # All of it; b"" for one above the limit. The same object as the last one where it is the same.
        if self._counted > self._counted_max:
            return b""
        if <size_t>PyBytes_GET_SIZE(self._last) != self._length or memcmp(self._text, PyBytes_AS_STRING(self._last), self._length):
            self._last = PyBytes_FromStringAndSize(self._text, self._length)
        return self._last

    cdef bint is_interim(self) noexcept:
        # Whether it is one of 1xx, which say nothing yet.
        return self._length > 8 and memcmp(self._text, <const char *>b":status\x001", 9) == 0
