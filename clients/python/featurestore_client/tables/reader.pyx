"""The read kernel: a batch of keys in, one packed buffer out, without a Python object a value and without a lock.

``read_rows`` hashes all keys, then works as a pipeline: while one row is copied, rows further on are being fetched, and the index
entries of rows further still, so that cache misses overlap instead of following one another. Each row is copied under its
sequence lock (atomics.h). Invariant: what is returned of a row was there, all of it, at one instant.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from featurestore_client.errors import NotFoundError, ResourceExhaustedError, UnavailableError
from featurestore_client.clock cimport now_us
from featurestore_client.tables.keys cimport ROWS_UNDER_GIL, KeyBatch, int64_keys, key_at, key_batch, shard_of
from featurestore_client.tables.segment cimport (
    ROW_EVENT, ROW_HEAP_BYTES, ROW_HEAP_UNIT, ROW_SEQ, UNIT_BYTES, Control, Segment, SegmentHeader, atomic_fence_acquire,
    atomic_load_acquire_u32, atomic_load_acquire_u64, atomic_load_relaxed_u32, first_slot, heap_at, key_equals, load_i64, load_u32, prefetch_read, row_at, shape_of, spin_pause,
)

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from *:
    int64_t NEVER_US "INT64_MIN"

cdef enum:
    DISTANCE = 12         # rows between the stages of the pipeline; measured, see docs/decisions/read-pipeline.md
    WINDOW = 64           # rows under way at most: a power of two above 3 x DISTANCE
    BLOCK_BYTES_AHEAD = 512  # of a row's strings are fetched ahead, at most
    COPY_BYTES = 32       # short strings are copied as so many: no call, no branch on their length
    SMALL_ROWS = 256      # batches up to this keep their scratch on the stack
    SPINS_BEFORE_YIELD = 1_000
    SPINS_MAX = 2_000_000   # some 50 ms: a writer that is not at work for so long has died, or was stopped
    PRESENT = 0
    NOT_FOUND = 2
    EXPIRED = 3
    NO_MEMORY = -1
    STUCK = -2
    TOO_MUCH = -3

cdef class Snapshot:
    """The segments of a table at one instant, their layout, the view's TTL (0: none), and the limits of reads.

    Readers hold one while they read; growth makes another.
    """

    def __init__(self, layout, uint64_t schema_id, segments, join_keys, int64_t ttl_us, limits):
        self.ttl_us = ttl_us
        self.join_keys = list(join_keys)
        self.one_int64_key = layout.key_scalars == ("int64",)
        self.key_bytes_max = limits.key_bytes_max
        self.rows_max = limits.batch_rows_max
        self.string_bytes_max = limits.read_string_bytes_max
        self.segments = tuple(segments)
        self.layout = layout
        self.schema_id = schema_id
        self.shard_bits = len(self.segments).bit_length() - 1
        assert 1 << self.shard_bits == len(self.segments), "shards are a power of two"
        shape_of(layout, &self.shape)
        self._empty_row_bytes = layout.empty_row
        self.empty_row = PyBytes_AS_STRING(self._empty_row_bytes)
        self.shards = <Shard *>malloc(len(self.segments) * sizeof(Shard))
        if self.shards == NULL:
            raise MemoryError
        for shard, segment in enumerate(self.segments):
            self.shards[shard] = (<Segment>segment).shard

    def __dealloc__(self):
        free(self.shards)


cdef class Projection:
    """Which features a read copies, and where to: names resolved to runs of bytes, once.

    ``row_bytes``: of one row of the fixed-width features. ``offsets``: of each of them within it. See ``Table.projection``.
    """

    def __init__(self, layout, features, bint columnar, null_bits, null_row_bytes):
        self.layout = layout
        self.features = tuple(features)
        self.columnar = columnar
        self.feature_count = len(self.features)
        self.null_bits = tuple(null_bits) if null_bits is not None else tuple(range(self.feature_count))
        assert len(self.null_bits) == self.feature_count
        self.null_row_bytes = null_row_bytes or (max(self.null_bits, default=0) // 8 + 1)
        slots = [layout.slot_of.get(name) for name in self.features]
        for name, slot in zip(self.features, slots):
            if slot is None:
                raise NotFoundError.of("feature", name, layout.slot_of)
        fixed = [slot for slot in slots if not slot.type.is_variable]
        variable = [slot for slot in slots if slot.type.is_variable]
        self.var_features = tuple(slot.name for slot in variable)
        self.runs = <CopyRun *>malloc(max(len(fixed), 1) * sizeof(CopyRun))
        self.parts = <uint32_t *>malloc(max(len(variable), 1) * 4)
        self.row_bits = <uint32_t *>malloc(max(len(slots), 1) * 4)
        self.answer_bits = <uint32_t *>malloc(max(len(slots), 1) * 4)
        self.mask = <uint32_t *>calloc(layout.bitmap_words, 4)
        if not (self.runs and self.parts and self.row_bits and self.answer_bits and self.mask):
            raise MemoryError
        offsets = []
        cdef CopyRun *last = NULL
        for slot in fixed:
            offsets.append(self.row_bytes)
            if last != NULL and not columnar and last.source + last.length == <uint32_t>slot.offset:
                last.length += slot.type.width_bytes  # next to each other here and there: one copy
            else:
                last = &self.runs[self.run_count]
                self.run_count += 1
                last.source, last.target, last.length = slot.offset, self.row_bytes, slot.type.width_bytes
            self.row_bytes += slot.type.width_bytes
        self.offsets = tuple(offsets)
        for k, slot in enumerate(variable):
            self.parts[k] = slot.part
        self.part_count = len(variable)
        for k, slot in enumerate(slots):
            self.row_bits[k] = slot.bit
            self.answer_bits[k] = self.null_bits[k]
            self.mask[slot.bit // 32] |= <uint32_t>1 << (slot.bit % 32)
        self.touched_from = min([slot.offset for slot in fixed], default=0)
        self.touched_to = max([slot.offset + slot.type.width_bytes for slot in fixed], default=0)

    def __dealloc__(self):
        free(self.runs)
        free(self.parts)
        free(self.row_bits)
        free(self.answer_bits)
        free(self.mask)


@cython.no_gc
@cython.freelist(8)
cdef class RowBatch:
    """The rows that a read found, packed.

    ``values``: the fixed-width features as bytes, in the projection's order and shape (None when ``out`` was given).
    ``var``: (data, int32 offsets) as bytes for each string or bytes feature. ``statuses``: a byte a row, PRESENT 0, NOT_FOUND 2,
    EXPIRED 3 (None when all are PRESENT). ``nulls``: rows x null_row_bytes (None when there is none). ``event_timestamps_us``:
    int64 a row, 0 where there is none (None unless asked for).
    """


cdef struct Gather:                # strings of a batch, row by row, until they are sorted into columns
    char *data                     # COPY_BYTES longer than its capacity
    uint64_t used
    uint64_t capacity
    uint64_t bytes_max
    uint64_t *starts               # of each row's strings in data
    uint32_t *lengths              # rows x parts

cdef struct Target:
    char *values
    uint64_t row_stride            # bytes from a row's value to the next row's; in columnar answers the width of the run
    uint64_t run_factor            # 1, or the number of rows in columnar answers: a column starts after whole columns
    uint8_t *statuses
    uint8_t *nulls                 # made when the first null is met
    int64_t *events
    int64_t expired_before
    bint expired_values
    bint incomplete                # some row is not PRESENT
    Gather strings


cdef inline void copy_run(char *target, const char *source, uint32_t length) noexcept nogil:
    if length == 4:
        memcpy(target, source, 4)
    elif length == 8:
        memcpy(target, source, 8)
    else:
        memcpy(target, source, length)


cdef inline void copy_values(Projection projection, Target *target, Py_ssize_t i, const char *row) noexcept nogil:
    cdef uint32_t k
    cdef CopyRun *run
    if projection.columnar:
        for k in range(projection.run_count):
            run = &projection.runs[k]
            copy_run(target.values + run.target * target.run_factor + i * run.length, row + run.source, run.length)
    else:
        for k in range(projection.run_count):
            run = &projection.runs[k]
            copy_run(target.values + i * target.row_stride + run.target, row + run.source, run.length)


cdef int copy_nulls(Projection projection, Target *target, Py_ssize_t i, Py_ssize_t rows, const char *bitmap, uint32_t words) noexcept nogil:
    cdef uint32_t k, bit, found = 0
    cdef uint8_t *answer
    for k in range(words):
        found |= load_u32(bitmap + 4 * k) & projection.mask[k]
    if target.nulls != NULL:  # a retry may have left bits of a torn copy
        memset(target.nulls + i * projection.null_row_bytes, 0, projection.null_row_bytes)
    if not found:
        return 0
    if target.nulls == NULL:
        target.nulls = <uint8_t *>calloc(rows, projection.null_row_bytes)
        if target.nulls == NULL:
            return NO_MEMORY
    answer = target.nulls + i * projection.null_row_bytes
    for k in range(projection.feature_count):
        bit = projection.row_bits[k]
        if load_u32(bitmap + 4 * (bit // 32)) >> (bit % 32) & 1:
            bit = projection.answer_bits[k]
            answer[bit // 8] |= <uint8_t>(1 << (bit % 8))
    return 0


cdef inline int gather(Gather *strings, const char *data, uint64_t length) noexcept nogil:
    cdef uint64_t capacity
    cdef char *grown
    if length == 0:
        return 0
    if strings.used + length > strings.bytes_max:
        return TOO_MUCH
    if strings.used + length > strings.capacity:
        capacity = 2 * (strings.used + length) + 4096
        grown = <char *>realloc(strings.data, capacity + COPY_BYTES)
        if grown == NULL:
            return NO_MEMORY
        strings.data, strings.capacity = grown, capacity
    memcpy(strings.data + strings.used, data, length)
    strings.used += length
    return 0


cdef int copy_strings(
    Projection projection, Target *target, Py_ssize_t i, char *base, SegmentHeader *header, RowShape *shape, const char *row
) noexcept nogil:
    # Appends the row's strings to the gathered data: those that are neighbours in the block in one copy. 1 when the row is torn:
    # its heap reference leads nowhere.
    cdef Gather *strings = &target.strings
    cdef uint64_t unit = load_u32(row + ROW_HEAP_UNIT), block_bytes = load_u32(row + ROW_HEAP_BYTES)
    cdef uint32_t k, part, start, end, run_start = 0, run_end = 0
    cdef const char *block = heap_at(base, header, unit)
    cdef int outcome
    strings.used = strings.starts[i]
    if unit * UNIT_BYTES + block_bytes > header.heap_capacity * UNIT_BYTES:
        return 1
    for k in range(projection.part_count):
        part = projection.parts[k]
        start = load_u32(row + shape.ends_offset + 4 * (part - 1)) if part else 0
        end = load_u32(row + shape.ends_offset + 4 * part)
        if end < start or end > block_bytes:
            return 1
        strings.lengths[i * projection.part_count + k] = end - start
        if start != run_end:
            outcome = gather(strings, block + run_start, run_end - run_start)
            if outcome:
                return outcome
            run_start = start
        run_end = end
    return gather(strings, block + run_start, run_end - run_start)


cdef void absent_row(Snapshot snapshot, Projection projection, Target *target, Py_ssize_t i, uint8_t status) noexcept nogil:
    cdef uint32_t k
    copy_values(projection, target, i, snapshot.empty_row)
    if target.nulls != NULL:
        memset(target.nulls + i * projection.null_row_bytes, 0, projection.null_row_bytes)
    if projection.part_count:
        target.strings.used = target.strings.starts[i]
        for k in range(projection.part_count):
            target.strings.lengths[i * projection.part_count + k] = 0
    target.statuses[i] = status
    target.incomplete = True


cdef int copy_row(
    Snapshot snapshot, Projection projection, Target *target, Py_ssize_t i, Py_ssize_t rows, char *base, const char *row,
    const char *key, uint64_t key_bytes,
) noexcept nogil:
    # 1: copied (or expired, or deleted). 0: the row is of another key. Negative: an error.
    cdef SegmentHeader *header = <SegmentHeader *>base
    cdef RowShape *shape = &snapshot.shape
    cdef uint32_t first
    cdef uint64_t spins = 0
    cdef int64_t event
    cdef int outcome, torn
    while True:
        first = atomic_load_acquire_u32(row + ROW_SEQ)
        if not first & 1:
            torn = 0
            outcome = 0
            if key_equals(base, header, shape, row, key, key_bytes):
                outcome = 1
                event = load_i64(row + ROW_EVENT)
                target.statuses[i] = PRESENT
                if load_u32(row + shape.bitmap_offset) & 1:
                    event = 0
                    absent_row(snapshot, projection, target, i, NOT_FOUND)
                elif event < target.expired_before and not target.expired_values:
                    absent_row(snapshot, projection, target, i, EXPIRED)
                else:
                    copy_values(projection, target, i, row)
                    torn = copy_nulls(projection, target, i, rows, row + shape.bitmap_offset, shape.bitmap_words)
                    if torn == 0 and projection.part_count:
                        torn = copy_strings(projection, target, i, base, header, shape, row)
                    if event < target.expired_before:
                        target.statuses[i] = EXPIRED
                        target.incomplete = True
                if target.events != NULL:
                    target.events[i] = event
            if torn == NO_MEMORY:
                return NO_MEMORY
            atomic_fence_acquire()
            if atomic_load_relaxed_u32(row + ROW_SEQ) == first:
                return outcome if torn == 0 else TOO_MUCH if torn == TOO_MUCH else STUCK
        spins += 1
        if spins > SPINS_MAX:
            return STUCK
        if spins % SPINS_BEFORE_YIELD == 0:
            sched_yield()
        else:
            spin_pause()


cdef inline void prefetch_row(Projection projection, RowShape *shape, const char *row) noexcept nogil:
    # The lines that copy_row will touch, each once: the head, the values that are read, the ends of strings.
    cdef uint32_t offset = 64
    prefetch_read(row)
    if shape.values_offset > 64:
        prefetch_read(row + shape.values_offset - 1)
    if projection.touched_from > 64:
        offset = projection.touched_from
    while offset < projection.touched_to:
        prefetch_read(row + offset)
        offset += 64
    if projection.touched_to > 64:
        prefetch_read(row + projection.touched_to - 1)
    if shape.parts:
        prefetch_read(row + shape.ends_offset)


cdef int read_all(Snapshot snapshot, KeyBatch keys, Projection projection, Target *target) noexcept nogil:
    # A pipeline: while row i is copied, row i + DISTANCE's heap block, row i + 2 DISTANCE's row and row i + 3 DISTANCE's index
    # entry are on their way to the cache.
    cdef Py_ssize_t step, i, rows = keys.rows
    cdef uint64_t slots[WINDOW]
    cdef uint32_t codes[WINDOW]
    cdef Shard *shards[WINDOW]
    cdef Shard *shard
    cdef char *base
    cdef SegmentHeader *header
    cdef uint64_t key_hash, key_bytes, slot
    cdef uint32_t code
    cdef const char *row
    cdef const char *block
    cdef const char *key
    cdef int outcome
    cdef bint heap = snapshot.shape.key_in_heap or projection.part_count > 0
    cdef Py_ssize_t row_lag = DISTANCE, heap_lag = 2 * DISTANCE, copy_lag = 3 * DISTANCE if heap else 2 * DISTANCE
    if rows < DISTANCE:  # all of it is on its way at once
        row_lag, heap_lag, copy_lag = rows, 2 * rows, 3 * rows if heap else 2 * rows
    for step in range(rows + copy_lag):
        if step < rows:
            key_hash = keys.hashes[step]
            shard = &snapshot.shards[shard_of(key_hash, snapshot.shard_bits)]
            slot = first_slot(<uint32_t>key_hash, shard.capacity)
            prefetch_read(shard.entries + slot * 8)
            shards[step % WINDOW] = shard
            slots[step % WINDOW] = slot
        i = step - row_lag
        if 0 <= i < rows:
            shard = shards[i % WINDOW]
            code = codes[i % WINDOW] = next_candidate(shard, <uint32_t>keys.hashes[i], &slots[i % WINDOW])
            if code:
                header = <SegmentHeader *>shard.base
                prefetch_row(projection, &snapshot.shape, row_at(shard.base, header, code - ENTRY_FIRST_ROW))
        i = step - heap_lag
        if heap and 0 <= i < rows and codes[i % WINDOW]:
            base = shards[i % WINDOW].base
            header = <SegmentHeader *>base
            row = row_at(base, header, codes[i % WINDOW] - ENTRY_FIRST_ROW)
            block = heap_at(base, header, load_u32(row + ROW_HEAP_UNIT))
            for code in range(0, min(load_u32(row + ROW_HEAP_BYTES), BLOCK_BYTES_AHEAD), 64):
                prefetch_read(block + code)
        i = step - copy_lag
        if i < 0:
            continue
        shard = shards[i % WINDOW]
        base = shard.base
        header = <SegmentHeader *>base
        key = key_at(keys, i, &key_bytes)
        if projection.part_count:
            target.strings.starts[i] = target.strings.used
        code = codes[i % WINDOW]
        outcome = 0
        while code:
            row = row_at(base, header, code - ENTRY_FIRST_ROW)
            outcome = copy_row(snapshot, projection, target, i, rows, base, row, key, key_bytes)
            if outcome:
                break
            slots[i % WINDOW] = index_step(slots[i % WINDOW], shard.capacity)
            code = next_candidate(shard, <uint32_t>keys.hashes[i], &slots[i % WINDOW])
        if outcome < 0:
            return outcome
        if not outcome:
            absent_row(snapshot, projection, target, i, NOT_FOUND)
            if target.events != NULL:
                target.events[i] = 0
    return 0


cdef void spread_column(
    Gather *strings, uint32_t k, uint32_t part_count, Py_ssize_t rows, char *out, uint64_t bytes_of_all, int32_t *offset
) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint32_t length
    cdef uint64_t total = 0
    for i in range(rows):
        offset[i] = <int32_t>total
        length = strings.lengths[i * part_count + k]
        if length <= COPY_BYTES and total + COPY_BYTES <= bytes_of_all:
            memcpy(out + total, strings.data + strings.starts[i], COPY_BYTES)  # the next string overwrites the rest
        elif length:  # where all are empty there is no data
            memcpy(out + total, strings.data + strings.starts[i], length)
        strings.starts[i] += length
        total += length
    offset[rows] = <int32_t>total


cdef tuple strings_by_column(Projection projection, Gather *strings, Py_ssize_t rows):
    # From row after row to column after column, each with offsets as Arrow has them.
    cdef list columns = []
    cdef uint32_t k
    cdef Py_ssize_t i
    cdef uint64_t total
    cdef int32_t *offset
    cdef char *out
    for k in range(projection.part_count):
        total = 0
        for i in range(rows):
            total += strings.lengths[i * projection.part_count + k]
        if total > 0x7FFFFFFF:
            raise ResourceExhaustedError.of(
                f"bytes of {projection.var_features[k]} in one answer", total, 0x7FFFFFFF, "ask for fewer rows at a time"
            )
        data = PyBytes_FromStringAndSize(NULL, total)
        offsets = PyBytes_FromStringAndSize(NULL, (rows + 1) * 4)
        out = PyBytes_AS_STRING(data)
        offset = <int32_t *>PyBytes_AS_STRING(offsets)
        if rows <= ROWS_UNDER_GIL:
            spread_column(strings, k, projection.part_count, rows, out, total, offset)
        else:
            with nogil:
                spread_column(strings, k, projection.part_count, rows, out, total, offset)
        columns.append((data, offsets))
    return tuple(columns)


cdef bint any_set(const uint8_t *bits, Py_ssize_t length) noexcept nogil:
    # A bitmap made for a torn copy's nulls may have none left once the row was read whole.
    cdef Py_ssize_t i
    for i in range(length):
        if bits[i]:
            return True
    return False


cdef inline int64_t expired_before(Snapshot snapshot, int64_t now_us) noexcept:
    # Rows of an earlier event time (us) are EXPIRED.
    return now_us - snapshot.ttl_us if snapshot.ttl_us else NEVER_US


cdef class SnapshotReader:
    """The reading half of a table: the snapshot that reads take now, and the read itself. See ``table.TableReader``."""

    def __init__(self, Control control, bint follows):
        self._control = control
        self.follows = follows

    cdef Snapshot current(self):
        if self.follows and atomic_load_acquire_u64(&self._control.header.epoch) != self._epoch:
            self._refresh(writable=False)
        return self._snapshot

    def _current(self):
        return self.current()

    cdef RowBatch read_now(self, KeyBatch keys, Projection projection, out):
        """As ``read``, of keys that are in the form in which rows hold them, by the clock of this machine."""
        cdef Snapshot snapshot = self.current()
        if projection.layout is not snapshot.layout:
            projection = self._recompile(projection, snapshot.layout)
        return read_keys(
            snapshot, keys, projection, expired_before(snapshot, now_us() if snapshot.ttl_us else 0), False, False, out, 0, 0, None
        )

    def read(
        self, keys, Projection projection not None, *, int64_t now_us, bint expired_values=False, bint event_timestamps=False,
        out=None, uint64_t out_offset=0, uint64_t out_stride=0, nulls_out=None,
    ):
        """Reads one row for each key, in one call.

        ``keys``: a column for each join key in the entity's order, int64 arrays or VarColumns of n. ``now_us``: rows of an
        event time before ``now_us - ttl`` are EXPIRED; their values are left out unless ``expired_values``. With ``out``, row
        i's values land at ``out_offset + i * out_stride`` of it, so that several views fill one matrix; nulls are ORed into
        ``nulls_out``.
        Raises InvalidArgumentError for keys of the wrong type or length, NotFoundError when a feature is gone since.
        """
        cdef Snapshot snapshot = self.current()
        if projection.layout is not snapshot.layout:
            projection = self._recompile(projection, snapshot.layout)
        return read_rows(
            snapshot, keys, projection, expired_before(snapshot, now_us), expired_values, event_timestamps, out, out_offset, out_stride,
            nulls_out,
        )


cdef RowBatch read_rows(
    Snapshot snapshot, key_columns, Projection projection, int64_t expired_before, bint expired_values, bint event_timestamps,
    out, uint64_t out_offset, uint64_t out_stride, nulls_out,
):
    cdef KeyBatch keys
    if snapshot.one_int64_key and len(key_columns) == 1:
        keys = int64_keys(snapshot.join_keys[0], key_columns[0])
    else:
        keys = key_batch(snapshot.layout, snapshot.join_keys, key_columns, snapshot.key_bytes_max)
    return read_keys(
        snapshot, keys, projection, expired_before, expired_values, event_timestamps, out, out_offset, out_stride, nulls_out
    )


cdef RowBatch read_keys(
    Snapshot snapshot, KeyBatch keys, Projection projection, int64_t expired_before, bint expired_values, bint event_timestamps,
    out, uint64_t out_offset, uint64_t out_stride, nulls_out,
):
    cdef Py_ssize_t rows = keys.rows, i
    cdef RowBatch batch = RowBatch.__new__(RowBatch)
    cdef Target target
    cdef uint8_t small_statuses[SMALL_ROWS]
    cdef Py_buffer out_view
    cdef Py_buffer nulls_view
    cdef int outcome
    cdef uint8_t *merged
    memset(&target, 0, sizeof(target))
    if rows > snapshot.rows_max:
        raise ResourceExhaustedError.of("rows of a read", rows, snapshot.rows_max, "read in smaller batches")
    target.expired_before = expired_before
    target.expired_values = expired_values
    target.row_stride = projection.row_bytes
    target.run_factor = rows
    batch.rows = rows
    if out is not None:
        PyObject_GetBuffer(out, &out_view, PyBUF_WRITABLE)
    try:
        if out is None:
            batch.values = PyBytes_FromStringAndSize(NULL, rows * <Py_ssize_t>projection.row_bytes)
            target.values = PyBytes_AS_STRING(batch.values)
        else:
            target.row_stride = out_stride or projection.row_bytes
            assert not projection.columnar, "columnar answers have a buffer of their own"
            assert rows == 0 or out_offset + (rows - 1) * target.row_stride + projection.row_bytes <= <uint64_t>out_view.len
            target.values = <char *>out_view.buf + out_offset
        if event_timestamps:
            batch.event_timestamps_us = PyBytes_FromStringAndSize(NULL, rows * 8)
            target.events = <int64_t *>PyBytes_AS_STRING(batch.event_timestamps_us)
        target.statuses = small_statuses
        if rows > SMALL_ROWS:
            target.statuses = <uint8_t *>malloc(rows)
            if target.statuses == NULL:
                raise MemoryError
        if projection.part_count:
            target.strings.bytes_max = snapshot.string_bytes_max
            target.strings.starts = <uint64_t *>malloc(max(rows, 1) * 8)
            target.strings.lengths = <uint32_t *>malloc(max(rows, 1) * 4 * projection.part_count)
            if target.strings.starts == NULL or target.strings.lengths == NULL:
                raise MemoryError
        if rows <= ROWS_UNDER_GIL:
            outcome = read_all(snapshot, keys, projection, &target)
        else:
            with nogil:
                outcome = read_all(snapshot, keys, projection, &target)
        if outcome == NO_MEMORY:
            raise MemoryError
        if outcome == TOO_MUCH:
            raise ResourceExhaustedError(
                f"the strings of this read take more than {snapshot.string_bytes_max} bytes (read_bytes_max): read fewer rows at a time"
            )
        if outcome == STUCK:
            raise UnavailableError("a row stayed half-written: its writer died or was stopped, and nobody has repaired it yet; try again")
        if projection.part_count:
            batch.var = strings_by_column(projection, &target.strings, rows)
        else:
            batch.var = ()
        if target.incomplete:
            for i in range(rows):  # a retry may have found the row present after all
                if target.statuses[i] != PRESENT:
                    batch.statuses = PyBytes_FromStringAndSize(<char *>target.statuses, rows)
                    break
        if target.nulls != NULL and any_set(target.nulls, rows * <Py_ssize_t>projection.null_row_bytes):
            batch.nulls = PyBytes_FromStringAndSize(<char *>target.nulls, rows * <Py_ssize_t>projection.null_row_bytes)
            if nulls_out is not None:
                PyObject_GetBuffer(nulls_out, &nulls_view, PyBUF_WRITABLE)
                assert nulls_view.len >= rows * <Py_ssize_t>projection.null_row_bytes
                merged = <uint8_t *>nulls_view.buf
                for i in range(rows * <Py_ssize_t>projection.null_row_bytes):
                    merged[i] |= target.nulls[i]
                PyBuffer_Release(&nulls_view)
        return batch
    finally:
        if out is not None:
            PyBuffer_Release(&out_view)
        if target.statuses != small_statuses:
            free(target.statuses)
        free(target.nulls)
        free(target.strings.starts)
        free(target.strings.lengths)
        free(target.strings.data)
