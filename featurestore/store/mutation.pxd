# What changing a segment is made of: finding a key's row, handing rows and heap blocks out and taking them back. Inline, so that
# room.pyx, writer.pyx and remover.pyx share it at no cost. Only the table's one writer calls any of it; readers may look on at all
# times.

from libc.stdint cimport uint32_t, uint64_t

from featurestore_client.tables.keys cimport KeyBatch, shard_of
from featurestore_client.tables.reader cimport Snapshot, next_candidate
from featurestore_client.tables.segment cimport (
    ENTRY_FIRST_ROW, ENTRY_NEVER_USED, ENTRY_REMOVED, ROW_EVENT, UNIT_BYTES, RowShape, SegmentHeader, Shard,
    atomic_load_acquire_u64, atomic_store_release_u64, class_of, class_units, first_slot, heap_at, index_header, index_step,
    key_equals, load_i64, load_u32, prefetch_read, prefetch_write, row_at, store_u32,
)

cdef enum:
    DISTANCE = 12   # rows between the stages of a pipeline over a batch, as in reader.pyx


cdef inline char *find_row(
    Shard *shard, RowShape *shape, uint32_t tag, const char *key, uint64_t key_bytes, uint64_t *slot
) noexcept nogil:
    # The key's row, live or dead, and its slot in the index; NULL when there is none.
    cdef SegmentHeader *header = <SegmentHeader *>shard.base
    cdef uint32_t code
    cdef char *row
    slot[0] = first_slot(tag, shard.capacity)
    while True:
        code = next_candidate(shard, tag, slot)
        if code == 0:
            return NULL
        row = row_at(shard.base, header, code - ENTRY_FIRST_ROW)
        if key_equals(shard.base, header, shape, row, key, key_bytes):
            return row
        slot[0] = index_step(slot[0], shard.capacity)


cdef inline uint64_t take_row(char *base, SegmentHeader *header) noexcept nogil:
    cdef uint64_t row = header.row_free_first
    if row:
        row -= 1
        header.row_free_first = <uint64_t>load_i64(row_at(base, header, row) + ROW_EVENT)
        header.rows_free -= 1
        return row
    row = header.rows_used
    header.rows_used += 1
    return row


cdef inline void insert_entry(Shard *shard, uint32_t tag, uint64_t row) noexcept nogil:
    # The key is known to be absent, so the first place that is not taken will do. Released: pairs with next_candidate's
    # acquire, so that who finds the entry finds the row behind it whole.
    cdef uint64_t slot = first_slot(tag, shard.capacity)
    cdef uint64_t entry
    while True:
        entry = atomic_load_acquire_u64(shard.entries + slot * 8)
        if <uint32_t>entry < ENTRY_FIRST_ROW:
            break
        slot = index_step(slot, shard.capacity)
    if <uint32_t>entry == ENTRY_REMOVED:
        index_header(shard).removed -= 1
    atomic_store_release_u64(shard.entries + slot * 8, (<uint64_t>tag << 32) | (row + ENTRY_FIRST_ROW))


cdef inline void remove_entry(Shard *shard, uint64_t slot) noexcept nogil:
    # A removed entry keeps the runs that pass through it together; the last of a run needs no mark, nor do marks before it.
    if atomic_load_acquire_u64(shard.entries + index_step(slot, shard.capacity) * 8) != ENTRY_NEVER_USED:
        atomic_store_release_u64(shard.entries + slot * 8, ENTRY_REMOVED)
        index_header(shard).removed += 1
        return
    atomic_store_release_u64(shard.entries + slot * 8, ENTRY_NEVER_USED)
    while True:
        slot = (shard.capacity if slot == 0 else slot) - 1
        if atomic_load_acquire_u64(shard.entries + slot * 8) != ENTRY_REMOVED:
            return
        atomic_store_release_u64(shard.entries + slot * 8, ENTRY_NEVER_USED)
        index_header(shard).removed -= 1


cdef inline uint64_t take_block(char *base, SegmentHeader *header, uint64_t used_bytes) noexcept nogil:
    # The first unit of a block. There is room: room.Room saw to it.
    cdef uint32_t heap_class = class_of((used_bytes + UNIT_BYTES - 1) // UNIT_BYTES)
    cdef uint64_t unit = header.heap_free_first[heap_class]
    if unit:
        unit -= 1
        header.heap_free_first[heap_class] = load_u32(heap_at(base, header, unit))
        header.heap_free -= class_units(heap_class)
        return unit
    unit = header.heap_used
    header.heap_used += class_units(heap_class)
    return unit


cdef inline void give_block(char *base, SegmentHeader *header, uint64_t unit, uint64_t used_bytes) noexcept nogil:
    # The block's row has been changed away from it, so a reader that still copies from it will see that and try again.
    cdef uint32_t heap_class
    if used_bytes == 0:
        return
    heap_class = class_of((used_bytes + UNIT_BYTES - 1) // UNIT_BYTES)
    store_u32(heap_at(base, header, unit), header.heap_free_first[heap_class])
    header.heap_free_first[heap_class] = <uint32_t>(unit + 1)
    header.heap_free += class_units(heap_class)


cdef inline void prefetch_entry(Snapshot snapshot, KeyBatch keys, Py_ssize_t i) noexcept nogil:
    cdef Shard *shard
    if i < keys.rows:
        shard = &snapshot.shards[shard_of(keys.hashes[i], snapshot.shard_bits)]
        prefetch_read(shard.entries + first_slot(<uint32_t>keys.hashes[i], shard.capacity) * 8)


cdef inline void prefetch_row(Snapshot snapshot, KeyBatch keys, Py_ssize_t i, uint32_t row_bytes) noexcept nogil:
    # The first row_bytes of the row that the key's entry names.
    cdef uint64_t slot
    cdef uint32_t code, offset = 0
    cdef Shard *shard
    cdef char *row
    if 0 <= i < keys.rows:
        shard = &snapshot.shards[shard_of(keys.hashes[i], snapshot.shard_bits)]
        slot = first_slot(<uint32_t>keys.hashes[i], shard.capacity)
        code = next_candidate(shard, <uint32_t>keys.hashes[i], &slot)
        if code:
            row = row_at(shard.base, <SegmentHeader *>shard.base, code - ENTRY_FIRST_ROW)
            while offset < row_bytes:
                prefetch_write(row + offset)
                offset += 64
            prefetch_write(row + row_bytes - 1)
