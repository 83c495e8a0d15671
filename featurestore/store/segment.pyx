"""Segments: one shard's memory-mapped file, and the control file that says which segments make up a table.

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
    ADVICE_POPULATE_WRITE = 23   # Linux 5.14
    ADVICE_COLLAPSE = 25         # Linux 6.1

cdef uint64_t SEGMENT_MAGIC = 0x31474553_45525446   # "FTRESEG1"
cdef uint64_t CONTROL_MAGIC = 0x314C5443_45525446   # "FTRECTL1"
cdef uint32_t SEGMENT_FORMAT = 1
cdef uint64_t HEADER_BYTES = 4096
cdef uint64_t PAGE = 4096
cdef uint64_t HUGE_PAGE = 2 << 20
# Rows are committed this far ahead: a share of what is used, within bounds, so that slack stays near 3 % of a table.
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


cdef class Segment:
    """One mapped segment. Unmapped when the last reference goes: a reader that holds a snapshot holds its segments."""

    @staticmethod
    def create(str path, layout, uint64_t rows_capacity, uint64_t heap_capacity_units):
        """A new, empty segment file. Raises ResourceExhaustedError when there is no room for its index."""
        cdef Segment self = Segment.__new__(Segment)
        cdef uint64_t index_capacity = rows_capacity + rows_capacity // 4
        cdef uint64_t index_bytes = page_up(index_capacity * 8)
        cdef uint64_t rows_bytes = page_up(rows_capacity * <uint64_t>layout.row_bytes)
        cdef uint64_t heap_bytes = page_up(heap_capacity_units * UNIT_BYTES)
        cdef uint64_t length = HEADER_BYTES + index_bytes + rows_bytes + heap_bytes
        if rows_capacity >= (1 << 32) - ENTRY_FIRST_ROW or index_capacity >= (1 << 32) or heap_capacity_units >= (1 << 32):
            raise ResourceExhaustedError(
                f"a shard of {path} would hold {rows_capacity} rows and {heap_capacity_units * UNIT_BYTES} bytes of strings, "
                "over what its numbers can count: open the store with more shards"
            )
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            os.ftruncate(fd, length)
            allocate(fd, 0, HEADER_BYTES + index_bytes, path)
            self.base = map_file(fd, length, True, path)
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(fd)
        self.mapped_bytes = length
        self.path = path
        self.writable = True
        madvise(self.base, HEADER_BYTES + index_bytes, ADVICE_POPULATE_WRITE)
        header = self.header = <SegmentHeader *>self.base
        header.magic = SEGMENT_MAGIC
        header.format_version = SEGMENT_FORMAT
        header.row_bytes = layout.row_bytes
        header.file_bytes = length
        header.index_offset = HEADER_BYTES
        header.index_capacity = index_capacity
        header.rows_offset = HEADER_BYTES + index_bytes
        header.rows_capacity = rows_capacity
        header.heap_offset = HEADER_BYTES + index_bytes + rows_bytes
        header.heap_capacity = heap_capacity_units
        return self

    @staticmethod
    def attach(str path, layout, bint writable):
        """Maps an existing segment. Raises FailedPreconditionError when the file is not one of this layout and format."""
        cdef Segment self = Segment.__new__(Segment)
        fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            length = os.fstat(fd).st_size
            if length < HEADER_BYTES:
                raise FailedPreconditionError(f"{path} is {length} bytes long, too short for a segment: it is damaged")
            self.base = map_file(fd, length, writable, path)
        finally:
            os.close(fd)
        self.mapped_bytes = length
        self.path = path
        self.writable = writable
        header = self.header = <SegmentHeader *>self.base
        if header.magic != SEGMENT_MAGIC or header.file_bytes != <uint64_t>length:
            raise FailedPreconditionError(f"{path} is not a segment of a feature table, or is damaged")
        if header.format_version != SEGMENT_FORMAT:
            raise FailedPreconditionError(
                f"{path} has segment format {header.format_version}, this version reads {SEGMENT_FORMAT}: use the version that wrote it"
            )
        if header.row_bytes != <uint32_t>layout.row_bytes:
            raise FailedPreconditionError(f"{path} has rows of {header.row_bytes} bytes, the table's have {layout.row_bytes}: it is damaged")
        return self

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, page_up(self.mapped_bytes))

    cdef int commit_rows(self, uint64_t rows) except -1:
        """Backs the first ``rows`` rows with memory."""
        cdef SegmentHeader *header = self.header
        return self._commit(
            header.rows_offset, &header.rows_committed_bytes, rows * header.row_bytes, header.heap_offset - header.rows_offset
        )

    cdef int commit_heap(self, uint64_t units) except -1:
        """Backs the first ``units`` of the heap with memory."""
        cdef SegmentHeader *header = self.header
        return self._commit(
            header.heap_offset, &header.heap_committed_bytes, units * UNIT_BYTES, self.mapped_bytes - header.heap_offset
        )

    cdef int _commit(self, uint64_t offset, uint64_t *committed, uint64_t wanted, uint64_t capacity) except -1:
        cdef uint64_t step, target
        if wanted <= committed[0]:
            return 0
        step = min(max(wanted // 32, COMMIT_STEP_MIN), COMMIT_STEP_MAX)
        target = min(page_up(wanted + step), capacity)
        assert wanted <= target, "the region was sized for its rows"
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            allocate(fd, offset + committed[0], target - committed[0], self.path)
        finally:
            os.close(fd)
        # Only spares a fault a page; older kernels do not know it.
        with nogil:
            madvise(self.base + offset + committed[0], target - committed[0], ADVICE_POPULATE_WRITE)
        committed[0] = target
        return 0

    @property
    def memory_bytes(self):
        """Bytes of memory that back the segment: header, index, and what is committed of rows and heap."""
        return self.header.rows_offset + self.header.rows_committed_bytes + self.header.heap_committed_bytes

    @property
    def counts(self):
        """(live, deleted, free, ever used) rows, then (free, ever used) heap units, then rows and heap capacity."""
        header = self.header
        return (
            header.rows_live, header.rows_dead, header.rows_free, header.rows_used,
            header.heap_free, header.heap_used, header.rows_capacity, header.heap_capacity,
        )

    def room(self):
        """(rows, heap bytes) that can be added for certain without growing or committing: for telling whether a write is quick."""
        header = self.header
        committed_rows = header.rows_committed_bytes // header.row_bytes
        rows = min(committed_rows - header.rows_used, rows_room(header))
        return rows, header.heap_committed_bytes - header.heap_used * UNIT_BYTES

    def advise_huge(self):
        """Asks the system to gather committed memory into huge pages now (a table of 10^7 rows is bound by TLB misses)."""
        cdef uint64_t length = (self.header.rows_offset + self.header.rows_committed_bytes) & ~(HUGE_PAGE - 1)
        cdef int done = -1
        if length:
            with nogil:
                done = madvise(self.base, length, ADVICE_COLLAPSE)
        return done == 0

    def unlink(self):
        """Takes the file's name away; the memory goes with the last process that maps it."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass


cdef uint64_t rows_room(SegmentHeader *header) noexcept nogil:
    # New rows that fit: a quarter more entries than rows, of which removed ones take up to a half of the slack.
    cdef uint64_t taken = header.rows_used - header.rows_free + header.entries_removed
    cdef uint64_t entries = header.index_capacity - header.index_capacity // 10
    cdef uint64_t rows = header.rows_capacity - header.rows_used + header.rows_free
    if taken >= entries:
        return 0
    return min(rows, entries - taken)


def allocate(fd, offset, length, path):
    """Backs a range of a file with memory. Raises ResourceExhaustedError that says what is full and how to enlarge it."""
    try:
        os.posix_fallocate(fd, offset, length)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EFBIG, errno.EDQUOT):
            raise
        directory = os.path.dirname(path)
        space = os.statvfs(directory)
        raise ResourceExhaustedError(
            f"memory for segments is full: {directory} has {space.f_bavail * space.f_frsize} bytes left, {length} more were needed; "
            "enlarge it (docker run --shm-size, mount -o remount,size=...) or put segments elsewhere (--segments)"
        ) from error


cdef struct ControlHeader:
    uint64_t magic
    uint32_t format_version
    uint32_t shards
    uint64_t epoch       # even at rest; moves by two with every change of what follows
    uint64_t schema_id   # names schema.<id>.json
    uint64_t clean       # 1 when the owner closed the table
    uint64_t reserved[3]
    uint64_t generations[4096]  # names shard-<i>.<generation>


cdef class Control:
    """The control file of a table: the schema and the generation of each shard, published to readers in other processes.

    Written under a sequence lock of its own (``epoch``, as a row's seq; see atomics.h).
    """

    cdef ControlHeader *header
    cdef readonly str path

    @staticmethod
    def create(str path, uint32_t shards):
        cdef Control self = Control._map(path, True, True)
        self.header.magic = CONTROL_MAGIC
        self.header.format_version = SEGMENT_FORMAT
        self.header.shards = shards
        return self

    @staticmethod
    def attach(str path, bint writable):
        """Raises FailedPreconditionError when the file is not a control file of this format."""
        cdef Control self = Control._map(path, writable, False)
        if self.header.magic != CONTROL_MAGIC or not 1 <= self.header.shards <= 4096:
            raise FailedPreconditionError(f"{path} is not the control file of a feature table, or is damaged")
        if self.header.format_version != SEGMENT_FORMAT:
            raise FailedPreconditionError(
                f"{path} has format {self.header.format_version}, this version reads {SEGMENT_FORMAT}: use the version that wrote it"
            )
        return self

    @staticmethod
    def _map(str path, bint writable, bint create):
        cdef Control self = Control.__new__(Control)
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        fd = os.open(path, flags, 0o640)
        try:
            if create:
                os.ftruncate(fd, sizeof(ControlHeader))
                allocate(fd, 0, sizeof(ControlHeader), path)
            elif os.fstat(fd).st_size < <long>sizeof(ControlHeader):
                raise FailedPreconditionError(f"{path} is too short for a control file: it is damaged")
            self.header = <ControlHeader *>map_file(fd, sizeof(ControlHeader), writable, path)
        finally:
            os.close(fd)
        self.path = path
        return self

    def __dealloc__(self):
        if self.header != NULL:
            munmap(self.header, page_up(sizeof(ControlHeader)))

    @property
    def epoch(self):
        """Changes whenever the table's segments or schema do. One atomic load."""
        return atomic_load_acquire_u64(&self.header.epoch)

    @property
    def shards(self):
        return self.header.shards

    @property
    def clean(self):
        return self.header.clean != 0

    @clean.setter
    def clean(self, bint value):
        self.header.clean = value

    def publish(self, uint64_t schema_id, generations):
        """Makes a new set of segments the table, for every reader at one instant."""
        begin_change(&self.header.epoch)  # the low half: the epoch stays far below 2^32
        self.header.schema_id = schema_id
        for shard, generation in enumerate(generations):
            self.header.generations[shard] = generation
        end_change(&self.header.epoch)

    def read(self):
        """(epoch, schema id, generations), all of one instant. None while the owner is in the middle of a change."""
        cdef uint32_t first = atomic_load_acquire_u32(&self.header.epoch)
        if first & 1:
            return None
        schema_id = self.header.schema_id
        generations = [self.header.generations[shard] for shard in range(self.header.shards)]
        atomic_fence_acquire()
        if atomic_load_relaxed_u32(&self.header.epoch) != first:
            return None
        return first, schema_id, generations
