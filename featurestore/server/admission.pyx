"""Which calls are taken up while more of them come than this process can answer.

A call waits where the server does not see it, in the buffers of sockets, until the event loop comes round to its socket:

    turn | read A: call call call | read B: call call | read C: call | ... | poll |
         '------- so long does a call wait that comes just after its socket was read ------'

So the length of a turn is how long calls wait, and it is what is kept short. A long turn alone is no overload but a burst, which is
served. Where every turn was longer than ``LONG_TURN_S`` for ``PATIENCE_S``, more comes than goes: from then on each read has a share of
what a turn of ``TURN_S`` can answer, by what the turn before could, and the calls beyond it are refused at once, in words that were
encoded beforehand. Of a read those are refused that came first, since they have waited longest: whoever is answered waited for a part
of a turn. Until ``PATIENCE_S`` after the last refusal. Why so: docs/decisions/admission.md.

Invariants: a refused call was not looked at; each socket has the same share, and what one leaves is the others'; where no more
than ``CALLS_MIN`` calls are under way at a time none is refused, however long they take.
"""

import logging

from featurestore_client.clock cimport monotonic_s

_log = logging.getLogger(__name__)

cdef double LONG_TURN_S = 0.005
cdef double TURN_S = 0.001
cdef double PATIENCE_S = 0.1
cdef long LONG_TURNS = 3          # at least so many: one is long too where the machine stood still
cdef double CALLS_MIN = 32
cdef double TOLD_EVERY_S = 10.0
cdef double ALL = 1e18
cdef double CALLS_MAX = 1e9


cdef class Admission:
    """Of one event loop. ``after_turn`` has something called when all sockets that had something to read have been read."""

    def __init__(self, after_turn):
        self._after_turn = after_turn
        self._end_turn = self.end_turn
        self.credit = ALL
        self._calm = monotonic_s()
        self._told_at = -TOLD_EVERY_S

    cdef int begin_read(self) except -1:
        """A socket was read."""
        if self.began == 0:
            self.began = monotonic_s()
            self._after_turn(self._end_turn)
        self._reads += 1
        if self._share:
            self.credit += self._share
        return 0

    def takes_up(self):
        """Whether the next call is."""
        if self.is_full():
            self.refuse()
            return False
        self.credit -= 1
        self.answered += 1
        return True

    cdef void expect(self, Py_ssize_t calls) noexcept:
        """So many are in one read. Of those beyond its share the ones that came first are refused: they have waited longest."""
        self.calls += calls
        self._excess = calls - <long>self.credit if self.credit < calls else 0

    cdef bint is_full(self) noexcept:
        """Whether the next call is to be refused."""
        return self._excess > 0 or self.credit < 1

    cdef void refuse(self) noexcept:
        """Counts a call that is refused."""
        self._excess -= 1
        self._refused += 1
        self.refused += 1

    def end_turn(self):
        """A turn of the loop is over."""
        cdef double now = monotonic_s()
        cdef double took = now - self.began
        if self._refused:
            self._refused_at = now
        # Twice as many: what is answered early in a turn may come again on a socket that is read later.
        if self.answered + self._refused > 2 * CALLS_MIN and (took > LONG_TURN_S or self._refused):
            self._long_turns += 1
            if not self._share and self._long_turns >= LONG_TURNS and now - self._calm > PATIENCE_S:
                self._tell(now, took)
                self._refused_at = now
                self._share = 1
            if self._share:
                self._share = max(CALLS_MIN, self.answered * TURN_S / took) / self._reads
                # What is left over of a call is kept, else a share below 1 would be none.
                self.credit = self.credit - <long>self.credit if self.credit < CALLS_MAX else 0
        else:
            self._calm = now
            self._long_turns = 0
            if self._share:
                self.credit = CALLS_MIN  # few calls are all taken up
                if now - self._refused_at > PATIENCE_S:
                    self._share = 0
                    self.credit = ALL
        self.began = 0
        self._reads = self.answered = self._refused = self._excess = 0

    cdef int _tell(self, double now, double took) except -1:
        if now - self._told_at > TOLD_EVERY_S:
            self._told_at = now
            fields = {"turn_ms": round(took * 1e3, 1), "calls": self.answered, "sockets": self._reads, "refused": self.refused}
            _log.warning("overloaded", extra={"fields": fields})
        return 0
