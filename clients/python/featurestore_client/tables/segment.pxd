# The bytes of a segment, declared once: its index, its rows, its heap; and the inline functions that walk them.
#
#   index file   | header 64 B | entries: 8 B each, eight to a cache line |
#   arena file   | header 4 KiB | rows: row_bytes each ... | heap: blocks of 16-byte units ... |
#
#   The arena's two regions are sparse and much larger than what they hold, so that both grow in place: memory is committed as
#   it is needed, and only the index is made anew when a shard grows.
#
#   entry  | row code u32 (0 never used, 1 removed, else row + 2) | tag u32 (low half of the key's hash) |
#
#   row    | event time i64 | written i64 | seq u32 | heap unit u32, heap bytes u32 (*) | key: 8 B a join key (**) |
#          | bitmap u32 x words: bit 0 dead, bit k + 1 feature k is null | fixed-width values, packed | ends u32 x parts (*) |
#
#   (*)  only where there are strings: in features, or in the key. All of a row's strings lie in one heap block, part after
#        part, the key first (**) if it has a string in it; ends[p] is where part p ends in the block.
#
# Only seq and index entries are accessed atomically; they are aligned to their size. The rest of a row is packed and read with
# memcpy. Sizes and offsets come from layout.py, which mirrors the row's fixed head below.
# The server's package writes such files, and takes these declarations from here.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from "atomics.h" nogil:
    uint32_t atomic_load_acquire_u32(const void *at)
    uint32_t atomic_load_relaxed_u32(const void *at)
    uint64_t atomic_load_acquire_u64(const void *at)
    void atomic_store_release_u64(void *at, uint64_t value)
    void atomic_fence_acquire()
    void atomic_fence_release()
    void begin_change(void *seq)
    void end_change(void *seq)
    void prefetch_read(const void *at)
    void prefetch_write(const void *at)
    void spin_pause()

cdef extern from "hash.h" nogil:
    uint64_t hash_int64(int64_t key)
    uint64_t hash_bytes(const void *data, uint64_t length)

cdef extern from *:
    int __builtin_clzll(unsigned long long) nogil
    int64_t ROW_FREE "INT64_MIN"   # ROW_WRITTEN of a row that is in the free list
    uint64_t ARENA_MAGIC "0x314E524145525446ULL"    # "FTREARN1"
    uint64_t INDEX_MAGIC "0x3158444945525446ULL"    # "FTREIDX1"
    uint64_t CONTROL_MAGIC "0x314C544345525446ULL"  # "FTRECTL1"

cdef enum:
    SEGMENT_FORMAT = 3
    HEADER_BYTES = 4096
    PAGE = 4096
    HUGE_PAGE = 2 << 20
    ROW_EVENT = 0
    ROW_WRITTEN = 8
    ROW_SEQ = 16
    ROW_HEAP_UNIT = 20
    ROW_HEAP_BYTES = 24
    ENTRY_NEVER_USED = 0
    ENTRY_REMOVED = 1
    ENTRY_FIRST_ROW = 2
    LINE_ENTRIES = 8             # index entries of a cache line
    UNIT_BYTES = 16
    HEAP_CLASSES = 120
    COMMIT_SHARE = 32            # memory is committed ahead by this part of what is used

cdef struct SegmentHeader:
    uint64_t magic
    uint32_t format_version
    uint32_t row_bytes
    uint64_t file_bytes
    uint64_t rows_offset
    uint64_t rows_capacity
    uint64_t heap_offset
    uint64_t heap_capacity       # units
    # What follows belongs to the writer; readers never look at it.
    uint64_t rows_used           # rows ever handed out: [0, rows_used)
    uint64_t rows_committed_bytes  # backed by memory, so that a store cannot fault
    uint64_t rows_live
    uint64_t rows_dead           # deleted, kept for the delete window
    uint64_t rows_free
    uint64_t row_free_first      # row + 1; the chain goes on in ROW_EVENT
    uint64_t heap_used           # units ever handed out
    uint64_t heap_committed_bytes
    uint64_t heap_free           # units in the free lists
    uint32_t heap_free_first[HEAP_CLASSES]  # unit + 1; the chain goes on in the block's first four bytes

cdef struct IndexHeader:
    uint64_t magic
    uint32_t format_version
    uint32_t reserved
    uint64_t capacity            # entries: whole lines of them
    uint64_t removed             # entries marked so; the writer's
    uint64_t padding[4]

# What makes up a table: the generations name arena-<shard>.<generation> and index-<shard>.<generation>.
cdef struct TableSet:
    uint64_t schema_id   # names schema.<id>.json
    uint64_t arenas[4096]
    uint64_t indexes[4096]

# The set that counts is sets[epoch & 1]; a change is written into the other one, and published by the epoch's next value. Epoch 0:
# nothing is published yet.
cdef struct ControlHeader:
    uint64_t magic
    uint32_t format_version
    uint32_t shards
    uint64_t epoch
    uint64_t clean       # 1 when the owner closed the table
    uint64_t reserved[4]
    TableSet sets[2]

# One shard as the inner loops see it: a snapshot has an array of them.
cdef struct Shard:
    char *base                   # of the arena; its header stands there
    char *entries
    uint64_t capacity            # of the index

# What the inner loops need of a layout (see layout.py).
cdef struct RowShape:
    uint32_t row_bytes
    uint32_t key_offset
    uint32_t key_bytes           # inline key; 0 when the key lies in the heap
    uint32_t bitmap_offset
    uint32_t bitmap_words
    uint32_t values_offset
    uint32_t values_bytes
    uint32_t ends_offset
    uint32_t parts               # strings of a row, the key's among them
    uint32_t key_in_heap         # 0 or 1

cdef class Index:
    cdef IndexHeader *header
    cdef uint64_t mapped_bytes
    cdef readonly str path

cdef class Arena:
    cdef SegmentHeader *header
    cdef uint64_t mapped_bytes
    cdef readonly str path

cdef class Segment:
    cdef readonly Arena arena
    cdef readonly Index index
    cdef Shard shard

cdef class Control:
    cdef ControlHeader *header
    cdef readonly str path

cdef void shape_of(object layout, RowShape *shape)
cdef char *map_file(int fd, uint64_t length, bint writable, str path) except NULL


cdef inline uint64_t page_up(uint64_t value) noexcept nogil:
    return (value + PAGE - 1) & ~(<uint64_t>PAGE - 1)


cdef inline IndexHeader *index_header(Shard *shard) noexcept nogil:
    return <IndexHeader *>(shard.entries - sizeof(IndexHeader))


cdef inline uint64_t index_rows_max(uint64_t capacity) noexcept nogil:
    # An index is filled to four fifths.
    return capacity // 10 * 8


cdef inline uint64_t rows_room(Shard *shard) noexcept nogil:
    # New rows that fit: the index may be filled to nine tenths with entries that are marked removed.
    cdef SegmentHeader *header = <SegmentHeader *>shard.base
    cdef uint64_t indexed = header.rows_live + header.rows_dead
    cdef uint64_t marked = indexed + index_header(shard).removed
    cdef uint64_t rows = header.rows_capacity - header.rows_used + header.rows_free
    cdef uint64_t rows_max = index_rows_max(shard.capacity)
    if indexed >= rows_max or marked >= shard.capacity // 10 * 9:
        return 0
    return min(rows, min(rows_max - indexed, shard.capacity // 10 * 9 - marked))


cdef inline uint32_t load_u32(const char *at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return value


cdef inline void store_u32(char *at, uint32_t value) noexcept nogil:
    memcpy(at, &value, 4)


cdef inline int64_t load_i64(const char *at) noexcept nogil:
    cdef int64_t value
    memcpy(&value, at, 8)
    return value


cdef inline void store_i64(char *at, int64_t value) noexcept nogil:
    memcpy(at, &value, 8)


cdef inline uint64_t first_slot(uint32_t tag, uint64_t capacity) noexcept nogil:
    # The first slot of a cache line: a probe then looks at all of that line before it misses another. Scales the tag to the
    # number of lines instead of taking a remainder, so that it can be any number (Lemire, "A fast alternative to the modulo
    # reduction", 2016). Lines rise with tags, so a rebuild that walks the old index in order writes the new one in order.
    return (<uint64_t>tag * (capacity // LINE_ENTRIES) >> 32) * LINE_ENTRIES


cdef inline char *row_at(char *base, SegmentHeader *header, uint64_t row) noexcept nogil:
    return base + header.rows_offset + row * header.row_bytes


cdef inline char *heap_at(char *base, SegmentHeader *header, uint64_t unit) noexcept nogil:
    return base + header.heap_offset + unit * UNIT_BYTES


cdef inline bint key_equals(char *base, SegmentHeader *header, RowShape *shape, const char *row, const char *key, uint64_t key_bytes) noexcept nogil:
    # Safe on a row that is being written: a torn heap reference is checked against the heap before it is followed.
    cdef uint64_t unit
    if not shape.key_in_heap:
        if key_bytes == 8:
            return load_i64(row + shape.key_offset) == load_i64(key)
        return memcmp(row + shape.key_offset, key, key_bytes) == 0
    if load_u32(row + shape.ends_offset) != key_bytes:
        return False
    unit = load_u32(row + ROW_HEAP_UNIT)
    if unit + (key_bytes + UNIT_BYTES - 1) // UNIT_BYTES > header.heap_capacity:
        return False
    return memcmp(heap_at(base, header, unit), key, key_bytes) == 0


cdef inline uint64_t index_step(uint64_t slot, uint64_t capacity) noexcept nogil:
    slot += 1
    return 0 if slot == capacity else slot


cdef inline uint32_t class_of(uint64_t units) noexcept nogil:
    # Block sizes: each number of units up to 16, then four steps to each doubling (so at most a fifth is slack).
    cdef uint32_t power
    if units <= 16:
        return <uint32_t>units - 1 if units else 0
    power = 63 - __builtin_clzll(units - 1)  # 2 ** power < units <= 2 ** (power + 1)
    return 16 + (power - 4) * 4 + <uint32_t>((units - 1 - (<uint64_t>1 << power)) >> (power - 2))


cdef inline uint64_t class_units(uint32_t heap_class) noexcept nogil:
    cdef uint32_t power
    if heap_class < 16:
        return heap_class + 1
    power = (heap_class - 16) // 4 + 4
    return (<uint64_t>1 << power) + ((<uint64_t>(heap_class - 16) % 4 + 1) << (power - 2))


cdef inline uint64_t block_units(uint64_t used_bytes) noexcept nogil:
    # What a block of so many bytes takes: 0 for an empty one.
    if used_bytes == 0:
        return 0
    return class_units(class_of((used_bytes + UNIT_BYTES - 1) // UNIT_BYTES))



cdef inline const char *key_of(char *base, SegmentHeader *header, RowShape *shape, const char *row, uint64_t *key_bytes) noexcept nogil:
    # The key of a row that is at rest.
    if shape.key_in_heap:
        key_bytes[0] = load_u32(row + shape.ends_offset)
        return heap_at(base, header, load_u32(row + ROW_HEAP_UNIT))
    key_bytes[0] = shape.key_bytes
    return row + shape.key_offset


cdef inline uint64_t hash_key(RowShape *shape, const char *key, uint64_t key_bytes) noexcept nogil:
    if shape.key_bytes == 8:
        return hash_int64(load_i64(key))
    return hash_bytes(key, key_bytes)
