"""The ordinary GetFeatures, from its bytes to those of its answer: rows of one view, looked up by an int64 key, as a matrix.

Compiled, because model servers ask for the same features a hundred thousand times a second. Whatever is in any way out of the
ordinary is handed over to ``FeatureReads.get_any``, where the rules are. Invariant: an answer from here is, byte for byte, the one
from there.
"""

from featurestore.server.read_wire cimport AnswerFormat, AnswerWriter, KeyColumn, ReadSpans, take_read
from featurestore.server.spans cimport Span, bytes_of, is_text
from featurestore_client.tables.keys cimport KeyBatch
from featurestore_client.tables.reader cimport Projection, RowBatch, SnapshotReader

from featurestore.service.plan_cache import KEY_BYTES_MAX

cdef Py_ssize_t _SELECTION_BYTES_MAX = KEY_BYTES_MAX


cdef class QuickRead:
    """One selection of that kind: what ``projection`` has of ``table``, by the key of that name, no more than ``rows_max`` rows."""

    cdef SnapshotReader _table
    cdef Projection _projection
    cdef bytes _key_name
    cdef AnswerFormat _answers
    cdef Py_ssize_t _rows_max

    def __init__(
        self, SnapshotReader table not None, Projection projection not None, str key_name not None, AnswerFormat answers not None,
        Py_ssize_t rows_max,
    ):
        self._table, self._projection, self._answers = table, projection, answers
        self._key_name = key_name.encode()
        self._rows_max = rows_max

    cdef bytes answer(self, bytes data, ReadSpans *request):
        cdef KeyColumn *column = &request.columns[0]
        cdef Py_ssize_t rows = column.int64s.length // 8
        cdef KeyBatch keys
        cdef RowBatch found
        cdef AnswerWriter answer
        if (
            request.count != 1 or not is_text(&column.name, self._key_name) or column.int64s.length % 8 or not 0 < rows <= self._rows_max
            or column.data.length or column.offsets.length
        ):
            return None
        keys = KeyBatch.__new__(KeyBatch)
        keys.rows, keys.base, keys.stride, keys._held = rows, <const char *>column.int64s.at, 8, data
        keys._hash()
        answer = self._answers.begin(rows, request.known_schema_id)
        found = self._table.read_now(keys, self._projection, answer)
        return answer.finish(None, found.statuses, found.nulls, None)


cdef class QuickReads:
    """The handler. ``plans`` has PreparedReads by selection, of ``service``'s version; ``get_any`` is told of all else."""

    cdef object _service, _plans, _get_any
    cdef object _version           # by which the last selection was looked up
    cdef bytes _selection          # the last
    cdef QuickRead _read           # None: it is not ordinary

    def __init__(self, service, plans, get_any):
        self._service, self._plans, self._get_any = service, plans, get_any
        self._selection = b""

    def get(self, bytes data not None, context):
        """GetFeatures, as ``get_any`` has it."""
        cdef ReadSpans request
        if take_read(data, &request) and request.selection.length <= _SELECTION_BYTES_MAX:
            if self._service.version != self._version or not is_text(&request.selection, self._selection):
                self._look_up(&request.selection)
            if self._read is not None:
                answer = self._read.answer(data, &request)
                if answer is not None:
                    return answer
        return self._get_any(data, context)

    cdef int _look_up(self, Span *selection) except -1:
        self._version = None  # nothing is known until it has been looked up
        version = self._service.version
        found = bytes_of(selection)
        self._read = self._plans.get(found).quick
        self._selection, self._version = found, version
        return 0
