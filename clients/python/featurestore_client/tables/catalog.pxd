from libc.stdint cimport uint32_t, uint64_t

from featurestore_client.tables.segment cimport atomic_load_acquire_u64

cdef enum:
    OWNER_SILENCE_MAX_US = 5_000_000   # then its readers ask it over a connection, and learn what has become of it

cdef struct CatalogHeader:
    uint64_t magic
    uint32_t format_version
    uint32_t reserved
    uint64_t instance
    uint64_t owner_pid
    uint64_t version
    uint64_t heartbeat_us
    uint64_t closed
    uint64_t read_rows_max
    uint64_t read_bytes_max
    uint64_t key_bytes_max

cdef uint64_t monotonic_us() noexcept nogil

cdef class Catalog:
    cdef CatalogHeader *header


cdef inline bint is_served(CatalogHeader *header) noexcept nogil:
    cdef uint64_t heartbeat = atomic_load_acquire_u64(&header.heartbeat_us)
    cdef uint64_t now = monotonic_us()
    return not atomic_load_acquire_u64(&header.closed) and (now < heartbeat or now - heartbeat < OWNER_SILENCE_MAX_US)
