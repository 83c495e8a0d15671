"""The write kernel: a batch of columns in, last writer wins by event time.

A write has two steps. ``Room`` finds out what room the batch may take in each shard, names the shards that must grow first, and
commits it: whatever can fail, fails there. ``write_rows`` then cannot fail. Block by block, column after column is laid into row
images in the cache; the rows are found in a pipeline, so that cache misses overlap, and each takes its image under its sequence
lock. Meanwhile a thread commits memory for a batch that may follow, since pages are half the time of a first load; it has ended
when ``write_rows`` does. Invariant: an older event never changes a row; a row's bytes change only between begin_change and
end_change.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.fcntl cimport O_CLOEXEC, O_RDWR, open
from posix.unistd cimport close

from featurestore_client.tables.columns import VarColumn

from featurestore.errors import ResourceExhaustedError

from featurestore_client.tables.keys cimport ROWS_UNDER_GIL, KeyBatch, address_of, key_at, shard_of
from featurestore.store.fixed_batch cimport FixedBatch, FixedLayout, Place
from featurestore.store.memory cimport Memory, commit_pages
from featurestore.store.mutation cimport find_row, give_block, insert_entry, take_block, take_row
from featurestore_client.tables.reader cimport CopyRun, Snapshot, next_candidate
from featurestore_client.tables.segment cimport (
    COMMIT_SHARE, ENTRY_FIRST_ROW, ROW_EVENT, ROW_HEAP_BYTES, ROW_HEAP_UNIT, ROW_SEQ, ROW_WRITTEN, RowShape, Segment, SegmentHeader, Shard, UNIT_BYTES, begin_change,
    block_units, end_change, first_slot, heap_at, load_i64, load_u32, page_up, prefetch_read, prefetch_write, row_at, rows_room,
    store_i64, store_u32,
)

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "pthread.h" nogil:
    ctypedef struct pthread_t:
        pass
    int pthread_create(pthread_t *thread, void *attributes, void *(*start)(void *) noexcept nogil, void *argument)
    int pthread_join(pthread_t thread, void **returned)

cdef enum:
    DISTANCE = 12                 # rows between the stages of the pipeline, as in reader.pyx
    BLOCK = 128                   # rows whose images are made at once; they fit in the second-level cache
    YIELD_ROWS = 24               # after so many the thread lets go of its core: some ten microseconds, where it would have it for milliseconds
    COLUMNS_AHEAD = 4             # a column's part of a block is a few lines: too short for the processor to foresee
    UNMEASURED_BYTES = 256 << 10  # of rows that a batch may bring to a shard: committed without a look at which are new
    IMAGE_BYTES_MAX = 128 << 10   # of a block; wider rows make smaller blocks
    AHEAD_BYTES_MIN = 512 << 10   # of new rows, for which a thread is worth its start
    AHEAD_BYTES_MAX = 256 << 10   # of a shard, or a COMMIT_SHARE of it: what is left over when no batch follows

cdef struct SourceColumn:
    const char *data
    const int32_t *offsets     # of strings; NULL for fixed-width values
    const uint8_t *validity    # NULL when all values are there
    const char *empty          # what a null holds
    uint32_t width
    uint32_t target            # offset in the row's image
    uint32_t bit
    uint32_t part


@cython.no_gc
@cython.freelist(8)
cdef class Source:
    """The columns and event times of a write, resolved against a layout: made once a batch."""

    cdef SourceColumn *columns         # where the memory begins that the others are in, too
    cdef uint32_t column_count
    cdef SourceColumn **part_columns   # by part; NULL where a part is not written
    cdef CopyRun *runs                 # from a row's image to the row
    cdef uint32_t run_count
    cdef uint32_t *supplied            # bits of the features that are written
    cdef bint strings                  # some string is written
    cdef const char *events            # eight bytes each
    cdef Py_ssize_t event_step         # 8, or 0 where one time is for all rows
    cdef uint32_t values_offset        # of the layout
    cdef const char *empty             # an empty row of it
    cdef bytes _empty_row
    cdef object _held
    cdef readonly uint64_t string_bytes    # of all rows

    def __init__(self, layout, columns, event_timestamps_us=None):
        """``columns``: feature name -> Column, checked by ``Table.write``, and so are the times, an array."""
        cdef SourceColumn *column
        self._allocate(len(columns), layout.parts, layout.bitmap_words, layout.values_offset, layout.empty_row)
        self._held = (columns, event_timestamps_us)
        if event_timestamps_us is not None:
            self.events = address_of(event_timestamps_us)
            self.event_step = 0 if len(event_timestamps_us) == 1 else 8
        for slot in layout.slots:
            source = columns.get(slot.name)
            if source is None:
                continue
            values, validity = source
            column = self._add(slot.bit, NULL if validity is None else <const uint8_t *>address_of(validity))
            if isinstance(values, VarColumn):
                column.data = address_of(values.data)
                column.offsets = <const int32_t *>address_of(values.offsets)
                column.part = slot.part
                self.part_columns[slot.part] = column
                self.strings = True
                self.string_bytes += int(values.offsets[-1]) - int(values.offsets[0])
            else:
                self._place(column, address_of(values), slot.type.width_bytes, slot.offset)

    @staticmethod
    def of(FixedBatch batch not None):
        """Those of a batch that lies in its message."""
        cdef Source source = Source.__new__(Source)
        cdef FixedLayout layout = batch.layout
        cdef uint32_t k
        cdef Place *place
        cdef SourceColumn *column
        source._allocate(layout.count, layout.parts, layout.bitmap_words, layout.values_offset, layout.empty_row)
        source._held = batch
        source.events, source.event_step = batch.events, 0 if batch.event_count == 1 else 8
        for k in range(layout.count):
            if batch.features[k].data != NULL:
                place = &layout.places[k]
                column = source._add(place.bit, batch.features[k].validity)
                source._place(column, batch.features[k].data, place.width, place.offset)
        return source

    cdef int _allocate(
        self, Py_ssize_t columns_max, uint32_t parts, uint32_t bitmap_words, uint32_t values_offset, bytes empty_row
    ) except -1:
        cdef size_t columns = columns_max * sizeof(SourceColumn)
        cdef size_t pointers = parts * sizeof(SourceColumn *)
        cdef size_t runs = columns_max * sizeof(CopyRun)
        cdef char *room = <char *>calloc(columns + pointers + runs + 4 * bitmap_words, 1)
        if room == NULL:
            raise MemoryError
        self.columns = <SourceColumn *>room
        self.part_columns = <SourceColumn **>(room + columns)
        self.runs = <CopyRun *>(room + columns + pointers)
        self.supplied = <uint32_t *>(room + columns + pointers + runs)
        self.values_offset = values_offset
        self._empty_row = empty_row
        self.empty = PyBytes_AS_STRING(empty_row)
        return 0

    cdef SourceColumn *_add(self, uint32_t bit, const uint8_t *validity) noexcept:
        cdef SourceColumn *column = &self.columns[self.column_count]
        self.column_count += 1
        column.bit = bit
        column.validity = validity
        self.supplied[bit // 32] |= <uint32_t>1 << (bit % 32)
        return column

    cdef void _place(self, SourceColumn *column, const char *data, uint32_t width, uint32_t offset) noexcept:
        # Of a feature of fixed width. Neighbours go from an image to its row in one run.
        cdef CopyRun *last = &self.runs[self.run_count - 1] if self.run_count else NULL
        column.data = data
        column.width = width
        column.target = offset - self.values_offset
        column.empty = self.empty + offset
        if last != NULL and last.source + last.length == column.target:
            last.length += width
        else:
            last = &self.runs[self.run_count]
            self.run_count += 1
            last.source, last.target, last.length = column.target, offset, width

    def __dealloc__(self):
        free(self.columns)


cdef struct Need:
    uint64_t new_rows
    uint64_t heap_units


cdef uint64_t block_bytes_after(Source source, RowShape *shape, Py_ssize_t i, const char *old_row, uint64_t key_bytes) noexcept nogil:
    # What gather_block will lay into the block of row i: the key, what is written, and of an old row that is alive the rest.
    cdef uint32_t part, start
    cdef uint64_t total = 0
    cdef SourceColumn *column
    for part in range(shape.parts):
        column = source.part_columns[part]
        if part == 0 and shape.key_in_heap:
            total += key_bytes
        elif column != NULL:
            if column.validity == NULL or column.validity[i // 8] >> (i % 8) & 1:
                total += column.offsets[i + 1] - column.offsets[i]
        elif old_row != NULL:
            start = load_u32(old_row + shape.ends_offset + 4 * (part - 1)) if part else 0
            total += load_u32(old_row + shape.ends_offset + 4 * part) - start
    return total


cdef int measure_need(Snapshot snapshot, KeyBatch keys, Source source, bint deleting, Need *needs) noexcept nogil:
    # The rows that are new, and the heap units of blocks that must be of another size. -1 without memory for telling new keys
    # apart: they are, by their hashes (two keys of one 64-bit hash would take a row of the slack that is always committed).
    # A key that is twice in the batch counts its blocks twice. That is enough: a block that is taken without being counted is
    # one of the size that its row had at first, and so follows one of that size which the row gave back.
    cdef Py_ssize_t i
    cdef uint64_t key_hash, key_bytes, slot, after
    cdef const char *key
    cdef Shard *shard
    cdef RowShape *shape = &snapshot.shape
    cdef char *row
    cdef bint alive
    cdef Need *need
    cdef uint64_t places = 16
    while places < <uint64_t>keys.rows * 2:
        places *= 2
    cdef uint64_t *seen = <uint64_t *>calloc(places, 8)
    if seen == NULL:
        return -1
    for i in range(-2 * DISTANCE, keys.rows):
        prefetch_entry(snapshot, keys, i + 2 * DISTANCE)
        prefetch_row(snapshot, keys, i + DISTANCE, 64)
        if i < 0:
            continue
        key_hash = keys.hashes[i]
        key = key_at(keys, i, &key_bytes)
        need = &needs[shard_of(key_hash, snapshot.shard_bits)]
        shard = &snapshot.shards[shard_of(key_hash, snapshot.shard_bits)]
        row = find_row(shard, shape, <uint32_t>key_hash, key, key_bytes, &slot)
        if row == NULL:
            slot = key_hash & (places - 1)
            while seen[slot] != 0 and seen[slot] != key_hash:
                slot = (slot + 1) & (places - 1)
            if seen[slot] == 0:
                seen[slot] = key_hash
                need.new_rows += 1
        if shape.parts == 0:
            continue
        alive = row != NULL and not load_u32(row + shape.bitmap_offset) & 1
        if deleting:
            after = block_units(key_bytes if shape.key_in_heap else 0)
        elif alive and not source.strings:
            continue
        else:
            after = block_units(block_bytes_after(source, shape, i, row if alive else NULL, key_bytes))
        if row == NULL or after != block_units(load_u32(row + ROW_HEAP_BYTES)):
            need.heap_units += after
    free(seen)
    return 0


cpdef uint64_t ahead_bytes(uint64_t used) noexcept nogil:
    """What is committed ahead of a shard's rows at most, while a load writes: it uses so many bytes of them."""
    return page_up(max(used // COMMIT_SHARE, AHEAD_BYTES_MAX))


cdef struct Ahead:             # memory to commit in one shard; the last of several has no path
    const char *path
    SegmentHeader *header
    uint64_t length
    bint is_done


cdef void *commit_ahead(void *several) noexcept nogil:
    # A thread of its own. Where memory is full, the write that needs it will say so.
    cdef Ahead *ahead = <Ahead *>several
    cdef SegmentHeader *header
    cdef uint64_t done
    cdef int fd
    while ahead.path != NULL:
        header = ahead.header
        fd = open(ahead.path, O_RDWR | O_CLOEXEC)
        if fd < 0:
            return NULL
        ahead.is_done = 0 == commit_pages(
            fd, <char *>header, header.rows_offset + header.rows_committed_bytes, ahead.length, &done
        )
        close(fd)
        if not ahead.is_done:
            return NULL
        ahead += 1
    return NULL


cdef class Room:
    """The room that a batch may take in each shard. Measured once: growing a shard changes nothing of it."""

    cdef Need *needs
    cdef Ahead *ahead
    cdef list paths               # what those of ahead point to
    cdef pthread_t thread
    cdef bint is_committing
    cdef uint64_t ahead_bytes     # that are counted for it
    cdef Memory memory
    cdef KeyBatch keys
    cdef Source source
    cdef bint deleting
    cdef bint is_measured

    def __init__(self, Memory memory, Snapshot snapshot, KeyBatch keys, Source source, bint deleting):
        cdef Py_ssize_t i
        cdef int shard, shards = 1 << snapshot.shard_bits
        cdef SegmentHeader *header
        cdef Need *need
        self.memory = memory
        self.keys, self.source, self.deleting = keys, source, deleting
        self.is_measured = snapshot.shape.parts > 0
        self.needs = <Need *>calloc(shards, sizeof(Need))
        if self.needs == NULL:
            raise MemoryError
        for i in range(keys.rows):
            self.needs[shard_of(keys.hashes[i], snapshot.shard_bits)].new_rows += 1
        # To look which keys are new costs a fifth of the write, so it is done where it matters: where the batch as a whole may
        # not fit, or would commit much more than is committed ahead anyway for rows that may be there already.
        for shard in range(shards):
            header = <SegmentHeader *>snapshot.shards[shard].base
            need = &self.needs[shard]
            if need.new_rows > rows_room(&snapshot.shards[shard]):
                self.is_measured = True
            elif need.new_rows > header.rows_used // COMMIT_SHARE and need.new_rows * header.row_bytes > UNMEASURED_BYTES and (
                (header.rows_used + need.new_rows) * header.row_bytes > header.rows_committed_bytes
            ):
                self.is_measured = True
        if self.is_measured:
            measure(snapshot, keys, source, deleting, self.needs)

    def __dealloc__(self):
        free(self.needs)
        free(self.ahead)

    def wanting(self, Snapshot snapshot):
        """(shard, rows, heap units) of each shard that must grow before the batch fits. Empty when it fits.

        Shards fill at one pace: with one that must grow come those that are nearly as full.
        """
        return self._short_of(snapshot, 16) if self._short_of(snapshot, 0) else []

    cdef list _short_of(self, Snapshot snapshot, uint64_t spare_part):
        # Those that the batch does not fit in, or would leave with less than such a part of their index to spare.
        cdef int shard
        cdef uint64_t spare
        cdef SegmentHeader *header
        cdef Need *need
        short = []
        for shard in range(1 << snapshot.shard_bits):
            header = <SegmentHeader *>snapshot.shards[shard].base
            need = &self.needs[shard]
            spare = snapshot.shards[shard].capacity // spare_part if spare_part and need.new_rows else 0
            if need.new_rows + spare > rows_room(&snapshot.shards[shard]) or (
                header.heap_used + need.heap_units > header.heap_capacity
            ):
                short.append((shard, need.new_rows, need.heap_units))
        return short

    def commit(self, Snapshot snapshot):
        """Makes sure of the room once no shard must grow. Raises ResourceExhaustedError when memory is full."""
        try:
            self._commit(snapshot)
        except ResourceExhaustedError:
            if self.is_measured:
                raise
            measure(snapshot, self.keys, self.source, self.deleting, self.needs)  # rows that are there need no more
            self._commit(snapshot)
        self._plan_ahead(snapshot)

    cdef int _commit(self, Snapshot snapshot) except -1:
        cdef int shard
        cdef SegmentHeader *header
        cdef Need *need
        for shard in range(1 << snapshot.shard_bits):
            header = <SegmentHeader *>snapshot.shards[shard].base
            need = &self.needs[shard]
            if need.new_rows > header.rows_free:
                self.memory.commit_rows(
                    (<Segment>snapshot.segments[shard]).arena,
                    min(header.rows_used + need.new_rows - header.rows_free, header.rows_capacity)
                )
            if need.heap_units:
                self.memory.commit_heap((<Segment>snapshot.segments[shard]).arena, header.heap_used + need.heap_units)
        return 0

    cdef int _plan_ahead(self, Snapshot snapshot) except -1:
        # As much again as a large batch may take.
        cdef int shard, shards = 1 << snapshot.shard_bits
        cdef uint64_t new_rows = 0, used, wanted
        cdef SegmentHeader *header
        cdef Ahead *ahead
        for shard in range(shards):
            new_rows += self.needs[shard].new_rows
        if new_rows * snapshot.shape.row_bytes < AHEAD_BYTES_MIN:
            return 0
        ahead = self.ahead = <Ahead *>calloc(shards + 1, sizeof(Ahead))
        if ahead == NULL:
            raise MemoryError
        self.paths = []
        for shard in range(shards):
            header = <SegmentHeader *>snapshot.shards[shard].base
            used = header.rows_used * header.row_bytes
            wanted = (header.rows_used + 2 * self.needs[shard].new_rows) * header.row_bytes
            wanted = min(page_up(wanted), header.heap_offset - header.rows_offset)
            if wanted > header.rows_committed_bytes and header.rows_free < self.needs[shard].new_rows:
                self.paths.append(os.fsencode((<Segment>snapshot.segments[shard]).arena.path))
                ahead.path = PyBytes_AS_STRING(self.paths[-1])
                ahead.header = header
                ahead.length = min(wanted - header.rows_committed_bytes, ahead_bytes(used))
                ahead += 1
        return 0

    cdef int count_ahead(self) except -1:
        # Or leaves it: the last of what is allowed is for what is needed.
        cdef Ahead *ahead = self.ahead
        if ahead == NULL:
            return 0
        while ahead.path != NULL:
            self.ahead_bytes += ahead.length
            ahead += 1
        if not self.memory.has(self.ahead_bytes):
            self.ahead_bytes = 0
            self.ahead.path = NULL
        self.memory.take(self.ahead_bytes)
        return 0

    cdef void begin_ahead(self) noexcept nogil:
        if self.ahead != NULL and self.ahead.path != NULL:
            self.is_committing = pthread_create(&self.thread, NULL, commit_ahead, self.ahead) == 0

    cdef void end_ahead(self) noexcept nogil:
        cdef Ahead *ahead = self.ahead
        if self.is_committing:
            pthread_join(self.thread, NULL)
            while ahead.is_done:
                ahead.header.rows_committed_bytes += ahead.length
                self.ahead_bytes -= ahead.length
                ahead += 1


cdef int measure(Snapshot snapshot, KeyBatch keys, Source source, bint deleting, Need *needs) except -1:
    cdef int outcome
    memset(needs, 0, sizeof(Need) << snapshot.shard_bits)
    with nogil:
        outcome = measure_need(snapshot, keys, source, deleting, needs)
    if outcome < 0:
        raise MemoryError
    return 0


cpdef KeyBatch keys_of(FixedBatch batch):
    """The keys of a batch that lies in its message."""
    cdef KeyBatch keys = KeyBatch.__new__(KeyBatch)
    keys.rows = batch.rows
    keys.base = batch.keys
    keys.stride = 8
    keys._held = batch
    keys._hash()
    return keys


cdef bint takes_rows(Shard *shard, uint64_t rows) noexcept nogil:
    # Without growing or committing, but for their strings.
    cdef SegmentHeader *header = <SegmentHeader *>shard.base
    if rows > rows_room(shard):
        return False
    return (header.rows_used + rows - min(rows, header.rows_free)) * header.row_bytes <= header.rows_committed_bytes


def has_room(Snapshot snapshot, uint64_t rows, uint64_t heap_bytes):
    """Whether each shard takes so many rows and bytes of strings more without growing or committing."""
    cdef int shard
    cdef SegmentHeader *header
    for shard in range(1 << snapshot.shard_bits):
        header = <SegmentHeader *>snapshot.shards[shard].base
        if not takes_rows(&snapshot.shards[shard], rows):
            return False
        if snapshot.shape.parts and header.heap_committed_bytes < header.heap_used * UNIT_BYTES + heap_bytes:
            return False
    return True


cdef bint takes_fixed(Snapshot snapshot, KeyBatch keys) noexcept nogil:
    # Whether the shards of these keys take that many rows of fixed-width features without growing or committing.
    cdef Py_ssize_t i
    for i in range(keys.rows):
        if not takes_rows(&snapshot.shards[shard_of(keys.hashes[i], snapshot.shard_bits)], keys.rows):
            return False
    return True


def shards_without_room(Snapshot snapshot, uint64_t rows):
    """The shards whose index does not take so many rows more."""
    cdef int shard
    return [shard for shard in range(1 << snapshot.shard_bits) if rows_room(&snapshot.shards[shard]) < rows]


cpdef uint64_t count_rows(Snapshot snapshot) except? 0:
    """Rows of all shards, deleted ones in their window among them."""
    cdef int shard
    cdef SegmentHeader *header
    cdef uint64_t total = 0
    for shard in range(1 << snapshot.shard_bits):
        header = <SegmentHeader *>snapshot.shards[shard].base
        total += header.rows_live + header.rows_dead
    return total


def count_new(Snapshot snapshot, KeyBatch keys, Source source):
    """How many keys of the batch have no row yet."""
    cdef int shard, shards = 1 << snapshot.shard_bits
    cdef uint64_t total = 0
    cdef Need *needs = <Need *>calloc(shards, sizeof(Need))
    if needs == NULL:
        raise MemoryError
    try:
        measure(snapshot, keys, source, True, needs)
        for shard in range(shards):
            total += needs[shard].new_rows
        return total
    finally:
        free(needs)


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
        if k + COLUMNS_AHEAD < source.column_count:
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
    source = Source.of(batch)
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
            sched_yield()
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
