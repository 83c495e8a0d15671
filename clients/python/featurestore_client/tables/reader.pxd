from libc.stdint cimport int64_t, uint32_t, uint64_t

from featurestore_client.tables.keys cimport KeyBatch
from featurestore_client.tables.segment cimport (
    ENTRY_FIRST_ROW, ENTRY_NEVER_USED, Control, RowShape, Shard, atomic_load_acquire_u64, index_step,
)

cdef class Snapshot:
    cdef readonly tuple segments
    cdef readonly object layout
    cdef readonly uint64_t schema_id
    cdef readonly list join_keys
    cdef int64_t ttl_us
    cdef bint one_int64_key
    cdef int64_t key_bytes_max
    cdef Py_ssize_t rows_max
    cdef uint64_t string_bytes_max
    cdef Shard *shards
    cdef int shard_bits
    cdef RowShape shape
    cdef bytes _empty_row_bytes
    cdef const char *empty_row


cdef struct CopyRun:
    uint32_t source      # offset in the row
    uint32_t target      # offset in an output row, or in one row's worth of the columns before
    uint32_t length      # bytes


cdef class Projection:
    cdef readonly tuple features
    cdef readonly bint columnar
    cdef readonly uint32_t row_bytes
    cdef readonly uint32_t null_row_bytes
    cdef readonly tuple offsets
    cdef readonly tuple null_bits
    cdef readonly tuple var_features
    cdef readonly object layout
    cdef CopyRun *runs
    cdef uint32_t run_count
    cdef uint32_t *parts
    cdef uint32_t part_count
    cdef uint32_t *row_bits        # of each feature in a row's bitmap
    cdef uint32_t *answer_bits     # of each feature in a row of the answer's null bitmap
    cdef uint32_t feature_count
    cdef uint32_t *mask            # the row bitmap's words, with the bits of these features
    cdef uint32_t touched_from     # the part of a row's values that is read: [from, to)
    cdef uint32_t touched_to


cdef class RowBatch:
    cdef readonly Py_ssize_t rows
    cdef readonly bytes values
    cdef readonly tuple var
    cdef readonly bytes statuses
    cdef readonly bytes nulls
    cdef readonly bytes event_timestamps_us


cdef class SnapshotReader:
    cdef public Snapshot _snapshot
    cdef public uint64_t _epoch
    cdef readonly Control _control
    cdef bint follows              # takes up what the control file publishes; the owner is who publishes it

    cdef Snapshot current(self)
    cdef RowBatch read_now(self, KeyBatch keys, Projection projection, out)


cdef inline uint32_t next_candidate(Shard *shard, uint32_t tag, uint64_t *slot) noexcept nogil:
    # The next entry of this tag from `slot` on: its code, and its slot; 0 at the end of the run. The writer keeps at least a
    # tenth of the entries unused, so every run ends.
    cdef uint64_t entry
    cdef uint32_t code
    while True:
        entry = atomic_load_acquire_u64(shard.entries + slot[0] * 8)
        if entry == ENTRY_NEVER_USED:
            return 0
        code = <uint32_t>entry
        if code >= ENTRY_FIRST_ROW and <uint32_t>(entry >> 32) == tag:
            return code
        slot[0] = index_step(slot[0], shard.capacity)
