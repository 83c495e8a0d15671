"""Goes over the rows of a shard, in the order in which they lie, while its writer writes: for copying a whole table.

Works on one ``Snapshot``: every row that was there when the scan began is met once, unless it has been reclaimed since; of those
that came later some are. Each is looked at under its sequence lock, as readers do. Invariant: what is returned of a row was there,
all of it, at one instant.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

import numpy as np

from featurestore_client.errors import UnavailableError
from featurestore_client.tables.columns import VarColumn

from featurestore_client.tables.reader cimport Snapshot
from featurestore_client.tables.segment cimport (
    ROW_EVENT, ROW_FREE, ROW_HEAP_UNIT, ROW_SEQ, ROW_WRITTEN, UNIT_BYTES, RowShape, SegmentHeader, Shard, atomic_fence_acquire,
    atomic_load_acquire_u32, atomic_load_relaxed_u32, heap_at, load_i64, load_u32, row_at,
)

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from *:
    int __builtin_ctz(unsigned int) nogil

cdef enum:
    YIELDS_MAX = 1_000_000   # a writer that holds a row for so long has died, or was stopped
    NO_MEMORY = -1
    STUCK = -2

cdef struct Keys:
    char *data
    uint64_t used
    uint64_t capacity


cdef int add_key(Shard *shard, RowShape *shape, const char *row, Keys *keys) noexcept nogil:
    # Safe on a row that is being written: a torn heap reference is held against the heap before it is followed.
    cdef SegmentHeader *header = <SegmentHeader *>shard.base
    cdef uint64_t key_bytes = shape.key_bytes, unit
    cdef const char *key = row + shape.key_offset
    cdef char *larger
    if shape.key_in_heap:
        key_bytes = load_u32(row + shape.ends_offset)
        unit = load_u32(row + ROW_HEAP_UNIT)
        if unit + (key_bytes + UNIT_BYTES - 1) // UNIT_BYTES > header.heap_capacity:
            return 0
        key = heap_at(shard.base, header, unit)
    if keys.used + key_bytes > keys.capacity:
        larger = <char *>realloc(keys.data, 2 * (keys.used + key_bytes))
        if larger == NULL:
            return NO_MEMORY
        keys.data, keys.capacity = larger, 2 * (keys.used + key_bytes)
    memcpy(keys.data + keys.used, key, key_bytes)
    keys.used += key_bytes
    return 0


cdef int add_row(Shard *shard, RowShape *shape, const char *row, Keys *keys, int64_t *event, uint8_t *dead) noexcept nogil:
    # 1: there is a row, and its key was added; 0: there is none; else what went wrong.
    cdef uint32_t sequence
    cdef uint64_t before = keys.used
    cdef int64_t written
    cdef int outcome
    for _ in range(YIELDS_MAX):
        sequence = atomic_load_acquire_u32(row + ROW_SEQ)  # pairs with end_change
        if sequence == 0:
            return 0
        if sequence & 1:
            sched_yield()
            continue
        written, event[0], dead[0] = load_i64(row + ROW_WRITTEN), load_i64(row + ROW_EVENT), load_u32(row + shape.bitmap_offset) & 1
        keys.used = before
        outcome = add_key(shard, shape, row, keys) if written != ROW_FREE else 0
        if outcome < 0:
            return outcome
        atomic_fence_acquire()  # pairs with the release fence of begin_change
        if atomic_load_relaxed_u32(row + ROW_SEQ) == sequence:
            return written != ROW_FREE
    return STUCK


def scan_rows(Snapshot snapshot not None, int shard, uint64_t first, uint64_t count):
    """Looks at ``count`` places of a shard from ``first`` on.

    Returns the keys of the rows there, a column a join key; their event times (us); which of them are dead, a byte each; and the
    place to go on from, 0 at the end of the shard. Raises UnavailableError where a row's writer does not let go of it.
    """
    cdef Shard *place = &snapshot.shards[shard]
    cdef SegmentHeader *header = <SegmentHeader *>place.base
    cdef uint64_t number = first, end = min(first + count, header.rows_used)
    cdef Py_ssize_t found = 0
    cdef int outcome = 0
    cdef Keys keys
    events = np.empty(max(end - first, 0) if end > first else 0, np.int64)
    deads = np.empty(len(events), np.uint8)
    offsets = np.zeros(len(events) + 1, np.int32)
    cdef int64_t[::1] event_at = events
    cdef uint8_t[::1] dead_at = deads
    cdef int32_t[::1] offset_at = offsets
    keys.used, keys.capacity = 0, 1 << 16
    keys.data = <char *>malloc(keys.capacity)
    if keys.data == NULL:
        raise MemoryError
    try:
        with nogil:
            while number < end and outcome >= 0:
                outcome = add_row(
                    place, &snapshot.shape, row_at(place.base, header, number), &keys, &event_at[found], &dead_at[found]
                )
                if outcome == 1:
                    found += 1
                    offset_at[found] = <int32_t>keys.used
                number += 1
        if outcome == NO_MEMORY:
            raise MemoryError
        if outcome == STUCK:
            raise UnavailableError("a row stays half-written: its writer was stopped, or has died")
        data = PyBytes_FromStringAndSize(keys.data, keys.used)
    finally:
        free(keys.data)
    columns = split_keys(snapshot.layout.key_scalars, data, offsets[: found + 1])
    return columns, events[:found], deads[:found], 0 if number >= header.rows_used else number


def count_nulls(Snapshot snapshot not None):
    """How many live rows have each bit of the bitmap set, in a table that nobody writes to."""
    cdef RowShape *shape = &snapshot.shape
    cdef Shard *place
    cdef SegmentHeader *header
    cdef uint64_t number
    cdef uint32_t word, bits
    cdef const char *row
    counts = np.zeros(32 * shape.bitmap_words, np.int64)
    cdef int64_t[::1] count_of = counts
    for shard in range(len(snapshot.segments)):
        place = &snapshot.shards[shard]
        header = <SegmentHeader *>place.base
        with nogil:
            for number in range(header.rows_used):
                row = row_at(place.base, header, number)
                if load_i64(row + ROW_WRITTEN) == ROW_FREE or load_u32(row + shape.bitmap_offset) & 1:
                    continue
                for word in range(shape.bitmap_words):
                    bits = load_u32(row + shape.bitmap_offset + 4 * word)
                    while bits:
                        count_of[32 * word + __builtin_ctz(bits)] += 1
                        bits &= bits - 1
    return counts.tolist()


def split_keys(scalars, bytes data, offsets):
    """The columns that keys were made from: what ``key_batch`` does, the other way round."""
    cdef Py_ssize_t i, rows = len(offsets) - 1
    cdef uint32_t length
    cdef uint64_t total
    cdef const char *source = PyBytes_AS_STRING(data)
    cdef int32_t[::1] offset_at = offsets
    cdef int64_t[::1] at, numbers
    cdef int32_t[::1] ends
    cdef char *target
    if "string" not in scalars:
        matrix = np.frombuffer(data, np.int64).reshape(rows, len(scalars))
        return [np.ascontiguousarray(matrix[:, column]) for column in range(len(scalars))]
    if len(scalars) == 1:
        return [VarColumn(np.frombuffer(data, np.uint8), offsets)]
    columns = []
    at = offsets[:-1].astype(np.int64)
    for scalar in scalars:
        if scalar == "int64":
            column = np.empty(rows, np.int64)
            numbers = column
            for i in range(rows):
                memcpy(&numbers[i], source + at[i], 8)
                at[i] += 8
            columns.append(column)
            continue
        texts = PyBytes_FromStringAndSize(NULL, len(data))
        target = PyBytes_AS_STRING(texts)
        column_ends = np.zeros(rows + 1, np.int32)
        ends = column_ends
        total = 0
        for i in range(rows):
            memcpy(&length, source + at[i], 4)
            memcpy(target + total, source + at[i] + 4, length)
            at[i] += 4 + length
            total += length
            ends[i + 1] = <int32_t>total
        columns.append(VarColumn(np.frombuffer(texts, np.uint8)[:total], column_ends))
    return columns
