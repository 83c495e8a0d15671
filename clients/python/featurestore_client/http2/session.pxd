# What the server's compiled part reads of an event without a Python call a field.


cdef class StreamEvent:
    cdef readonly int stream_id
    cdef readonly bytes head
    cdef readonly bytes apart
    cdef readonly bytes data
    cdef readonly bytes trailers
    cdef readonly bint ended
    cdef readonly int error_code
    cdef Py_ssize_t _length  # of data; what it has beyond that is room for more DATA, until the end of the receive
