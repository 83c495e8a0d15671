from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cimport numpy as cnp

cdef enum:
    ROWS_UNDER_GIL = 128  # for so few it is kept: whoever takes it meanwhile keeps it for longer than they take

cdef class KeyBatch:
    cdef readonly Py_ssize_t rows
    cdef const char *base          # fixed keys: rows x stride bytes; others: what offsets point into
    cdef uint64_t stride           # bytes of a fixed key; 0 when keys have offsets
    cdef const int32_t *offsets
    cdef uint64_t *hashes
    cdef object _held              # what owns the memory behind base and offsets

    cdef int _hash(self) except -1
    cdef void _hash_all(self) noexcept nogil

cdef KeyBatch int64_keys(str name, object column)
cpdef KeyBatch key_batch(object layout, list join_keys, object columns, int64_t key_bytes_max)


cdef inline const char *address_of(cnp.ndarray array) noexcept:
    # The caller holds the array, so the memory stays.
    return cnp.PyArray_BYTES(array)


cdef inline const char *key_at(KeyBatch keys, Py_ssize_t i, uint64_t *key_bytes) noexcept nogil:
    if keys.stride:
        key_bytes[0] = keys.stride
        return keys.base + i * keys.stride
    key_bytes[0] = <uint64_t>(keys.offsets[i + 1] - keys.offsets[i])
    return keys.base + keys.offsets[i]


cdef inline uint32_t shard_of(uint64_t key_hash, int shard_bits) noexcept nogil:
    # The top bits choose the shard, the low half is the tag: they share none for up to 2^32 shards.
    return <uint32_t>(key_hash >> (63 - shard_bits) >> 1)
