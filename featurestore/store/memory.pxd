from libc.stdint cimport uint64_t

from featurestore_client.tables.segment cimport Arena, Segment

cdef class Memory:
    cdef readonly uint64_t used
    cdef public object limit

    cdef bint has(self, uint64_t count)
    cdef char *_create_file(self, str path, uint64_t length, uint64_t committed) except NULL
    cdef int commit_rows(self, Arena arena, uint64_t rows) except -1
    cdef int commit_heap(self, Arena arena, uint64_t units) except -1
    cdef int _grow(self, Arena arena, uint64_t offset, uint64_t *committed, uint64_t wanted, uint64_t capacity) except -1
    cdef bint _shrink(self, char *region, uint64_t *committed, uint64_t used)

cdef int commit_pages(int fd, char *base, uint64_t offset, uint64_t length, uint64_t *done) noexcept nogil
