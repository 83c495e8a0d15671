"""The write kernel: a batch of columns in, last writer wins by event time.

``write_rows`` cannot fail: there is room for what it writes, or ``Room`` has seen to it. Block by block, column after column is laid
into row images in the cache; the rows are found in a pipeline, so that cache misses overlap, and each takes its image under its
sequence lock. Invariant: an older event never changes a row; a row's bytes change only between begin_change and end_change.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from featurestore_client.tables.keys cimport ROWS_UNDER_GIL, KeyBatch, key_at, shard_of
from featurestore.store.fixed_batch cimport FixedBatch
from featurestore.store.mutation cimport (
    DISTANCE, find_row, give_block, insert_entry, prefetch_entry, prefetch_row, take_block, take_row
)
from featurestore.store.room cimport Room, takes_fixed
from featurestore.store.source cimport Source, SourceColumn, block_bytes_after, keys_of, source_of
from featurestore.yielding cimport let_go
from featurestore_client.tables.reader cimport Snapshot
from featurestore_client.tables.segment cimport (
    ROW_EVENT, ROW_HEAP_BYTES, ROW_HEAP_UNIT, ROW_SEQ, ROW_WRITTEN, RowShape, SegmentHeader, Shard, begin_change, block_units, end_change,
    heap_at, load_i64, load_u32, prefetch_read, prefetch_write, row_at, store_i64, store_u32,
)

cdef enum:
    BLOCK = 128                   # rows whose images are made at once; they fit in the second-level cache
    YIELD_ROWS = 24               # after so many the thread lets go of its core: some ten microseconds, where it would have it for milliseconds
    COLUMNS_AHEAD = 4             # a column's part of a block is a few lines: too short for the processor to foresee
    IMAGE_BYTES_MAX = 128 << 10   # of a block; wider rows make smaller blocks


cdef void fill_images(Source source, RowShape *shape, char *images, uint64_t image_bytes, Py_ssize_t start, Py_ssize_t count) noexcept nogil:
    # An image is a row's bitmap words and fixed-width values. Column by column: each source is read in order.
    cdef uint32_t k, bit, word
    cdef Py_ssize_t j
    cdef SourceColumn *column
    cdef char *target
    cdef const char *value
    cdef uint32_t head = 4 * shape.bitmap_words
    for j in range(count):
        memset(images + j * image_bytes, 0, head)
    for k in range(source.column_count):
        column = &source.columns[k]
        if count > 1 and k + COLUMNS_AHEAD < source.column_count:  # of one row the values lie side by side in its message
            value = column[COLUMNS_AHEAD].data + start * column[COLUMNS_AHEAD].width
            for j in range(0, count * column[COLUMNS_AHEAD].width, 64):
                prefetch_read(value + j)
        if column.offsets == NULL:
            target = images + head + column.target
            value = column.data + start * column.width
            if column.width == 4:
                for j in range(count):
                    memcpy(target + j * image_bytes, value + j * 4, 4)
            elif column.width == 8:
                for j in range(count):
                    memcpy(target + j * image_bytes, value + j * 8, 8)
            else:
                for j in range(count):
                    memcpy(target + j * image_bytes, value + j * column.width, column.width)
        if column.validity != NULL:
            bit = column.bit
            for j in range(count):
                if not column.validity[(start + j) // 8] >> ((start + j) % 8) & 1:
                    word = 4 * (bit // 32)
                    store_u32(images + j * image_bytes + word, load_u32(images + j * image_bytes + word) | (<uint32_t>1 << (bit % 32)))
                    if column.offsets == NULL:
                        memcpy(images + j * image_bytes + head + column.target, column.empty, column.width)


cdef uint64_t gather_block(
    Source source, RowShape *shape, Py_ssize_t i, char *base, SegmentHeader *header, const char *old_row, const char *key,
    uint64_t key_bytes, char *block, uint32_t *ends,
) noexcept nogil:
    # The strings of row i as they will be: the key, what is written, and of the old row what is not. Returns their bytes.
    cdef uint32_t part, start, end
    cdef uint64_t used = 0, length
    cdef SourceColumn *column
    cdef const char *value
    cdef const char *old_block = NULL
    if old_row != NULL:
        old_block = heap_at(base, header, load_u32(old_row + ROW_HEAP_UNIT))
    for part in range(shape.parts):
        column = source.part_columns[part]
        value = NULL
        length = 0
        if part == 0 and shape.key_in_heap:
            value, length = key, key_bytes
        elif column != NULL:
            if column.validity == NULL or column.validity[i // 8] >> (i % 8) & 1:
                value = column.data + column.offsets[i]
                length = column.offsets[i + 1] - column.offsets[i]
        elif old_row != NULL:
            start = load_u32(old_row + shape.ends_offset + 4 * (part - 1)) if part else 0
            end = load_u32(old_row + shape.ends_offset + 4 * part)
            value, length = old_block + start, end - start
        if length:
            memcpy(block + used, value, length)
        used += length
        ends[part] = <uint32_t>used
    return used


cdef void apply_row(
    Snapshot snapshot, Source source, Shard *shard, const char *image, Py_ssize_t i, uint32_t tag, const char *key, uint64_t key_bytes,
    int64_t event, int64_t now, char *block, uint32_t *ends, uint64_t *counts,
) noexcept nogil:
    cdef char *base = shard.base
    cdef SegmentHeader *header = <SegmentHeader *>base
    cdef RowShape *shape = &snapshot.shape
    cdef uint64_t slot, number = 0, new_bytes = 0, new_unit = 0, old_unit = 0, old_bytes = 0
    cdef uint32_t k, word
    cdef int64_t stored
    cdef bint fresh = False, alive, strings
    cdef char *row = find_row(shard, shape, tag, key, key_bytes, &slot)
    if row != NULL:
        stored = load_i64(row + ROW_EVENT)
        alive = not load_u32(row + shape.bitmap_offset) & 1
        if event < stored:
            counts[3] += 1
            return
        if not alive:
            counts[0] += 1
            header.rows_dead -= 1
            header.rows_live += 1
        elif event == stored:
            counts[2] += 1
        else:
            counts[1] += 1
        if shape.parts:
            old_unit, old_bytes = load_u32(row + ROW_HEAP_UNIT), load_u32(row + ROW_HEAP_BYTES)
    else:
        fresh = True
        alive = False
        number = take_row(base, header)
        row = row_at(base, header, number)
        header.rows_live += 1
        counts[0] += 1
        for k in range(0, shape.row_bytes, 64):
            prefetch_write(row + shape.row_bytes + k)  # where the shard's next new row will lie, most likely
    strings = shape.parts and (source.strings or not alive)
    if strings:
        new_bytes = gather_block(source, shape, i, base, header, row if alive else NULL, key, key_bytes, block, ends)
        new_unit = old_unit
        if fresh or block_units(new_bytes) != block_units(old_bytes):
            new_unit = take_block(base, header, new_bytes) if new_bytes else 0
    begin_change(row + ROW_SEQ)
    store_i64(row + ROW_EVENT, event)
    store_i64(row + ROW_WRITTEN, now)
    if not alive:
        if not shape.key_in_heap:
            memcpy(row + shape.key_offset, key, key_bytes)
        memcpy(row + shape.bitmap_offset, snapshot.empty_row + shape.bitmap_offset, shape.row_bytes - shape.bitmap_offset)
    for k in range(shape.bitmap_words):
        word = load_u32(row + shape.bitmap_offset + 4 * k) & ~source.supplied[k]
        store_u32(row + shape.bitmap_offset + 4 * k, word | load_u32(image + 4 * k))
    for k in range(source.run_count):
        memcpy(row + source.runs[k].target, image + 4 * shape.bitmap_words + source.runs[k].source, source.runs[k].length)
    if strings:
        memcpy(heap_at(base, header, new_unit), block, new_bytes)
        store_u32(row + ROW_HEAP_UNIT, <uint32_t>new_unit)
        store_u32(row + ROW_HEAP_BYTES, <uint32_t>new_bytes)
        memcpy(row + shape.ends_offset, ends, 4 * shape.parts)
    end_change(row + ROW_SEQ)
    if fresh:
        insert_entry(shard, tag, number)
    elif strings and block_units(new_bytes) != block_units(old_bytes):
        give_block(base, header, old_unit, old_bytes)


cdef class Beginning:
    """What is to be done when a write can no longer fail, and no other can come between. What it raises ends the write."""

    cpdef int begin(self) except -1:
        """Does it; called once, before the first row is written."""
        return 0


cdef tuple write_fitting(Snapshot snapshot, FixedBatch batch, int64_t now, Beginning beginning):
    """Writes the batch where the shards of its keys have room; returns as ``write_rows``. Else None, and nothing was begun."""
    cdef KeyBatch keys
    cdef Source source
    if batch.layout.layout is not snapshot.layout:
        return None
    keys = keys_of(batch)
    if not takes_fixed(snapshot, keys):
        return None
    source = source_of(batch)
    beginning.begin()
    return write_rows(snapshot, keys, source, None, now)


cpdef tuple write_rows(Snapshot snapshot, KeyBatch keys, Source source, Room room, int64_t now):
    """Writes a prepared batch, for which room was committed. Returns (rows, inserted, updated, equal, older).

    ``room`` is None where it is known that there is room without.
    """
    cdef uint64_t counts[4]
    cdef RowShape *shape = &snapshot.shape
    cdef uint64_t image_bytes = 4 * shape.bitmap_words + shape.values_bytes
    cdef Py_ssize_t block_rows = max(1, min(keys.rows, <Py_ssize_t>BLOCK, <Py_ssize_t>(IMAGE_BYTES_MAX // max(image_bytes, 1))))
    cdef uint64_t longest = 0
    cdef char *block = NULL
    cdef uint32_t *ends = NULL
    cdef char *images = <char *>malloc(block_rows * image_bytes)
    memset(counts, 0, sizeof(counts))
    if images == NULL:
        raise MemoryError
    try:
        if shape.parts:
            ends = <uint32_t *>malloc(4 * shape.parts)
            with nogil:
                longest = longest_block(snapshot, keys, source)
            block = <char *>malloc(max(longest, 1))
            if ends == NULL or block == NULL:
                raise MemoryError
        if room is None and keys.rows <= ROWS_UNDER_GIL:
            write_images(snapshot, keys, source, images, block_rows, now, block, ends, counts)
        elif room is None:
            with nogil:
                write_images(snapshot, keys, source, images, block_rows, now, block, ends, counts)
        else:
            room.count_ahead()
            with nogil:
                room.begin_ahead()
                write_images(snapshot, keys, source, images, block_rows, now, block, ends, counts)
                room.end_ahead()
            room.memory.give(room.ahead_bytes)  # what could not be committed
        return keys.rows, counts[0], counts[1], counts[2], counts[3]
    finally:
        free(images)
        free(block)
        free(ends)


cdef void write_images(
    Snapshot snapshot, KeyBatch keys, Source source, char *images, Py_ssize_t block_rows, int64_t now, char *block,
    uint32_t *ends, uint64_t *counts,
) noexcept nogil:
    cdef RowShape *shape = &snapshot.shape
    cdef uint64_t image_bytes = 4 * shape.bitmap_words + shape.values_bytes
    cdef Py_ssize_t i, j
    cdef uint64_t key_hash, key_bytes
    cdef const char *key
    cdef Shard *shard
    for i in range(-2 * DISTANCE, keys.rows):
        prefetch_entry(snapshot, keys, i + 2 * DISTANCE)
        prefetch_row(snapshot, keys, i + DISTANCE, shape.row_bytes)
        if i < 0:
            continue
        if i % YIELD_ROWS == YIELD_ROWS - 1:
            let_go()
        j = i % block_rows
        if j == 0:
            fill_images(source, shape, images, image_bytes, i, min(block_rows, keys.rows - i))
        key_hash = keys.hashes[i]
        key = key_at(keys, i, &key_bytes)
        shard = &snapshot.shards[shard_of(key_hash, snapshot.shard_bits)]
        apply_row(
            snapshot, source, shard, images + j * image_bytes, i, <uint32_t>key_hash, key, key_bytes,
            load_i64(source.events + i * source.event_step), now, block, ends, counts,
        )


cdef uint64_t longest_block(Snapshot snapshot, KeyBatch keys, Source source) noexcept nogil:
    # The strings of the longest row of the batch, those that are kept among them.
    cdef Py_ssize_t i
    cdef uint32_t part
    cdef uint64_t longest = 0, key_bytes, slot
    cdef const char *key
    cdef char *row
    cdef bint keeps = False
    for part in range(snapshot.shape.key_in_heap, snapshot.shape.parts):
        if source.part_columns[part] == NULL:
            keeps = True
    for i in range(keys.rows):
        key = key_at(keys, i, &key_bytes)
        row = NULL
        if keeps:
            row = find_row(
                &snapshot.shards[shard_of(keys.hashes[i], snapshot.shard_bits)], &snapshot.shape, <uint32_t>keys.hashes[i],
                key, key_bytes, &slot,
            )
        longest = max(longest, block_bytes_after(source, &snapshot.shape, i, row, key_bytes))
    return longest
