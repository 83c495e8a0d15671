"""Deletes and reclaims rows.

A delete leaves the row in place, dead, with the event time of the delete: within the delete window an older event that comes late
finds it and cannot bring the row back. ``reclaim_rows`` later takes dead rows whose window has passed, and rows older than their
view's retention, out of the index and hands their memory back. Invariant: a row is in the free list only after its index entry
is gone and its bytes are marked dead under its sequence lock, so a reader that still holds the entry finds nobody there.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from featurestore_client.tables.keys cimport KeyBatch, address_of, key_at, shard_of
from featurestore.store.mutation cimport find_row, give_block, insert_entry, remove_entry, take_block, take_row
from featurestore_client.tables.reader cimport Snapshot
from featurestore_client.tables.segment cimport (
    ROW_EVENT, ROW_FREE, ROW_HEAP_BYTES, ROW_HEAP_UNIT, ROW_SEQ, ROW_WRITTEN, RowShape, SegmentHeader, Shard, begin_change, block_units,
    end_change, hash_key, heap_at, key_of, load_i64, load_u32, row_at, store_i64, store_u32,
)


cdef void bury(Snapshot snapshot, char *base, char *row, bint fresh, const char *key, uint64_t key_bytes, int64_t event, int64_t now) noexcept nogil:
    # Makes a row dead: of its heap block only the key is left.
    cdef SegmentHeader *header = <SegmentHeader *>base
    cdef RowShape *shape = &snapshot.shape
    cdef uint64_t old_unit = 0, old_bytes = 0, new_unit = 0, new_bytes = 0
    cdef uint32_t part
    if shape.parts:
        if not fresh:
            old_unit, old_bytes = load_u32(row + ROW_HEAP_UNIT), load_u32(row + ROW_HEAP_BYTES)
        if shape.key_in_heap:
            new_bytes = key_bytes
        new_unit = old_unit
        if fresh or block_units(new_bytes) != block_units(old_bytes):
            new_unit = take_block(base, header, new_bytes) if new_bytes else 0
    begin_change(row + ROW_SEQ)
    store_i64(row + ROW_EVENT, event)
    store_i64(row + ROW_WRITTEN, now)
    if fresh and not shape.key_in_heap:
        memcpy(row + shape.key_offset, key, key_bytes)
    memcpy(row + shape.bitmap_offset, snapshot.empty_row + shape.bitmap_offset, shape.row_bytes - shape.bitmap_offset)
    store_u32(row + shape.bitmap_offset, load_u32(row + shape.bitmap_offset) | 1)
    if shape.parts:
        memcpy(heap_at(base, header, new_unit), key, new_bytes)
        store_u32(row + ROW_HEAP_UNIT, <uint32_t>new_unit)
        store_u32(row + ROW_HEAP_BYTES, <uint32_t>new_bytes)
        for part in range(shape.parts):
            store_u32(row + shape.ends_offset + 4 * part, <uint32_t>new_bytes)
    end_change(row + ROW_SEQ)
    if shape.parts and not fresh and block_units(new_bytes) != block_units(old_bytes):
        give_block(base, header, old_unit, old_bytes)


def delete_rows(Snapshot snapshot, KeyBatch keys, event_timestamps_us, int64_t now):
    """Deletes a prepared batch. Returns (deleted, absent, older)."""
    cdef const int64_t *events = <const int64_t *>address_of(event_timestamps_us)
    cdef Py_ssize_t event_step = 0 if len(event_timestamps_us) == 1 else 1
    cdef Py_ssize_t i
    cdef uint64_t deleted = 0, absent = 0, older = 0, key_hash, key_bytes, slot, number
    cdef int64_t event, stored
    cdef const char *key
    cdef Shard *shard
    cdef char *base
    cdef char *row
    cdef SegmentHeader *header
    with nogil:
        for i in range(keys.rows):
            event = events[i * event_step]
            key_hash = keys.hashes[i]
            key = key_at(keys, i, &key_bytes)
            shard = &snapshot.shards[shard_of(key_hash, snapshot.shard_bits)]
            base = shard.base
            header = <SegmentHeader *>base
            row = find_row(shard, &snapshot.shape, <uint32_t>key_hash, key, key_bytes, &slot)
            if row == NULL:
                absent += 1
                number = take_row(base, header)
                bury(snapshot, base, row_at(base, header, number), True, key, key_bytes, event, now)
                insert_entry(shard, <uint32_t>key_hash, number)
                header.rows_dead += 1
                continue
            stored = load_i64(row + ROW_EVENT)
            if load_u32(row + snapshot.shape.bitmap_offset) & 1:
                absent += 1
                if event > stored:
                    begin_change(row + ROW_SEQ)
                    store_i64(row + ROW_EVENT, event)
                    store_i64(row + ROW_WRITTEN, now)
                    end_change(row + ROW_SEQ)
            elif event < stored:
                older += 1
            else:
                deleted += 1
                bury(snapshot, base, row, False, key, key_bytes, event, now)
                header.rows_live -= 1
                header.rows_dead += 1
    return deleted, absent, older


cdef bint reclaim_row(Snapshot snapshot, Shard *shard, uint64_t number) noexcept nogil:
    cdef char *base = shard.base
    cdef SegmentHeader *header = <SegmentHeader *>base
    cdef RowShape *shape = &snapshot.shape
    cdef char *row = row_at(base, header, number)
    cdef char *found
    cdef const char *key
    cdef uint64_t key_bytes, slot, unit = 0, used_bytes = 0
    cdef bint dead = load_u32(row + shape.bitmap_offset) & 1
    if shape.parts:
        unit, used_bytes = load_u32(row + ROW_HEAP_UNIT), load_u32(row + ROW_HEAP_BYTES)
    key = key_of(base, header, shape, row, &key_bytes)
    found = find_row(shard, shape, <uint32_t>hash_key(shape, key, key_bytes), key, key_bytes, &slot)
    if found != row:
        return False
    remove_entry(shard, slot)
    begin_change(row + ROW_SEQ)
    store_i64(row + ROW_EVENT, <int64_t>header.row_free_first)
    store_i64(row + ROW_WRITTEN, ROW_FREE)
    store_u32(row + shape.bitmap_offset, load_u32(row + shape.bitmap_offset) | 1)
    if shape.parts:
        store_u32(row + ROW_HEAP_BYTES, 0)
    end_change(row + ROW_SEQ)
    give_block(base, header, unit, used_bytes)
    header.row_free_first = number + 1
    header.rows_free += 1
    if dead:
        header.rows_dead -= 1
    else:
        header.rows_live -= 1
    return True


def reclaim_rows(Snapshot snapshot, int shard, uint64_t first_row, uint64_t row_count, int64_t retained_from, int64_t deleted_from):
    """Looks at ``row_count`` rows of a shard from ``first_row`` on, and frees those with an event time before ``retained_from`` and
    those deleted before ``deleted_from`` (us). Returns (freed rows, row to go on from; 0 at the end of the shard)."""
    cdef Shard *place = &snapshot.shards[shard]
    cdef char *base = place.base
    cdef SegmentHeader *header = <SegmentHeader *>base
    cdef uint64_t number = first_row, end = min(first_row + row_count, header.rows_used), freed = 0
    cdef char *row
    with nogil:
        while number < end:
            row = row_at(base, header, number)
            if load_i64(row + ROW_WRITTEN) != ROW_FREE:
                if load_u32(row + snapshot.shape.bitmap_offset) & 1:
                    if load_i64(row + ROW_WRITTEN) < deleted_from:
                        freed += reclaim_row(snapshot, place, number)
                elif load_i64(row + ROW_EVENT) < retained_from:
                    freed += reclaim_row(snapshot, place, number)
            number += 1
    return freed, 0 if number >= header.rows_used else number
