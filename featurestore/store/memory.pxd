from libc.stdint cimport uint64_t

from featurestore_client.tables.segment cimport Arena

cdef int commit_rows(Arena arena, uint64_t rows) except -1
cdef int commit_heap(Arena arena, uint64_t units) except -1
cdef int commit_pages(int fd, char *base, uint64_t offset, uint64_t length, uint64_t *done) noexcept nogil
