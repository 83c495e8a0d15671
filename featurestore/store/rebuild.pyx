"""New generations: a larger index for a segment, and a segment copied into one of another layout or one without its holes.

Readers go on with the old segment until the table publishes the new one. Invariant: the old segment is only read.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from featurestore.store.memory cimport Memory
from featurestore.store.mutation cimport insert_entry, take_block, take_row
from featurestore_client.tables.segment cimport (
    ENTRY_FIRST_ROW, ROW_EVENT, ROW_FREE, ROW_HEAP_BYTES, ROW_HEAP_UNIT, ROW_SEQ, ROW_WRITTEN, Index, IndexHeader, RowShape, Segment,
    SegmentHeader, Shard, block_units, hash_key, heap_at, key_of, load_i64, load_u32, row_at, shape_of, store_i64, store_u32,
)

cdef enum:
    WRITTEN_ONCE = 2             # the sequence number of a row that is at rest and holds something

cdef struct Move:                # one feature, from the old layout to the new
    uint32_t old_bit
    uint32_t new_bit
    uint32_t old_offset
    uint32_t new_offset
    uint32_t width               # 0 for strings
    uint32_t old_part
    uint32_t new_part


def reindex(Segment old, Index index):
    """Fills an empty, larger index with the entries of a segment's: they carry all it takes, no row is looked at.

    Slots rise with tags in both, so that both are walked in order.
    """
    cdef Shard source = old.shard
    cdef Shard target
    cdef uint64_t slot, entry
    target.base = source.base
    target.entries = <char *>index.header + sizeof(IndexHeader)
    target.capacity = index.header.capacity
    with nogil:
        for slot in range(source.capacity):
            entry = (<uint64_t *>source.entries)[slot]
            if <uint32_t>entry >= ENTRY_FIRST_ROW:
                insert_entry(&target, <uint32_t>(entry >> 32), <uint32_t>entry - ENTRY_FIRST_ROW)


def size_of_live(Segment old, old_layout):
    """(rows, heap units) that the live and dead rows of a segment take, without its holes."""
    cdef char *base = old.shard.base
    cdef SegmentHeader *header = <SegmentHeader *>base
    cdef uint64_t number, units = 0, rows = 0
    cdef RowShape shape
    cdef char *row
    shape_of(old_layout, &shape)
    with nogil:
        for number in range(header.rows_used):
            row = row_at(base, header, number)
            if load_i64(row + ROW_WRITTEN) != ROW_FREE:
                rows += 1
                if shape.parts:
                    units += block_units(load_u32(row + ROW_HEAP_BYTES))
    return rows, units


def convert(Memory memory, Segment old, old_layout, Segment new, new_layout):
    """Copies each row into an empty segment of another layout (or the same, leaving holes behind).

    Features are matched by name and type; one that is new is null, one that is gone is left behind. A row that was being written
    when its writer died (its sequence number is odd, or 0 where it never was whole) is left behind too. Returns how many of those had
    been whole before.
    """
    cdef char *old_base = old.shard.base
    cdef char *new_base = new.shard.base
    cdef SegmentHeader *source = <SegmentHeader *>old_base
    cdef SegmentHeader *target = <SegmentHeader *>new_base
    cdef RowShape old_shape, new_shape
    cdef uint64_t number, taken, unit, block_used, key_bytes
    cdef uint32_t k, part, start, end, torn = 0
    cdef char *row
    cdef char *fresh
    cdef char *block
    cdef const char *old_block = NULL
    cdef const char *key
    cdef Move *move
    shape_of(old_layout, &old_shape)
    shape_of(new_layout, &new_shape)
    empty = new_layout.empty_row
    cdef const char *empty_row = empty
    pairs = [(old_layout.slot_of[slot.name], slot) for slot in new_layout.slots if slot.name in old_layout.slot_of]
    pairs = [(before, after) for before, after in pairs if before.type == after.type]
    rows, units = size_of_live(old, old_layout)
    memory.commit_rows(new.arena, rows)
    memory.commit_heap(new.arena, min(units, target.heap_capacity))
    cdef uint32_t move_count = len(pairs)
    cdef Move *moves = <Move *>calloc(max(move_count, 1), sizeof(Move))
    cdef Move **move_of_part = <Move **>calloc(max(new_shape.parts, 1), sizeof(Move *))
    if moves == NULL or move_of_part == NULL:
        raise MemoryError
    for k, (before, after) in enumerate(pairs):
        move = &moves[k]
        move.old_bit, move.new_bit = before.bit, after.bit
        move.old_offset, move.new_offset, move.width = before.offset, after.offset, after.type.width_bytes
        if after.type.is_variable:
            move.old_part, move.new_part = before.part, after.part
            move_of_part[after.part] = move
    with nogil:
        for number in range(source.rows_used):
            row = row_at(old_base, source, number)
            if load_i64(row + ROW_WRITTEN) == ROW_FREE:
                continue
            if load_u32(row + ROW_SEQ) & 1 or load_u32(row + ROW_SEQ) == 0:
                torn += load_u32(row + ROW_SEQ) > 1
                continue
            taken = take_row(new_base, target)
            fresh = row_at(new_base, target, taken)
            memcpy(fresh, empty_row, new_shape.row_bytes)
            store_u32(fresh + ROW_SEQ, WRITTEN_ONCE)
            store_i64(fresh + ROW_EVENT, load_i64(row + ROW_EVENT))
            store_i64(fresh + ROW_WRITTEN, load_i64(row + ROW_WRITTEN))
            memcpy(fresh + new_shape.key_offset, row + old_shape.key_offset, new_shape.key_bytes)
            for k in range(move_count):
                move = &moves[k]
                if not load_u32(row + old_shape.bitmap_offset + 4 * (move.old_bit // 32)) >> (move.old_bit % 32) & 1:
                    store_u32(
                        fresh + new_shape.bitmap_offset + 4 * (move.new_bit // 32),
                        load_u32(fresh + new_shape.bitmap_offset + 4 * (move.new_bit // 32)) & ~(<uint32_t>1 << (move.new_bit % 32)),
                    )
                    memcpy(fresh + move.new_offset, row + move.old_offset, move.width)
            if load_u32(row + old_shape.bitmap_offset) & 1:
                store_u32(fresh + new_shape.bitmap_offset, load_u32(fresh + new_shape.bitmap_offset) | 1)
                target.rows_dead += 1
            else:
                target.rows_live += 1
            if old_shape.parts:
                old_block = heap_at(old_base, source, load_u32(row + ROW_HEAP_UNIT))
            if new_shape.parts:
                # Parts in their new order; sized first, as the block is taken by its size.
                block_used = 0
                for part in range(new_shape.parts):
                    block_used += old_part_bytes(&old_shape, row, &new_shape, part, move_of_part, &start)
                unit = take_block(new_base, target, block_used) if block_used else 0
                block = heap_at(new_base, target, unit)
                store_u32(fresh + ROW_HEAP_UNIT, <uint32_t>unit)
                store_u32(fresh + ROW_HEAP_BYTES, <uint32_t>block_used)
                block_used = 0
                for part in range(new_shape.parts):
                    end = old_part_bytes(&old_shape, row, &new_shape, part, move_of_part, &start)
                    if end:  # else there may be no old block
                        memcpy(block + block_used, old_block + start, end)
                    block_used += end
                    store_u32(fresh + new_shape.ends_offset + 4 * part, <uint32_t>block_used)
            key = key_of(new_base, target, &new_shape, fresh, &key_bytes)
            insert_entry(&new.shard, <uint32_t>hash_key(&new_shape, key, key_bytes), taken)
    free(moves)
    free(move_of_part)
    return torn


cdef inline uint32_t old_part_bytes(
    RowShape *old_shape, const char *row, RowShape *new_shape, uint32_t part, Move **move_of_part, uint32_t *start
) noexcept nogil:
    # Where the bytes of a part of the new row lie in the old row's block, and how many they are.
    cdef uint32_t old_part = 0
    if not (part == 0 and new_shape.key_in_heap):
        if move_of_part[part] == NULL:
            start[0] = 0
            return 0
        old_part = move_of_part[part].old_part
    start[0] = load_u32(row + old_shape.ends_offset + 4 * (old_part - 1)) if old_part else 0
    return load_u32(row + old_shape.ends_offset + 4 * old_part) - start[0]
