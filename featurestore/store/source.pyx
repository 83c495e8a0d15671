"""What a write brings, as the kernel takes it: columns and event times by their places in a row, keys by their hashes.

Made once a batch, of arrays or of a batch that lies in its message; nothing is copied.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from featurestore_client.tables.columns import VarColumn

from featurestore.store.fixed_batch cimport FixedBatch, FixedLayout, Place
from featurestore_client.tables.keys cimport KeyBatch, address_of
from featurestore_client.tables.reader cimport CopyRun


@cython.no_gc
@cython.freelist(8)
cdef class Source:
    """The columns and event times of a write, resolved against a layout: made once a batch."""

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

    cdef int _allocate(
        self, Py_ssize_t columns_max, uint32_t parts, uint32_t bitmap_words, uint32_t values_offset, bytes empty_row
    ) except -1:
        cdef size_t columns = columns_max * sizeof(SourceColumn)
        cdef size_t pointers = parts * sizeof(SourceColumn *)
        cdef size_t runs = columns_max * sizeof(CopyRun)
        cdef size_t bits = bitmap_words * sizeof(uint32_t)
        cdef char *room = <char *>malloc(columns + pointers + bits + runs)
        if room == NULL:
            raise MemoryError
        self.columns = <SourceColumn *>room
        self.part_columns = <SourceColumn **>(room + columns)
        self.supplied = <uint32_t *>(room + columns + pointers)
        self.runs = <CopyRun *>(room + columns + pointers + bits)
        memset(room + columns, 0, pointers + bits)  # the others are written as they are added
        self.values_offset = values_offset
        self._empty_row = empty_row
        self.empty = PyBytes_AS_STRING(empty_row)
        return 0

    cdef SourceColumn *_add(self, uint32_t bit, const uint8_t *validity) noexcept:
        cdef SourceColumn *column = &self.columns[self.column_count]
        self.column_count += 1
        memset(column, 0, sizeof(SourceColumn))
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


cpdef Source source_of(FixedBatch batch):
    """The columns and event times of a batch that lies in its message."""
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


cpdef KeyBatch keys_of(FixedBatch batch):
    """The keys of a batch that lies in its message."""
    cdef KeyBatch keys = KeyBatch.__new__(KeyBatch)
    keys.rows = batch.rows
    keys.base = batch.keys
    keys.stride = 8
    keys._held = batch
    keys._hash()
    return keys
