# What a write brings, resolved against a layout, and what of it lies in a row's heap block.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from featurestore.store.fixed_batch cimport FixedBatch
from featurestore_client.tables.keys cimport KeyBatch
from featurestore_client.tables.reader cimport CopyRun
from featurestore_client.tables.segment cimport RowShape, load_u32


cdef struct SourceColumn:
    const char *data
    const int32_t *offsets     # of strings; NULL for fixed-width values
    const uint8_t *validity    # NULL when all values are there
    const char *empty          # what a null holds
    uint32_t width
    uint32_t target            # offset in the row's image
    uint32_t bit
    uint32_t part


cdef class Source:
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

    cdef int _allocate(
        self, Py_ssize_t columns_max, uint32_t parts, uint32_t bitmap_words, uint32_t values_offset, bytes empty_row
    ) except -1
    cdef SourceColumn *_add(self, uint32_t bit, const uint8_t *validity) noexcept
    cdef void _place(self, SourceColumn *column, const char *data, uint32_t width, uint32_t offset) noexcept


cpdef Source source_of(FixedBatch batch)
cpdef KeyBatch keys_of(FixedBatch batch)


cdef inline uint64_t block_bytes_after(
    Source source, RowShape *shape, Py_ssize_t i, const char *old_row, uint64_t key_bytes
) noexcept nogil:
    # What the writer will lay into the block of row i: the key, what is written, and of an old row that is alive the rest.
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
