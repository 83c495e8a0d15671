"""Writes the records of a journal, head and message, as ``record.py`` draws them: without a Python object in between.

A long one is written in pieces, between which the thread lets go of its core: the event loop, or a reader on this machine, would
wait for it for milliseconds.
"""

import os
from contextlib import suppress

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from featurestore.mutex cimport Mutex
from featurestore.yielding cimport let_go

from featurestore.durability.record import HEAD_BYTES, Sum
from featurestore.errors import InternalError

cdef extern from "hash.h" nogil:
    uint64_t hash_bytes(const void *data, uint64_t length)

cdef extern from "sum.h" nogil:
    enum:
        SUM_BLOCK_BYTES
    ctypedef struct sum_state:
        pass
    sum_state sum_begin(uint64_t length)
    sum_state sum_blocks(sum_state state, const void *data, uint64_t blocks)
    uint64_t sum_end(sum_state state, const void *rest, uint64_t bytes)

cdef extern from "sys/uio.h" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t pwritev(int file, const iovec *parts, int count, int64_t offset)

cdef extern from "unistd.h" nogil:
    ssize_t pwrite(int file, const void *data, size_t length, int64_t offset)

cdef enum:
    NAME_BYTES_MAX = 255
    ALIGNMENT = 8

PIECE_BYTES = 8 << 10  # a multiple of SUM_BLOCK_BYTES
WHOLE_BYTES = 32 << 10
"""A record up to this is not long: a batch of a hundred rows is summed and written in less time than it takes to pause twice."""
cdef Py_ssize_t _PIECE_BYTES = PIECE_BYTES, _WHOLE_BYTES = WHOLE_BYTES
cdef uint8_t _SUM = Sum.LANES

cdef packed struct Head:
    uint64_t checksum          # of the rest and the names, mixed with the journal's number
    uint64_t message_checksum
    uint32_t message_bytes
    uint8_t kind
    uint8_t project_bytes
    uint8_t view_bytes
    uint8_t sum
    uint64_t sequence
    uint64_t synced
    uint64_t definitions
    int64_t clock_us

cdef struct Named:
    Head head
    char[2 * NAME_BYTES_MAX] names

assert sizeof(Head) == HEAD_BYTES, "record.py reads what is written here"


cdef class RecordWriter:
    """The end of a journal: appends records, and knows which of them are applied. ``Journal`` has the files.

    Safe to use from several threads. Invariants: records stand in the order of their sequence, without a gap; one that could not be
    written whole is not there.
    """

    def __init__(self, uint64_t number, uint64_t last, mark, int64_t turn_offset, uint64_t bytes_since_snapshot):
        """``mark``: a uint64 that says up to which record all are applied; from ``turn_offset`` on ``_turn_file`` is asked for each
        record."""
        self.lock = Mutex()
        self.number, self.last, self._applied, self._synced = number, last, last, last
        self._applied_ahead = set()
        self._mark = mark
        self._file = -1
        self._turn_offset = turn_offset
        self.bytes_since_snapshot = bytes_since_snapshot

    def append(self, message, str project not None, str view not None, uint64_t definitions):
        """Writes a record of an ``Entry``'s parts; returns its sequence. It is to be reported by ``applied``.

        Raises ResourceExhaustedError where the disk is full: nothing is kept then, and a later call may succeed.
        """
        return self.append_record(message, project, view, definitions)

    cdef uint64_t append_record(self, message, str project, str view, uint64_t definitions) except 0:
        cdef uint64_t sequence
        cdef Py_ssize_t size
        self.lock.acquire()
        try:
            if self._failure is not None:
                # Not the very one: each raise of it would add to its traceback, and so keep what was asked of every caller.
                raise InternalError(self._failure.message)
            sequence = self.last + 1
            if self.turns or self._file < 0 or self._offset >= self._turn_offset:
                self._turn_file(sequence)
            try:
                size = self._write(message, project, view, definitions, sequence)
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(self._file, self._offset)  # else it is cut when the journal is read
                raise self._refusal(error, len(message[1])) from None
            self._offset += size
            self.bytes_since_snapshot += size
            self.last = sequence
            if self._group is not None:
                if self._is_one_file:
                    self._group.note(self._file, sequence)
                else:
                    self._group.stop()  # it knows one file
            return sequence
        finally:
            self.lock.release()

    def applied(self, uint64_t sequence):
        """The record's effects are in the tables."""
        self.note_applied(sequence)

    cdef int note_applied(self, uint64_t sequence) except -1:
        self.lock.acquire()
        try:
            if sequence != self._applied + 1:
                self._applied_ahead.add(sequence)
                return 0
            self._applied = sequence
            while self._applied_ahead and self._applied + 1 in self._applied_ahead:
                self._applied += 1
                self._applied_ahead.remove(self._applied)
            self._mark[0] = self._applied
        finally:
            self.lock.release()
        return 0

    @property
    def applied_to(self):
        """Up to which record all are applied."""
        return self._applied

    def forget_bytes(self, uint64_t count):
        """So many bytes of the journal have become needless."""
        self.lock.acquire()
        self.bytes_since_snapshot -= count
        self.lock.release()

    cdef Py_ssize_t _write(self, message, str project, str view, uint64_t definitions, uint64_t sequence) except -1:
        """Writes a ``Message``'s record at the file's end; returns its bytes. Raises OSError: a part may be written."""
        cdef Named named
        cdef Py_ssize_t project_bytes, view_bytes
        cdef const char *project_text = PyUnicode_AsUTF8AndSize(project, &project_bytes)
        cdef const char *view_text = PyUnicode_AsUTF8AndSize(view, &view_bytes)
        cdef bytes data = message[1]
        cdef int failure
        cdef Py_ssize_t padding
        cdef iovec[3] parts
        if project_bytes > NAME_BYTES_MAX or view_bytes > NAME_BYTES_MAX:
            raise ValueError(f"names of {project_bytes} and {view_bytes} bytes: expected at most {NAME_BYTES_MAX}")
        named.head.kind, named.head.clock_us = message[0], message[2]
        named.head.message_bytes = PyBytes_GET_SIZE(data)
        named.head.project_bytes, named.head.view_bytes, named.head.sum = project_bytes, view_bytes, _SUM
        named.head.sequence, named.head.synced, named.head.definitions = sequence, self._synced, definitions
        memcpy(named.names, project_text, project_bytes)
        memcpy(named.names + project_bytes, view_text, view_bytes)
        parts[0].iov_base, parts[0].iov_len = &named, sizeof(Head) + project_bytes + view_bytes
        parts[1].iov_base, parts[1].iov_len = PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
        padding = -<Py_ssize_t>(parts[0].iov_len + parts[1].iov_len) & (ALIGNMENT - 1)
        parts[2].iov_base, parts[2].iov_len = ZEROS, padding
        with nogil:
            named.head.message_checksum = sum_in_pieces(<char *>parts[1].iov_base, parts[1].iov_len)
            named.head.checksum = self.number ^ hash_bytes(<char *>&named + sizeof(uint64_t), parts[0].iov_len - sizeof(uint64_t))
            failure = write_parts(self._file, parts, self._offset)
        if failure:
            raise OSError(failure, os.strerror(failure))
        return parts[0].iov_len + parts[1].iov_len + padding


cdef uint64_t sum_in_pieces(const char *data, Py_ssize_t size) noexcept nogil:
    # As sum_bytes.
    cdef sum_state state = sum_begin(size)
    cdef Py_ssize_t blocks
    while size > _WHOLE_BYTES:
        state = sum_blocks(state, data, _PIECE_BYTES // SUM_BLOCK_BYTES)
        data += _PIECE_BYTES
        size -= _PIECE_BYTES
        let_go()
    blocks = size // SUM_BLOCK_BYTES
    state = sum_blocks(state, data, blocks)
    return sum_end(state, data + blocks * SUM_BLOCK_BYTES, size % SUM_BLOCK_BYTES)


cdef char[ALIGNMENT] ZEROS
memset(ZEROS, 0, sizeof(ZEROS))


cdef int write_parts(int file, iovec *parts, int64_t offset) noexcept nogil:
    # Returns the error's number, or 0. A full disk takes a part, and says why when the rest follows.
    cdef Py_ssize_t size = parts[0].iov_len + parts[1].iov_len + parts[2].iov_len
    cdef Py_ssize_t written = 0, start, piece
    cdef int k
    if size <= _WHOLE_BYTES:
        written = pwritev(file, parts, 3, offset)
        if written == size:
            return 0
        if written < 0:
            if errno != EINTR:
                return errno
            written = 0
    for k in range(3):
        start = min(written, <Py_ssize_t>parts[k].iov_len)
        written -= start
        offset += start
        while start < <Py_ssize_t>parts[k].iov_len:
            piece = pwrite(file, <char *>parts[k].iov_base + start, min(parts[k].iov_len - start, _PIECE_BYTES), offset)
            if piece < 0 and errno != EINTR:
                return errno
            start += max(piece, 0)
            offset += max(piece, 0)
            let_go()
    return 0
