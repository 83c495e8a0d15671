"""Segments: a shard's memory-mapped files, and the control file that says which segments make up a table.

Maps what is there; making files and backing them with memory is the owner's (the server's ``store/memory.pyx``). What the bytes
mean is drawn in ``segment.pxd``. Invariant: a file is mapped for writing only by who asked for it, so that a reader can do a table
no harm.
"""

import os

from featurestore_client.errors import FailedPreconditionError, ResourceExhaustedError

cdef extern from "sys/mman.h" nogil:
    void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void *addr, size_t length)
    int madvise(void *addr, size_t length, int advice)
    int PROT_READ, PROT_WRITE, PROT_NONE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE
    void *MAP_FAILED

cdef enum:
    ADVICE_HUGEPAGE = 14


cdef void shape_of(object layout, RowShape *shape):
    shape.row_bytes = layout.row_bytes
    shape.key_offset = layout.key_offset
    shape.key_bytes = layout.key_bytes
    shape.bitmap_offset = layout.bitmap_offset
    shape.bitmap_words = layout.bitmap_words
    shape.values_offset = layout.values_offset
    shape.values_bytes = layout.values_bytes
    shape.ends_offset = layout.ends_offset
    shape.parts = layout.parts
    shape.key_in_heap = 1 if layout.key_in_heap else 0


cdef char *map_file(int fd, uint64_t length, bint writable, str path) except NULL:
    # Aligned to a huge page, so that the system may back the mapping with them.
    cdef char *reserved
    cdef char *aligned
    cdef char *end
    cdef void *mapped
    reserved = <char *>mmap(NULL, length + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if <void *>reserved == MAP_FAILED:
        raise ResourceExhaustedError(f"cannot reserve {length} bytes of address space for {path}")
    aligned = <char *>((<uint64_t>reserved + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1))
    mapped = mmap(aligned, length, PROT_READ | PROT_WRITE if writable else PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0)
    if mapped == MAP_FAILED:
        munmap(reserved, length + HUGE_PAGE)
        raise ResourceExhaustedError(f"cannot map {length} bytes of {path}")
    if aligned > reserved:
        munmap(reserved, aligned - reserved)
    end = aligned + page_up(length)
    if reserved + length + HUGE_PAGE > end:
        munmap(end, reserved + length + HUGE_PAGE - end)
    madvise(aligned, length, ADVICE_HUGEPAGE)
    return aligned


cdef char *attach_file(str path, bint writable, uint64_t length_min, uint64_t *length) except NULL:
    """Maps an existing file whole."""
    fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
    try:
        length[0] = os.fstat(fd).st_size
        if length[0] < length_min:
            raise FailedPreconditionError(f"{path} is {length[0]} bytes long, expected at least {length_min}: it is damaged")
        return map_file(fd, length[0], writable, path)
    finally:
        os.close(fd)


def check_format(path, known, format_version):
    """Refuses a file that is not ours, or of another format."""
    if not known:
        raise FailedPreconditionError(f"{path} is not a file of a feature table, or is damaged")
    if format_version != SEGMENT_FORMAT:
        raise FailedPreconditionError(
            f"{path} has format {format_version}, this version reads {SEGMENT_FORMAT}: use the version that wrote it"
        )


cdef class Index:
    """A shard's index, mapped. Unmapped when the last reference goes: a reader that holds a snapshot holds its indexes."""

    @staticmethod
    def attach(str path, bint writable):
        """Maps an existing index. Raises FailedPreconditionError when the file is not one of this format."""
        cdef Index self = Index.__new__(Index)
        self.header = <IndexHeader *>attach_file(path, writable, sizeof(IndexHeader), &self.mapped_bytes)
        self.path = path
        check_format(path, self.header.magic == INDEX_MAGIC, self.header.format_version)
        capacity = self.header.capacity
        if not 0 < capacity <= (self.mapped_bytes - sizeof(IndexHeader)) // 8 or capacity % LINE_ENTRIES:
            raise FailedPreconditionError(
                f"{path} is {self.mapped_bytes} bytes long, its header says {capacity} entries: it is damaged"
            )
        return self

    @property
    def memory_bytes(self):
        """Bytes of memory that back it."""
        return self.mapped_bytes

    def __dealloc__(self):
        if self.header != NULL:
            munmap(self.header, page_up(self.mapped_bytes))


cdef class Arena:
    """A shard's rows and strings, mapped: sparse regions that grow in place. Unmapped when the last reference goes."""

    @staticmethod
    def attach(str path, layout, bint writable):
        """Maps an existing arena. Raises FailedPreconditionError when the file is not one of this layout and format."""
        cdef Arena self = Arena.__new__(Arena)
        header = self.header = <SegmentHeader *>attach_file(path, writable, HEADER_BYTES, &self.mapped_bytes)
        self.path = path
        check_format(path, header.magic == ARENA_MAGIC, header.format_version)
        if header.file_bytes != self.mapped_bytes:
            raise FailedPreconditionError(f"{path} is {self.mapped_bytes} bytes long, its header says {header.file_bytes}: it is damaged")
        if header.row_bytes != <uint32_t>layout.row_bytes:
            raise FailedPreconditionError(f"{path} has rows of {header.row_bytes} bytes, the table's have {layout.row_bytes}: it is damaged")
        # Readers go by these; in this order no difference is below zero.
        if not (
            header.rows_offset == HEADER_BYTES <= header.heap_offset <= self.mapped_bytes
            and header.rows_capacity <= (header.heap_offset - HEADER_BYTES) // header.row_bytes
            and header.heap_capacity <= (self.mapped_bytes - header.heap_offset) // UNIT_BYTES
        ):
            raise FailedPreconditionError(f"{path} has rows or strings beyond its {self.mapped_bytes} bytes: it is damaged")
        return self

    @property
    def memory_bytes(self):
        """Bytes of memory that back it: its header, and what is committed of rows and heap."""
        return self.header.rows_offset + self.header.rows_committed_bytes + self.header.heap_committed_bytes

    def __dealloc__(self):
        if self.header != NULL:
            munmap(self.header, page_up(self.mapped_bytes))


cdef class Segment:
    """One shard: an arena and an index into it. Growth makes another segment of the same arena with a larger index."""

    def __init__(self, Arena arena, Index index):
        self.arena = arena
        self.index = index
        self.shard.base = <char *>arena.header
        self.shard.entries = <char *>index.header + sizeof(IndexHeader)
        self.shard.capacity = index.header.capacity

    @property
    def memory_bytes(self):
        """Bytes of memory that back the segment: both headers, the index, and what is committed of rows and heap."""
        return self.arena.memory_bytes + self.index.memory_bytes

    @property
    def counts(self):
        """(live, deleted, free, ever used) rows, then (free, ever used) heap units, then rows and heap capacity of the arena."""
        header = self.arena.header
        return (
            header.rows_live, header.rows_dead, header.rows_free, header.rows_used,
            header.heap_free, header.heap_used, header.rows_capacity, header.heap_capacity,
        )


cdef class Control:
    """The control file of a table: the schema and the generation of each shard, published to readers in other processes.

    It holds two sets of them, of which ``epoch`` says which is the table's; see ``segment.pxd``.
    """

    @staticmethod
    def attach(str path, bint writable):
        """Raises FailedPreconditionError when the file is not a control file of this format."""
        cdef Control self = Control.__new__(Control)
        cdef uint64_t length
        self.header = <ControlHeader *>attach_file(path, writable, sizeof(ControlHeader), &length)
        self.path = path
        shards = self.header.shards
        known = self.header.magic == CONTROL_MAGIC and 1 <= shards <= 4096 and shards & (shards - 1) == 0
        check_format(path, known, self.header.format_version)
        return self

    def __dealloc__(self):
        if self.header != NULL:
            munmap(self.header, page_up(sizeof(ControlHeader)))

    @property
    def memory_bytes(self):
        """Bytes of memory that back it."""
        return page_up(sizeof(ControlHeader))

    @property
    def epoch(self):
        """Changes whenever the table's segments or schema do. One atomic load."""
        return atomic_load_acquire_u64(&self.header.epoch)

    @property
    def clean(self):
        return self.header.clean != 0

    @clean.setter
    def clean(self, bint value):
        self.header.clean = value

    def publish(self, uint64_t schema_id, arenas, indexes):
        """Makes a new set of segments, by their generations, the table: for every reader at one instant.

        The other set is written and then named by one store, so that an owner that dies on the way leaves the table as it was.
        """
        cdef uint64_t epoch = self.header.epoch + 1
        cdef TableSet *following = &self.header.sets[epoch & 1]
        atomic_fence_release()  # a reader that sees any of what follows sees that its set is no longer the one that counts
        following.schema_id = schema_id
        for shard, (arena, index) in enumerate(zip(arenas, indexes, strict=True)):
            following.arenas[shard] = arena
            following.indexes[shard] = index
        atomic_store_release_u64(&self.header.epoch, epoch)

    def read(self):
        """(epoch, schema id, arenas' and indexes' generations), all of one instant. None where it was changed twice meanwhile."""
        cdef uint64_t epoch = atomic_load_acquire_u64(&self.header.epoch)
        cdef TableSet *found = &self.header.sets[epoch & 1]
        schema_id = found.schema_id
        arenas = [found.arenas[shard] for shard in range(self.header.shards)]
        indexes = [found.indexes[shard] for shard in range(self.header.shards)]
        atomic_fence_acquire()  # pairs with the release fence of publish
        if atomic_load_acquire_u64(&self.header.epoch) != epoch:
            return None  # the set may have been in the making again
        return epoch, schema_id, arenas, indexes
