cdef class InlineHead:
    cdef public object inline  # the handler; None: the call is not answered at once
    cdef public dict metadata
    cdef public bint sheds, takes_turns


cdef class CallContext:
    cdef public object peer
    cdef public object metadata  # as ``joined`` makes it: lower-case keys; bytes, decoded, for keys that end in ``-bin``
    cdef public object deadline  # of ``time.monotonic``; None: the caller waits forever
    cdef public object request_compressed  # whether the last request message was; None where the engine cannot tell
    cdef public object initial_metadata  # taken when the first answer goes out, or when a stream ends well without one
    cdef public object trailing_metadata  # taken when the call ends, well or not
    cdef public bint compress
