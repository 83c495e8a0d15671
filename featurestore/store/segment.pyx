"""Segments: a shard's memory-mapped files, and the control file that says which segments make up a table.

Maps, creates and commits memory; what the bytes mean is drawn in ``segment.pxd``. Invariant: memory is committed (backed by
pages) before anything is stored in it, so that a full ``/dev/shm`` is an error of the call that needed room, never a SIGBUS.
"""

import errno
import os

from featurestore.errors import FailedPreconditionError, ResourceExhaustedError

cdef extern from "sys/mman.h" nogil:
    void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void *addr, size_t length)
    int madvise(void *addr, size_t length, int advice)
    int PROT_READ, PROT_WRITE, PROT_NONE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE
    void *MAP_FAILED

cdef enum:
    ADVICE_HUGEPAGE = 14
    ADVICE_POPULATE_READ = 22    # Linux 5.14
    ADVICE_COLLAPSE = 25         # Linux 6.1

cdef uint64_t ARENA_MAGIC = 0x314E5241_45525446     # "FTREARN1"
cdef uint64_t INDEX_MAGIC = 0x31584449_45525446     # "FTREIDX1"
cdef uint64_t CONTROL_MAGIC = 0x314C5443_45525446   # "FTRECTL1"
cdef uint32_t SEGMENT_FORMAT = 2
cdef uint64_t HEADER_BYTES = 4096
cdef uint64_t PAGE = 4096
cdef uint64_t HUGE_PAGE = 2 << 20
cdef uint64_t REGION_BYTES_MIN = 1 << 30             # of address space and of a sparse file; memory is committed as needed
cdef uint64_t ROWS_MAX = (1 << 32) - ENTRY_FIRST_ROW - 1
# Rows are committed this far ahead: a share of what is used (COMMIT_SHARE), within bounds, so that slack stays near 3 % of a table.
cdef object ZEROS = memoryview(bytes(256 << 10))      # stays in the second-level cache while pages are filled from it
cdef uint64_t COMMIT_STEP_MIN = 16 << 10
cdef uint64_t COMMIT_STEP_MAX = 8 << 20


cdef inline uint64_t page_up(uint64_t value) noexcept nogil:
    return (value + PAGE - 1) & ~(PAGE - 1)


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


cdef int commit(int fd, char *base, uint64_t offset, uint64_t length, str path) except -1:
    """Backs a range of a file with memory, and maps it. Raises ResourceExhaustedError that says what is full and what to do."""
    cdef uint64_t done = 0
    try:
        while done < length:
            # Written, not fallocated: the pages are zeroed on the way in, not once more at a fault each.
            done += os.pwrite(fd, ZEROS[: length - done], offset + done)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EFBIG, errno.EDQUOT):
            raise
        directory = os.path.dirname(path)
        space = os.statvfs(directory)
        raise ResourceExhaustedError(
            f"memory for segments is full: {directory} has {space.f_bavail * space.f_frsize} bytes left, {length - done} more were "
            "needed; enlarge it (docker run --shm-size, mount -o remount,size=...) or put segments elsewhere (--segments)"
        ) from error
    with nogil:
        madvise(base + offset, length, ADVICE_POPULATE_READ)  # spares faults; older kernels do not know it
    return 0


cdef char *create_file(str path, uint64_t length, uint64_t committed) except NULL:
    """A new sparse file of ``length`` bytes, mapped, the first ``committed`` of them backed by memory."""
    cdef char *base
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        os.ftruncate(fd, length)
        base = map_file(fd, length, True, path)
        commit(fd, base, 0, committed, path)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)
    return base


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
    def create(str path, uint64_t rows):
        """A new, empty index with room for so many rows. Raises ResourceExhaustedError when there is no memory for it."""
        cdef Index self = Index.__new__(Index)
        cdef uint64_t capacity = (rows * 5 // 4 // LINE_ENTRIES + 3) * LINE_ENTRIES
        if capacity >= (1 << 32):
            raise ResourceExhaustedError(f"{path} would index {rows} rows, over what it can count: open the store with more shards")
        self.mapped_bytes = page_up(sizeof(IndexHeader) + capacity * 8)
        self.header = <IndexHeader *>create_file(path, self.mapped_bytes, self.mapped_bytes)
        self.path = path
        self.header.magic = INDEX_MAGIC
        self.header.format_version = SEGMENT_FORMAT
        self.header.capacity = capacity
        return self

    @staticmethod
    def attach(str path, bint writable):
        """Maps an existing index. Raises FailedPreconditionError when the file is not one of this format."""
        cdef Index self = Index.__new__(Index)
        self.header = <IndexHeader *>attach_file(path, writable, sizeof(IndexHeader), &self.mapped_bytes)
        self.path = path
        check_format(path, self.header.magic == INDEX_MAGIC, self.header.format_version)
        if sizeof(IndexHeader) + self.header.capacity * 8 > self.mapped_bytes:
            raise FailedPreconditionError(f"{path} is shorter than its header says: it is damaged")
        return self

    def __dealloc__(self):
        if self.header != NULL:
            munmap(self.header, page_up(self.mapped_bytes))


cdef class Arena:
    """A shard's rows and strings, mapped: sparse regions that grow in place. Unmapped when the last reference goes."""

    @staticmethod
    def create(str path, layout, uint64_t rows, uint64_t heap_units):
        """A new, empty arena that can grow to eight times so many rows and heap units, and to a gibibyte of each at least."""
        cdef Arena self = Arena.__new__(Arena)
        cdef uint64_t row_bytes = layout.row_bytes
        # The heap begins at a huge page too.
        cdef uint64_t rows_bytes = ((max(REGION_BYTES_MIN, 8 * rows * row_bytes) + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1)) - HEADER_BYTES
        cdef uint64_t heap_bytes = page_up(max(REGION_BYTES_MIN, 8 * heap_units * UNIT_BYTES)) if layout.parts else 0
        if rows >= ROWS_MAX or heap_units >= ROWS_MAX:
            raise ResourceExhaustedError(
                f"{path} would hold {rows} rows and {heap_units * UNIT_BYTES} bytes of strings, over what its numbers can count: "
                "open the store with more shards"
            )
        self.mapped_bytes = HEADER_BYTES + rows_bytes + heap_bytes
        header = self.header = <SegmentHeader *>create_file(path, self.mapped_bytes, HEADER_BYTES)
        self.path = path
        header.magic = ARENA_MAGIC
        header.format_version = SEGMENT_FORMAT
        header.row_bytes = row_bytes
        header.file_bytes = self.mapped_bytes
        header.rows_offset = HEADER_BYTES
        header.rows_capacity = min(rows_bytes // row_bytes, ROWS_MAX)
        header.heap_offset = HEADER_BYTES + rows_bytes
        header.heap_capacity = min(heap_bytes // UNIT_BYTES, ROWS_MAX)
        return self

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
        return self

    def __dealloc__(self):
        if self.header != NULL:
            munmap(self.header, page_up(self.mapped_bytes))

    cdef int commit_rows(self, uint64_t rows) except -1:
        """Backs the first ``rows`` rows with memory."""
        header = self.header
        return self._commit(
            header.rows_offset, &header.rows_committed_bytes, rows * header.row_bytes, header.heap_offset - header.rows_offset
        )

    cdef int commit_heap(self, uint64_t units) except -1:
        """Backs the first ``units`` of the heap with memory."""
        header = self.header
        return self._commit(
            header.heap_offset, &header.heap_committed_bytes, units * UNIT_BYTES, self.mapped_bytes - header.heap_offset
        )

    cdef int _commit(self, uint64_t offset, uint64_t *committed, uint64_t wanted, uint64_t capacity) except -1:
        cdef uint64_t step, target
        if wanted <= committed[0]:
            return 0
        step = min(max(wanted // COMMIT_SHARE, COMMIT_STEP_MIN), COMMIT_STEP_MAX)
        target = min(page_up(wanted + step), capacity)
        assert wanted <= target, "the region was sized for its rows"
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            commit(fd, <char *>self.header, offset + committed[0], target - committed[0], self.path)
        finally:
            os.close(fd)
        committed[0] = target
        return 0


cdef bint collapse(char *start, uint64_t length) noexcept:
    # Whole huge pages only: one that is backed in part would be backed whole, and that is memory. False when there was none.
    cdef int outcome = -1
    length &= ~(HUGE_PAGE - 1)
    if length:
        with nogil:
            outcome = madvise(start, length, ADVICE_COLLAPSE)
    return outcome == 0


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
        header = self.arena.header
        return self.index.mapped_bytes + header.rows_offset + header.rows_committed_bytes + header.heap_committed_bytes

    @property
    def counts(self):
        """(live, deleted, free, ever used) rows, then (free, ever used) heap units, then rows and heap capacity of the arena."""
        header = self.arena.header
        return (
            header.rows_live, header.rows_dead, header.rows_free, header.rows_used,
            header.heap_free, header.heap_used, header.rows_capacity, header.heap_capacity,
        )

    def room(self):
        """(rows, heap bytes) that can be added for certain without growing or committing: for telling whether a write is quick."""
        header = self.arena.header
        committed_rows = header.rows_committed_bytes // header.row_bytes
        rows = min(committed_rows - header.rows_used + header.rows_free, rows_room(&self.shard))
        return rows, header.heap_committed_bytes - header.heap_used * UNIT_BYTES

    def advise_huge(self):
        """Asks the system to gather committed memory into huge pages now (a table of 10^7 rows is bound by TLB misses)."""
        header = self.arena.header
        collapse(<char *>self.index.header, self.index.mapped_bytes)
        collapse(self.shard.base + header.heap_offset, header.heap_committed_bytes)
        return collapse(self.shard.base, header.rows_offset + header.rows_committed_bytes)


cdef class Control:
    """The control file of a table: the schema and the generation of each shard, published to readers in other processes.

    Written under a sequence lock of its own (``epoch``, as a row's seq; see atomics.h).
    """

    @staticmethod
    def create(str path, uint32_t shards):
        cdef Control self = Control.__new__(Control)
        self.header = <ControlHeader *>create_file(path, sizeof(ControlHeader), sizeof(ControlHeader))
        self.path = path
        self.header.magic = CONTROL_MAGIC
        self.header.format_version = SEGMENT_FORMAT
        self.header.shards = shards
        return self

    @staticmethod
    def attach(str path, bint writable):
        """Raises FailedPreconditionError when the file is not a control file of this format."""
        cdef Control self = Control.__new__(Control)
        cdef uint64_t length
        self.header = <ControlHeader *>attach_file(path, writable, sizeof(ControlHeader), &length)
        self.path = path
        check_format(path, self.header.magic == CONTROL_MAGIC and 1 <= self.header.shards <= 4096, self.header.format_version)
        return self

    def __dealloc__(self):
        if self.header != NULL:
            munmap(self.header, page_up(sizeof(ControlHeader)))

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
        """Makes a new set of segments, by their generations, the table: for every reader at one instant."""
        begin_change(&self.header.epoch)  # the low half: the epoch stays far below 2^32
        self.header.schema_id = schema_id
        for shard, (arena, index) in enumerate(zip(arenas, indexes, strict=True)):
            self.header.arenas[shard] = arena
            self.header.indexes[shard] = index
        end_change(&self.header.epoch)

    def read(self):
        """(epoch, schema id, arenas' and indexes' generations), all of one instant. None in the middle of a change."""
        cdef uint32_t first = atomic_load_acquire_u32(&self.header.epoch)
        if first & 1:
            return None
        schema_id = self.header.schema_id
        arenas = [self.header.arenas[shard] for shard in range(self.header.shards)]
        indexes = [self.header.indexes[shard] for shard in range(self.header.shards)]
        atomic_fence_acquire()
        if atomic_load_relaxed_u32(&self.header.epoch) != first:
            return None
        return first, schema_id, arenas, indexes
