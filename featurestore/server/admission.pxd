cdef class Admission:
    cdef object _after_turn, _end_turn
    cdef double began            # when the turn under way read its first socket; 0: there is none
    cdef double _calm, _refused_at, _told_at
    cdef double _share           # of a read, in calls; 0: all are taken up
    cdef double credit           # so many calls more are taken up in this turn
    cdef long _reads, answered, _refused, _long_turns
    cdef long _excess            # so many calls of the read under way are refused before others are taken up
    cdef readonly unsigned long calls, refused  # since the loop began

    cdef int begin_read(self) except -1
    cdef void expect(self, Py_ssize_t calls) noexcept
    cdef bint is_full(self) noexcept
    cdef void refuse(self) noexcept
    cdef int _tell(self, double now, double took) except -1
