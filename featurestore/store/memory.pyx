"""The making of segments: new files, and memory behind them.

Invariants: memory is committed (backed by pages) before anything is stored in it, so that a full ``/dev/shm`` is an error of the
call that needed room, never a SIGBUS; and whatever is committed has been counted by the store's ``Memory`` before.
"""

import os

from featurestore.errors import ResourceExhaustedError

from libc cimport errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc
from posix.unistd cimport pwrite

from featurestore_client.tables.segment cimport (
    ARENA_MAGIC, COMMIT_SHARE, CONTROL_MAGIC, ENTRY_FIRST_ROW, HEADER_BYTES, HUGE_PAGE, INDEX_MAGIC, LINE_ENTRIES, SEGMENT_FORMAT,
    UNIT_BYTES, Arena, Control, ControlHeader, Index, IndexHeader, Segment, SegmentHeader, block_units, index_rows_max, map_file,
    page_up,
)

cdef extern from "sys/mman.h" nogil:
    int madvise(void *addr, size_t length, int advice)

cdef enum:
    ADVICE_REMOVE = 9
    ADVICE_POPULATE_READ = 22    # Linux 5.14
    ADVICE_COLLAPSE = 25         # Linux 6.1

cdef uint64_t REGION_BYTES_MIN = 1 << 30             # of address space and of a sparse file; memory is committed as needed
cdef uint64_t ROWS_MAX = (1 << 32) - ENTRY_FIRST_ROW - 1
cdef uint64_t ZEROS_BYTES = 256 << 10
cdef char *ZEROS = <char *>calloc(1, ZEROS_BYTES)     # never written to: the system's one page of zeros, all of it
if ZEROS == NULL:
    raise MemoryError
# Rows are committed this far ahead: a share of what is used (COMMIT_SHARE), within bounds, so that slack stays near 3 % of a table.
cdef uint64_t COMMIT_STEP_MIN = 16 << 10
cdef uint64_t COMMIT_STEP_MAX = 8 << 20


cdef int commit_pages(int fd, char *base, uint64_t offset, uint64_t length, uint64_t *done) noexcept nogil:
    """Backs a range of a file with memory, and maps it. Returns 0, or the errno of what stood in the way behind ``done`` bytes."""
    cdef ssize_t written
    done[0] = 0
    while done[0] < length:
        # Written, not fallocated: the pages are zeroed on the way in, not once more at a fault each.
        written = pwrite(fd, ZEROS, min(length - done[0], ZEROS_BYTES), offset + done[0])
        if written < 0 and errno.errno != errno.EINTR:
            return errno.errno
        done[0] += max(written, 0)
    madvise(base + offset, length, ADVICE_POPULATE_READ)  # spares faults; older kernels do not know it
    return 0


cdef int commit(int fd, char *base, uint64_t offset, uint64_t length, str path) except -1:
    """The same, of memory that was counted. Raises ResourceExhaustedError that says what is full and what to do."""
    cdef uint64_t done
    cdef int failed
    with nogil:
        failed = commit_pages(fd, base, offset, length, &done)
    if failed in (errno.ENOSPC, errno.ENOMEM, errno.EFBIG, errno.EDQUOT):
        directory = os.path.dirname(path)
        space = os.statvfs(directory)
        raise ResourceExhaustedError(
            f"memory for segments is full: {directory} has {space.f_bavail * space.f_frsize} bytes left, {length - done} more were "
            "needed; enlarge it (docker run --shm-size, mount -o remount,size=...) or put segments elsewhere (--segments)"
        )
    if failed:
        raise OSError(failed, os.strerror(failed), path)
    return 0


cpdef uint64_t index_capacity(uint64_t rows) noexcept:
    """Entries of an index that is made with room for so many rows."""
    return (rows * 5 // 4 // LINE_ENTRIES + 3) * LINE_ENTRIES


def index_rows(uint64_t capacity):
    """Rows that so many entries are enough for."""
    return index_rows_max(capacity)


cpdef uint64_t index_bytes(uint64_t capacity) noexcept:
    """Memory of an index of so many entries."""
    return page_up(sizeof(IndexHeader) + capacity * 8)


cpdef uint64_t committed_bytes(uint64_t wanted) noexcept:
    """Memory behind a region once so many bytes of it were wanted: a little is committed ahead. 0 where none were."""
    cdef uint64_t step = min(max(wanted // COMMIT_SHARE, COMMIT_STEP_MIN), COMMIT_STEP_MAX)
    return page_up(wanted + step) if wanted else 0


def heap_bytes(uint64_t string_bytes):
    """What the strings of one row, so many bytes together, take of the heap."""
    return block_units(string_bytes) * UNIT_BYTES


cdef class Memory:
    """What all tables of a store take, in bytes of memory, and what they may take; makes their files.

    Used by several threads, under the GIL. ``limit``: None for what the file system has.
    """

    def __init__(self, limit=None):
        self.limit = limit

    cdef bint has(self, uint64_t count):
        return self.limit is None or self.used + count <= <uint64_t>self.limit

    def check(self, uint64_t count):
        """Raises ResourceExhaustedError where so many more are too many."""
        if not self.has(count):
            raise ResourceExhaustedError(
                f"max_memory: the tables take {self.used} bytes of memory, {count} more were needed, at most {self.limit} are "
                "allowed; nothing was written. Reads, and writes to rows that are there, go on. Set a retention, drop views, "
                "or raise --max-memory"
            )

    def take(self, uint64_t count):
        """Counts so many that are there now, whatever is allowed."""
        self.used += count

    def give(self, uint64_t count):
        """So many are no longer taken."""
        self.used -= count

    cdef char *_create_file(self, str path, uint64_t length, uint64_t committed) except NULL:
        """A new sparse file of ``length`` bytes, mapped, the first ``committed`` of them backed by memory."""
        cdef char *base
        committed = page_up(committed)
        self.check(committed)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            os.ftruncate(fd, length)
            base = map_file(fd, length, True, path)
            commit(fd, base, 0, min(committed, length), path)
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(fd)
        self.used += committed
        return base

    def create_index(self, str path, uint64_t rows):
        """A new, empty index with room for so many rows. Raises ResourceExhaustedError when there is no memory for it."""
        cdef Index index = Index.__new__(Index)
        cdef uint64_t capacity = index_capacity(rows)
        if capacity >= (1 << 32):
            raise ResourceExhaustedError(f"{path} would index {rows} rows, over what it can count: open the store with more shards")
        index.mapped_bytes = index_bytes(capacity)
        index.header = <IndexHeader *>self._create_file(path, index.mapped_bytes, index.mapped_bytes)
        index.path = path
        index.header.magic = INDEX_MAGIC
        index.header.format_version = SEGMENT_FORMAT
        index.header.capacity = capacity
        return index

    def create_arena(self, str path, layout, uint64_t rows, uint64_t heap_units):
        """A new, empty arena that can grow to eight times so many rows and heap units, and to a gibibyte of each at least."""
        cdef Arena arena = Arena.__new__(Arena)
        cdef uint64_t row_bytes = layout.row_bytes
        # The heap begins at a huge page too.
        cdef uint64_t rows_bytes = ((max(REGION_BYTES_MIN, 8 * rows * row_bytes) + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1)) - HEADER_BYTES
        cdef uint64_t heap_bytes = page_up(max(REGION_BYTES_MIN, 8 * heap_units * UNIT_BYTES)) if layout.parts else 0
        if rows >= ROWS_MAX or heap_units >= ROWS_MAX:
            raise ResourceExhaustedError(
                f"{path} would hold {rows} rows and {heap_units * UNIT_BYTES} bytes of strings, over what its numbers can count: "
                "open the store with more shards"
            )
        arena.mapped_bytes = HEADER_BYTES + rows_bytes + heap_bytes
        header = arena.header = <SegmentHeader *>self._create_file(path, arena.mapped_bytes, HEADER_BYTES)
        arena.path = path
        header.magic = ARENA_MAGIC
        header.format_version = SEGMENT_FORMAT
        header.row_bytes = row_bytes
        header.file_bytes = arena.mapped_bytes
        header.rows_offset = HEADER_BYTES
        header.rows_capacity = min(rows_bytes // row_bytes, ROWS_MAX)
        header.heap_offset = HEADER_BYTES + rows_bytes
        header.heap_capacity = min(heap_bytes // UNIT_BYTES, ROWS_MAX)
        return arena

    def create_control(self, str path, uint32_t shards):
        """A new control file of a table that has nothing published yet."""
        cdef Control control = Control.__new__(Control)
        control.header = <ControlHeader *>self._create_file(path, sizeof(ControlHeader), sizeof(ControlHeader))
        control.path = path
        control.header.magic = CONTROL_MAGIC
        control.header.format_version = SEGMENT_FORMAT
        control.header.shards = shards
        return control

    cdef int commit_rows(self, Arena arena, uint64_t rows) except -1:
        """Backs the first ``rows`` rows with memory."""
        header = arena.header
        return self._grow(
            arena, header.rows_offset, &header.rows_committed_bytes, rows * header.row_bytes, header.heap_offset - header.rows_offset
        )

    cdef int commit_heap(self, Arena arena, uint64_t units) except -1:
        """Backs the first ``units`` of the heap with memory."""
        header = arena.header
        return self._grow(
            arena, header.heap_offset, &header.heap_committed_bytes, units * UNIT_BYTES, arena.mapped_bytes - header.heap_offset
        )

    cdef int _grow(self, Arena arena, uint64_t offset, uint64_t *committed, uint64_t wanted, uint64_t capacity) except -1:
        cdef uint64_t target
        if wanted <= committed[0]:
            return 0
        target = min(committed_bytes(wanted), capacity)
        assert wanted <= target, "the region was sized for its rows"
        if not self.has(target - committed[0]):
            target = min(page_up(wanted), capacity)  # the last of what is allowed is for what is needed
            self.check(target - committed[0])
        fd = os.open(arena.path, os.O_RDWR | os.O_CLOEXEC)
        self.used += target - committed[0]
        try:
            commit(fd, <char *>arena.header, offset + committed[0], target - committed[0], arena.path)
        except BaseException:
            self.used -= target - committed[0]
            raise
        finally:
            os.close(fd)
        committed[0] = target
        return 0

    def commit_ahead(self, Segment segment, uint64_t rows, uint64_t heap_bytes):
        """Backs room for so many more rows and bytes of strings with memory, as far as the arena has it."""
        header = segment.arena.header
        self.commit_rows(segment.arena, min(header.rows_used + rows - min(rows, header.rows_free), header.rows_capacity))
        if header.heap_capacity:
            self.commit_heap(segment.arena, min(header.heap_used + heap_bytes // UNIT_BYTES, header.heap_capacity))

    def give_back(self, Segment segment):
        """Gives the system what is committed far beyond what is used. Returns whether there was anything."""
        header = segment.arena.header
        rows_used, heap_used = header.rows_used * header.row_bytes, header.heap_used * UNIT_BYTES
        cdef bint rows_gone = self._shrink(segment.shard.base + header.rows_offset, &header.rows_committed_bytes, rows_used)
        return self._shrink(segment.shard.base + header.heap_offset, &header.heap_committed_bytes, heap_used) or rows_gone

    cdef bint _shrink(self, char *region, uint64_t *committed, uint64_t used):
        cdef uint64_t before = committed[0], target = page_up(used + COMMIT_STEP_MIN)
        if before <= target:
            return False
        committed[0] = target  # first: an owner that dies here has less committed than it may use, never more
        if madvise(region + target, before - target, ADVICE_REMOVE) != 0:
            committed[0] = before  # a file system that cannot
            return False
        self.used -= before - target
        return True


cdef bint collapse(char *start, uint64_t length) noexcept:
    # Whole huge pages only: one that is backed in part would be backed whole, and that is memory. False when there was none.
    cdef int outcome = -1
    length &= ~(HUGE_PAGE - 1)
    if length:
        with nogil:
            outcome = madvise(start, length, ADVICE_COLLAPSE)
    return outcome == 0


def advise_huge(Segment segment):
    """Asks the system to gather committed memory into huge pages now (a table of 10^7 rows is bound by TLB misses)."""
    header = segment.arena.header
    collapse(<char *>segment.index.header, segment.index.mapped_bytes)
    collapse(segment.shard.base + header.heap_offset, header.heap_committed_bytes)
    return collapse(segment.shard.base, header.rows_offset + header.rows_committed_bytes)
