from featurestore_client.http2.rests cimport Rests


cdef class BusyPolling:
    cdef object _call_soon, _ends_turn
    cdef double _bound_s, _since_s
    cdef Rests _rests
    cdef bint _is_prompt       # whether the last wait was within the bound
    cdef bint _is_waiting, _is_polling
    cdef bint _is_fresh        # a wait that began since the loop looked last

    cpdef wait(self)
    cpdef heard(self)
    cpdef after_turn(self, call)


cdef class DirectWriter:
    cdef object _transport
    cdef int _file             # -1 where there is none to write to
    cdef bint _has_queued      # the transport's queue may hold something

    cpdef write(self, bytes data)
