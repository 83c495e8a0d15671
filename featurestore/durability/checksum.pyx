"""Checksums of what lies on disk: the kernel's hash of byte strings, which is the same on every run and every machine.

Eight bytes a multiplication, so that it costs less than writing what it covers; of messages four of these at a time. They tell
damage, not forgery.
"""

from libc.stdint cimport uint64_t

cdef extern from "hash.h" nogil:
    uint64_t hash_bytes(const void *data, uint64_t length)

cdef extern from "sum.h" nogil:
    uint64_t sum_bytes(const void *data, uint64_t length)

cdef enum:
    LONG_BYTES = 64 << 10   # from here on other threads may run meanwhile

ctypedef uint64_t (*Sum)(const void *data, uint64_t length) noexcept nogil


def checksum(const unsigned char[::1] data not None):
    """64 bits that change with any bit of ``data``."""
    return _sum(hash_bytes, data)


def message_checksum(const unsigned char[::1] data not None):
    """The same in four lanes, other bits: what a journal has of each message."""
    return _sum(sum_bytes, data)


cdef uint64_t _sum(Sum of, const unsigned char[::1] data) except? 0:
    cdef uint64_t length = data.shape[0]
    cdef uint64_t found
    if length == 0:
        return of(b"", 0)
    if length < LONG_BYTES:
        return of(&data[0], length)
    with nogil:
        found = of(&data[0], length)
    return found
