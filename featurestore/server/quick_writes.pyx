"""The ordinary WriteFeatures, from its bytes to those of its answer: few rows of fixed-width features under an int64 key.

Compiled, because a row takes less time to be kept and written than a few calls of Python. Whatever is in any way out of the
ordinary, or has to wait, is handed over to ``FeatureWrites.write_any``, where the rules are. Invariant: of what is handed over
nothing was written.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport int64_t

from featurestore.durability.unsynced cimport Unsynced
from featurestore.server.context cimport CallContext
from featurestore.server.spans cimport bytes_of, is_ascii, is_text, text_of
from featurestore.server.write_wire cimport WriteFormat, WriteSpans, fixed_batch_of, take_write
from featurestore.service.journaled_writes cimport Destination, JournaledWrites
from featurestore.store.fixed_batch cimport FixedBatch
from featurestore_client.clock cimport now_us

from featurestore.durability import Kind
from featurestore.model import DEFAULT_PROJECT
from featurestore.service.journaled_writes import INLINE_BYTES_MAX

cdef Py_ssize_t _INLINE_BYTES_MAX = INLINE_BYTES_MAX
cdef object WRITE = int(Kind.WRITE)


cdef class QuickWrites:
    """The handler. ``plans`` has PreparedWrites by project and view, of ``service``'s version; ``answer_of`` makes an answer of the
    numbers of WriteCounts; ``write_any`` is told of all else."""

    cdef object _service, _plans, _answer_of, _write_any
    cdef JournaledWrites _writes
    cdef object _version           # by which the last view was looked up
    cdef bytes _project, _view     # the last, as they came
    cdef Destination _plan
    cdef WriteFormat _format
    cdef object _counts            # of the last answer
    cdef bytes _answer

    def __init__(self, service, plans, answer_of, write_any):
        self._service, self._plans, self._answer_of, self._write_any = service, plans, answer_of, write_any
        self._writes = service.writes
        self._project = self._view = b""

    def write(self, bytes data not None, CallContext context not None):
        """WriteFeatures, as ``write_any`` has it."""
        cdef WriteSpans request
        cdef FixedBatch batch
        cdef int64_t clock_us
        if PyBytes_GET_SIZE(data) > _INLINE_BYTES_MAX or not take_write(data, &request):
            return self._write_any(data, context)
        if (
            self._service.version != self._version or not is_text(&request.view, self._view)
            or not is_text(&request.project, self._project)
        ):
            if not (is_ascii(&request.project) and is_ascii(&request.view)):
                return self._write_any(data, context)
            self._look_up(&request)
        clock_us = now_us()
        batch = fixed_batch_of(&request.batch, data, self._format, clock_us)
        if batch is None:
            return self._write_any(data, context)
        begin = None if context.deadline is None else context.check_deadline
        counts = self._writes.write_quickly(self._plan, batch, (WRITE, data, clock_us), begin)
        if counts is None:
            return self._write_any(data, context)
        if type(counts) is tuple:
            return self._answered(counts)
        return (<Unsynced>counts).told_as(self._answered((<Unsynced>counts).outcome))

    cdef int _look_up(self, WriteSpans *request) except -1:
        self._version = None  # nothing is known until it has been looked up
        version = self._service.version
        prepared = self._plans.get((text_of(&request.project) or DEFAULT_PROJECT, text_of(&request.view)))
        self._plan, self._format = prepared.plan, prepared.format
        self._project, self._view, self._version = bytes_of(&request.project), bytes_of(&request.view), version
        return 0

    cdef bytes _answered(self, counts):
        if counts != self._counts:
            self._answer = self._answer_of(counts)
            self._counts = counts
        return self._answer
