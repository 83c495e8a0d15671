"""The shortest way from a model server's keys to a matrix of features: one call, and nothing that one row does not need.

For the selections that are read a million times: one view, looked up by one int64 key, features of one fixed-width type. Keys come
as a list of ints, an int, or an int64 array. Whatever is in any way out of the ordinary gives None, and is left to a caller that
knows the rules. Invariant: what is returned is what the owner would have answered at that moment: it is alive, and the
definitions are those that the read was compiled from.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_CheckExact, PyDict_GetItem, PyDict_Size
from cpython.list cimport PyList_CheckExact, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from featurestore_client.errors import FeatureStoreError
from featurestore_client.tables.catalog cimport Catalog, is_served
from featurestore_client.tables.keys cimport KeyBatch, int64_keys
from featurestore_client.tables.reader cimport Projection, RowBatch, SnapshotReader
from featurestore_client.tables.segment cimport atomic_load_acquire_u64

cdef KeyBatch keys_of(str name, object values):
    # None for keys that are not ordinary.
    cdef KeyBatch keys
    cdef Py_ssize_t i, rows
    cdef int overflow = 0
    cdef int64_t *at
    cdef PyObject *item
    if PyList_CheckExact(values):
        rows = PyList_GET_SIZE(values)
    elif PyLong_CheckExact(values):
        rows = 1
    else:
        return int64_keys(name, values)
    held = PyBytes_FromStringAndSize(NULL, 8 * rows)
    at = <int64_t *>PyBytes_AS_STRING(held)
    for i in range(rows):
        item = <PyObject *>values if rows == 1 and not PyList_CheckExact(values) else <PyObject *>PyList_GET_ITEM(values, i)
        if not PyLong_CheckExact(<object>item):
            return None
        at[i] = PyLong_AsLongLongAndOverflow(<object>item, &overflow)
        if overflow:
            return None
    keys = KeyBatch.__new__(KeyBatch)
    keys.rows = rows
    keys.base = <const char *>at
    keys.stride = 8
    keys._held = held
    keys._hash()
    return keys


cdef class MatrixRead:
    """One selection, compiled for the version of the definitions that ``catalog`` had.

    What it reads is given to ``make(schema, rows, values, beside)``: ``beside`` is what ``beside_of(statuses, nulls)`` makes of what
    RowBatch has so called, or ``nothing_beside`` where all values are there.
    """

    cdef Catalog catalog
    cdef uint64_t version
    cdef SnapshotReader table
    cdef Projection projection
    cdef str key_name
    cdef Py_ssize_t rows_max
    cdef object schema, make, beside_of, nothing_beside

    def __init__(
        self, Catalog catalog, uint64_t version, SnapshotReader table, Projection projection, str key_name, rows_max, schema, make,
        beside_of, nothing_beside,
    ):
        self.catalog, self.version = catalog, version
        self.table, self.projection = table, projection
        self.key_name, self.rows_max = key_name, rows_max
        self.schema, self.make, self.beside_of, self.nothing_beside = schema, make, beside_of, nothing_beside

    def read(self, keys):
        """What ``make`` makes of the rows of these keys, a mapping with one join key's values; None: ask who knows the rules."""
        cdef KeyBatch batch
        cdef RowBatch rows
        cdef PyObject *values
        if not PyDict_CheckExact(keys) or PyDict_Size(keys) != 1:
            return None
        values = PyDict_GetItem(keys, self.key_name)
        if values == NULL or not is_served(self.catalog.header):
            return None
        if atomic_load_acquire_u64(&self.catalog.header.version) != self.version:
            return None
        try:
            batch = keys_of(self.key_name, <object>values)
            if batch is None or not 0 < batch.rows <= self.rows_max:
                return None
            rows = self.table.read_now(batch, self.projection, None)
        except FeatureStoreError:
            return None
        if rows.statuses is None and rows.nulls is None:
            return self.make(self.schema, rows.rows, rows.values, self.nothing_beside)
        return self.make(self.schema, rows.rows, rows.values, self.beside_of(rows.statuses, rows.nulls))
