cdef void let_go() noexcept nogil
