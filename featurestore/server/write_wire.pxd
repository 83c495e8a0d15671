from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t, uint64_t

from featurestore.server.spans cimport Span
from featurestore.store.fixed_batch cimport FixedBatch, FixedLayout


cdef struct FeatureFormat:
    const char *name
    Py_ssize_t name_bytes
    const char *head           # what comes before the length of its values in a Column that has but these, and the name
    Py_ssize_t head_bytes
    int field                  # that its values are in
    bint is_bool
    uint32_t slot              # of the layout
    uint32_t width


cdef class WriteFormat:
    cdef FixedLayout layout
    cdef bytes key             # None: no batch is read so
    cdef FeatureFormat *features
    cdef Py_ssize_t count
    cdef dict places           # name -> where it stands in `features`
    cdef tuple _held

    cdef FeatureFormat *named(self, Span *name, Py_ssize_t likely)


cdef struct WriteSpans:        # an ordinary request
    Span project
    Span view
    Span load
    Span batch
    uint64_t sequence

cdef bint take_write(bytes data, WriteSpans *request) noexcept
cdef FixedBatch fixed_batch_of(Span *whole, bytes data, WriteFormat wanted, int64_t clock_us)
