"""One write on its way: who need not wait for others, then the journal, then the table, then what is to be acknowledged.

Compiled, because of a write of one row it is most of what is done before the table. Invariant: what a table has been told is in the
journal, under the definitions by which it was taken, and what was not written is in neither.
"""

cimport cython
from libc.stdint cimport uint64_t

from featurestore.durability.record_writer cimport RecordWriter
from featurestore.durability.unsynced cimport unsynced
from featurestore.store.fixed_batch cimport FixedBatch
from featurestore.store.quick_writer cimport QuickWriter
from featurestore.store.writer cimport Beginning
from featurestore_client.tables.reader cimport SnapshotReader

from featurestore.errors import FailedPreconditionError

INLINE_BYTES_MAX = 128 << 10
"""Of a message; a longer one takes too long to go into the journal while the event loop waits."""
cdef Py_ssize_t _INLINE_BYTES_MAX = INLINE_BYTES_MAX


cdef class Destination:
    """Where a write goes: a view's table, or one that is ``is_staged`` to take its place."""

    def __init__(self, str project not None, str view not None, SnapshotReader table not None, bint is_staged):
        self.project, self.view, self.table, self.is_staged = project, view, table, is_staged


cdef class JournaledWrites:
    """Those of one store. ``gates``: by the identity of a table, what its long writes and rebuilds hold, while one does.

    ``journal`` is None where nothing is kept. ``apply``, here and there, takes ``before`` as ``Table.write`` does.
    """

    def __init__(self, store, registry, journal, dict gates not None):
        self._store, self._registry, self._journal, self._gates = store, registry, journal, gates
        self._waiters = None if journal is None else journal.waiters

    cpdef bint may_begin(self, table, message) except -1:
        """Whether a write of the event loop need not wait for others."""
        return not (self._gates and id(table) in self._gates) and self.is_free(message)

    cpdef bint is_free(self, message) except -1:
        """Whether the journal takes the message at once."""
        if self._journal is None or message is None:
            return True
        # A journal that is locked is being written to, a long record most likely.
        return not (len(message[1]) > _INLINE_BYTES_MAX or self._journal.lock.is_held)

    cpdef tuple apply(self, Destination to, message, apply, begin):
        """Applies a write that the journal has taken. Returns its outcome, and its sequence there; 0: there was none."""
        cdef _Append append
        if begin is not None:
            begin()
        if self._journal is None or to.is_staged:  # a version is written down as a whole, when it is there
            return apply(), 0
        append = self._append(to, message)
        result = apply(before=append)
        return result, self._applied(append)

    cpdef write_quickly(self, Destination to, FixedBatch batch, message, begin):
        """Writes a batch that lies in its message, where that is quick and nobody is to be waited for. Returns the numbers of its
        WriteCounts, as ``acknowledged`` does; else None, and nothing is done."""
        cdef SnapshotReader table = to.table
        cdef QuickWriter writer
        cdef _Append append
        if not self.may_begin(table, message):
            return None
        if begin is not None:
            begin()
        writer = (<object>table).quick_writer
        if self._journal is None or to.is_staged:
            return writer.write(table, batch, message[2], NOTHING)
        append = self._append(to, message)
        counts = writer.write(table, batch, message[2], append)
        return self.acknowledged(counts, self._applied(append))

    cpdef acknowledged(self, result, sequence):
        """A write's outcome, as it may be told: at once, or when the disk has the record."""
        if sequence and self._waiters is not None:
            return unsynced(result, self._waiters, sequence)
        return result

    cdef _Append _append(self, Destination to, message):
        cdef _Append append = _Append.__new__(_Append)
        assert message is not None, "a write that is to be kept comes in a message"
        append.writes, append.to, append.message = self, to, message
        return append

    cdef uint64_t _applied(self, _Append append) except? 0:
        if append.sequence:
            self._journal.note_applied(append.sequence)
        return append.sequence


cdef Beginning NOTHING = Beginning()


@cython.no_gc
cdef class _Append(Beginning):
    """The record of a write, which is taken by the journal when the write can no longer fail."""

    cpdef int begin(self) except -1:
        cdef Destination to = self.to
        cdef JournaledWrites writes = self.writes
        if (<object>to.table).is_gone:
            writes._store.table(to.project, to.view)  # NotFoundError where there is none
            raise FailedPreconditionError(f"view {to.view!r} was dropped and made again meanwhile: write again")
        self.sequence = writes._journal.append_record(self.message, to.project, to.view, writes._registry.version)
        return 0

    def __call__(self):
        self.begin()
