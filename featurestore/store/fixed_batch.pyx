"""Rows to write as they came: fixed-width features under one int64 key, left in the bytes of their message.

The most common write takes no Python object a column this way. Who makes a batch (``server/write_wire.pyx``) has checked all lengths
and values by one layout, which it names; ``Table.write_fixed`` takes it while that is the table's.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdlib cimport calloc, free

import numpy as np

from featurestore_client.tables.columns import Column


cdef class FixedLayout:
    """A layout as numbers: where its features lie, and what else a write needs of it."""

    def __init__(self, layout):
        cdef Place *place
        self.layout = layout
        self.count = len(layout.slots)
        self.parts, self.bitmap_words = layout.parts, layout.bitmap_words
        self.values_offset, self.empty_row = layout.values_offset, layout.empty_row
        self.places = <Place *>calloc(max(self.count, 1), sizeof(Place))
        if self.places == NULL:
            raise MemoryError
        for k, slot in enumerate(layout.slots):
            place = &self.places[k]
            place.width = 0 if slot.type.is_variable else slot.type.width_bytes
            place.offset, place.bit = slot.offset, slot.bit

    def __dealloc__(self):
        free(self.places)


@cython.no_gc
@cython.freelist(8)
cdef class FixedBatch:
    """The rows. Made by ``new_batch``, and filled by who calls it."""

    def __dealloc__(self):
        free(self.features)

    def as_columns(self):
        """(key columns, event times, columns by feature name), as ``Table.write`` takes them."""
        cdef FeatureValues *values
        cdef uint32_t k
        columns = {}
        for k, slot in enumerate(self.layout.layout.slots):
            values = &self.features[k]
            if values.data == NULL:
                continue
            array = array_of(self.message, values.data, slot.type.stored, self.rows * slot.type.elements)
            validity = None
            if values.validity != NULL:
                validity = array_of(self.message, <const char *>values.validity, np.uint8, (self.rows + 7) // 8)
            columns[slot.name] = Column(array if slot.type.length is None else array.reshape(self.rows, -1), validity)
        clock = self.events == <const char *>&self.clock_us
        events = np.array([self.clock_us]) if clock else array_of(self.message, self.events, np.int64, self.event_count)
        return [array_of(self.message, self.keys, np.int64, self.rows)], events, columns


cdef FixedBatch new_batch(FixedLayout layout, bytes message):
    """A batch without rows, of what is to be found in that message."""
    cdef FixedBatch batch = FixedBatch.__new__(FixedBatch)
    batch.layout, batch.message = layout, message
    batch.features = <FeatureValues *>calloc(max(layout.count, 1), sizeof(FeatureValues))
    if batch.features == NULL:
        raise MemoryError
    return batch


cdef object array_of(bytes message, const char *at, dtype, Py_ssize_t count):
    # A copy: NumPy wants it aligned.
    return np.frombuffer(message, dtype, count, at - PyBytes_AS_STRING(message)).copy()
