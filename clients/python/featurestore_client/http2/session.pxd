# What the server's compiled part uses without a Python call: an event's fields, and what a session does for each request. Nothing of
# libnghttp2, whose headers the server's build need not have.


cdef enum:
    TAKEN_BYTES_MAX = 256 << 10  # at a time, unless said otherwise


cdef class StreamEvent:
    cdef readonly int stream_id
    cdef readonly bytes head
    cdef readonly bytes apart
    cdef readonly bytes data
    cdef readonly bytes trailers
    cdef readonly bint ended
    cdef readonly int error_code
    cdef Py_ssize_t _length  # of data; what it has beyond that is room for more DATA, until the end of the receive


cdef class Answering:
    cdef readonly Py_ssize_t unsent_bytes

    cpdef list receive(self, data)
    cdef bytes take_up_to(self, Py_ssize_t bytes_max)
    cpdef respond(self, int stream_id, head, bytes data, trailers)
    cdef bint is_idle(self) noexcept  # all that was queued is sent, and the connection goes on
