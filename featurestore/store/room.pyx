"""The room that a batch takes: whether there is enough, and what must grow or be committed first.

Whatever can fail of a write fails here. Memory for a batch that may follow is committed by a thread while this one is written, since
pages are half the time of a first load.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset
from posix.fcntl cimport O_CLOEXEC, O_RDWR, open
from posix.unistd cimport close

from featurestore.errors import ResourceExhaustedError

from featurestore_client.tables.keys cimport KeyBatch, key_at, shard_of
from featurestore.store.memory cimport Memory, commit_pages
from featurestore.store.mutation cimport DISTANCE, find_row, prefetch_entry, prefetch_row
from featurestore.store.source cimport Source, block_bytes_after
from featurestore_client.tables.reader cimport Snapshot
from featurestore_client.tables.segment cimport (
    COMMIT_SHARE, ROW_HEAP_BYTES, RowShape, Segment, SegmentHeader, Shard, UNIT_BYTES, block_units, load_u32, page_up, rows_room,
)

cdef extern from "pthread.h" nogil:
    int pthread_create(pthread_t *thread, void *attributes, void *(*start)(void *) noexcept nogil, void *argument)
    int pthread_join(pthread_t thread, void **returned)

cdef enum:
    UNMEASURED_BYTES = 256 << 10  # of rows that a batch may bring to a shard: committed without a look at which are new
    AHEAD_BYTES_MIN = 512 << 10   # of new rows, for which a thread is worth its start
    AHEAD_BYTES_MAX = 256 << 10   # of a shard, or a COMMIT_SHARE of it: what is left over when no batch follows


cdef inline bint is_key_of(KeyBatch keys, Py_ssize_t i, uint64_t key_hash, const char *key, uint64_t key_bytes) noexcept nogil:
    # Whether row i has that key.
    cdef uint64_t other_bytes
    cdef const char *other
    if keys.hashes[i] != key_hash:
        return False
    other = key_at(keys, i, &other_bytes)
    return other_bytes == key_bytes and memcmp(other, key, key_bytes) == 0


cdef int measure_need(Snapshot snapshot, KeyBatch keys, Source source, bint deleting, Need *needs) noexcept nogil:
    # The rows that are new, and the heap units of blocks that must be of another size. -1 without memory for telling new keys
    # apart: by their hashes, and where these are the same by themselves, since whoever chooses keys can make many of one hash.
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
    cdef uint64_t *seen = <uint64_t *>calloc(places, 8)  # 1 + the first row of the batch with that key
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
            while seen[slot] != 0 and not is_key_of(keys, <Py_ssize_t>(seen[slot] - 1), key_hash, key, key_bytes):
                slot = (slot + 1) & (places - 1)
            if seen[slot] == 0:
                seen[slot] = <uint64_t>(i + 1)
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
