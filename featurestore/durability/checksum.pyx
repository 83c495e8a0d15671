"""Checksums of what lies on disk: the kernel's hash of byte strings, which is the same on every run and every machine.

Eight bytes a multiplication, so that it costs less than writing what it covers. It tells damage, not forgery.
"""

from libc.stdint cimport uint64_t

cdef extern from "hash.h" nogil:
    uint64_t hash_bytes(const void *data, uint64_t length)

cdef enum:
    LONG_BYTES = 64 << 10   # from here on other threads may run meanwhile


def checksum(const unsigned char[::1] data not None):
    """64 bits that change with any bit of ``data``."""
    cdef uint64_t length = data.shape[0]
    cdef uint64_t found
    if length == 0:
        return hash_bytes(b"", 0)
    if length < LONG_BYTES:
        return hash_bytes(&data[0], length)
    with nogil:
        found = hash_bytes(&data[0], length)
    return found
