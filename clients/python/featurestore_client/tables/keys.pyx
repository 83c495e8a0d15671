"""Entity keys of a batch, checked, brought into the form in which rows hold them, and hashed.

A key of int64 columns only is eight bytes a column, in the entity's order. A single string key is its UTF-8 bytes. Any other
key is a column after the other: eight bytes for an int64, a four-byte length and the bytes for a string.
"""

from libc.stdlib cimport malloc, free
from libc.string cimport memcpy

cimport cython
cimport numpy as cnp

import numpy as np

from featurestore_client.errors import InvalidArgumentError, ResourceExhaustedError
from featurestore_client.tables.columns import VarColumn
from featurestore_client.tables.segment cimport hash_bytes, hash_int64, load_i64

cnp.import_array()

cdef object INT32 = np.dtype("<i4")
cdef object UINT8 = np.dtype("u1")


@cython.no_gc
@cython.freelist(8)
cdef class KeyBatch:
    """n keys with their hashes. Made by ``key_batch``; holds the arrays it was made from."""

    def __dealloc__(self):
        free(self.hashes)

    cdef int _hash(self) except -1:
        self.hashes = <uint64_t *>malloc(max(self.rows, 1) * 8)
        if self.hashes == NULL:
            raise MemoryError
        if self.rows <= ROWS_UNDER_GIL:
            self._hash_all()
        else:
            with nogil:
                self._hash_all()
        return 0

    cdef void _hash_all(self) noexcept nogil:
        cdef Py_ssize_t i
        if self.stride == 8:
            for i in range(self.rows):
                self.hashes[i] = hash_int64(load_i64(self.base + i * 8))
        elif self.stride:
            for i in range(self.rows):
                self.hashes[i] = hash_bytes(self.base + i * self.stride, self.stride)
        else:
            for i in range(self.rows):
                self.hashes[i] = hash_bytes(self.base + self.offsets[i], self.offsets[i + 1] - self.offsets[i])


cdef KeyBatch int64_keys(str name, object column):
    # The most common kind, and the shortest way.
    cdef KeyBatch keys = KeyBatch.__new__(KeyBatch)
    keys.base = int64_values(name, column, &keys.rows)
    keys.stride = 8
    keys._held = column
    keys._hash()
    return keys


cpdef KeyBatch key_batch(object layout, list join_keys, object columns, int64_t key_bytes_max):
    """Keys from one column a join key, in the entity's order. Raises InvalidArgumentError or ResourceExhaustedError.

    ``columns``: int64 arrays of n, or VarColumns of n. ``join_keys``: their names, for the errors.
    """
    cdef KeyBatch keys = KeyBatch.__new__(KeyBatch)
    scalars = layout.key_scalars
    if len(columns) != len(scalars):
        raise InvalidArgumentError.of("keys", f"{len(columns)} columns", f"one for each join key: {', '.join(join_keys)}")
    if len(columns) == 1:
        column = columns[0]
        if scalars[0] == "int64":
            return int64_keys(join_keys[0], column)
        check_strings(join_keys[0], column, key_bytes_max)
        keys.rows = len(column.offsets) - 1
        keys.base = address_of(column.data)
        keys.offsets = <const int32_t *>address_of(column.offsets)
        keys._held = column
        keys._hash()
        return keys
    cdef Py_ssize_t count
    rows = {}
    for name, scalar, column in zip(join_keys, scalars, columns, strict=True):
        if scalar == "int64":
            int64_values(name, column, &count)
            rows[name] = count
        else:
            check_strings(name, column, key_bytes_max)
            rows[name] = len(column.offsets) - 1
    if len(set(rows.values())) != 1:
        raise InvalidArgumentError.of("keys", rows, "join key columns of one length")
    keys.rows = rows[join_keys[0]]
    if not layout.key_in_heap:
        keys.stride = 8 * len(columns)
        held = np.ascontiguousarray(np.stack(columns, axis=1))
        keys.base = address_of(held)
        keys._held = held
    else:
        encode_composite(keys, scalars, columns, key_bytes_max)
    keys._hash()
    return keys


cdef int encode_composite(KeyBatch keys, scalars, columns, key_bytes_max) except -1:
    cdef Py_ssize_t i, n = keys.rows
    cdef const int32_t *offsets
    cdef const char *source
    cdef char *out
    cdef int64_t *at
    cdef uint32_t length
    lengths = np.zeros(n, np.int64)
    for scalar, column in zip(scalars, columns, strict=True):
        lengths += 8 if scalar == "int64" else 4 + np.diff(column.offsets)
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if n else 0
    if total > 0x7FFFFFFF:
        raise ResourceExhaustedError.of("key bytes of a batch", total, 0x7FFFFFFF, "send smaller batches")
    encoded_offsets = np.zeros(n + 1, np.int32)
    encoded_offsets[1:] = ends
    encoded = np.empty(max(total, 1), np.uint8)
    starts = encoded_offsets[:-1].astype(np.int64)
    out = <char *>address_of(encoded)
    at = <int64_t *>address_of(starts)
    for scalar, column in zip(scalars, columns, strict=True):
        if scalar == "int64":
            source = address_of(column)
            for i in range(n):
                memcpy(out + at[i], source + 8 * i, 8)
                at[i] += 8
        else:
            source = address_of(column.data)
            offsets = <const int32_t *>address_of(column.offsets)
            for i in range(n):
                length = <uint32_t>(offsets[i + 1] - offsets[i])
                memcpy(out + at[i], &length, 4)
                memcpy(out + at[i] + 4, source + offsets[i], length)
                at[i] += 4 + length
    keys.base = out
    keys.offsets = <const int32_t *>address_of(encoded_offsets)
    keys._held = (encoded, encoded_offsets)
    return 0


cdef const char *int64_values(name, column, Py_ssize_t *rows) except? NULL:
    # The check and the address in one, by NumPy's own structs: this is on the way of every read. The caller holds the array.
    if not (
        isinstance(column, cnp.ndarray) and cnp.PyArray_NDIM(column) == 1 and cnp.PyArray_IS_C_CONTIGUOUS(column)
        and cnp.PyArray_TYPE(column) in (cnp.NPY_LONG, cnp.NPY_LONGLONG) and cnp.PyArray_ISNOTSWAPPED(column)
    ):
        got = f"{column.dtype} of shape {column.shape}" if isinstance(column, np.ndarray) else type(column).__name__
        raise InvalidArgumentError.of(name, got, "a contiguous int64 array, one value a row")
    rows[0] = cnp.PyArray_DIM(column, 0)
    return address_of(column)


def check_strings(name, column, bytes_max):
    """Refuses what is not a VarColumn whose offsets stay within its data, and values over the limit."""
    if not isinstance(column, VarColumn):
        raise InvalidArgumentError.of(name, type(column).__name__, "strings or bytes as data and offsets")
    data, offsets = column
    if data.dtype != UINT8 or offsets.dtype != INT32 or data.ndim != 1 or offsets.ndim != 1 or not (
        data.flags.c_contiguous and offsets.flags.c_contiguous
    ):
        raise InvalidArgumentError.of(name, f"{data.dtype} data, {offsets.dtype} offsets", "uint8 data and int32 offsets")
    if len(offsets) == 0:
        raise InvalidArgumentError.of(f"{name}.offsets", "none", "one more than there are values")
    longest = checked_longest(offsets, len(data))
    if longest < 0:
        raise InvalidArgumentError.of(f"{name}.offsets", f"row {-longest - 1}", f"offsets that never fall and stay within {len(data)} bytes")
    if longest > bytes_max:
        raise ResourceExhaustedError.of(
            f"bytes of a value of {name}", longest, bytes_max, "shorten it, or raise the server's limit (key_bytes_max, value_bytes_max)"
        )


cdef int64_t checked_longest(object offsets, int64_t data_bytes) except? -1:
    # The longest value's bytes, or -1 - row of the first offset that is out of order.
    cdef const int32_t *at = <const int32_t *>address_of(offsets)
    cdef Py_ssize_t i, n = len(offsets) - 1
    cdef int64_t longest = 0, length
    if at[0] < 0 or at[n] > data_bytes:
        return -1 if at[0] < 0 else -1 - n
    for i in range(n):
        length = <int64_t>at[i + 1] - at[i]
        if length < 0:
            return -1 - i
        if length > longest:
            longest = length
    return longest
