"""Long work lets go of its core now and then, for those of this machine who want it for a moment: readers, an event loop.

``sched_yield`` gives the core to whoever waits for it, and gives up what was left of the thread's slice. A reader is done in
microseconds; a busy program takes all of its own slice, milliseconds each time: with a yield every ten microseconds, next to
nothing of the core would be left to us. So a yield that took so long is followed by none for ``APART`` times as long, during
which the kernel shares the core as it does between any threads. Each thread learns for itself, since a nice one (``priority``)
waits longer: 12 ms beside one busy program, with two cores.
"""

from featurestore_client.clock cimport monotonic_s

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from *:
    """
    static _Thread_local double featurestore_next_yield_s;
    """
    double featurestore_next_yield_s

cdef double LONG_S = 0.008  # a load, which gives way, may have the core for a tick or two: that is not to stop the yields
cdef int APART = 4


cdef void let_go() noexcept nogil:
    """Yields the core, where this thread has not just learned that it would not come back soon."""
    global featurestore_next_yield_s
    cdef double before = monotonic_s(), after
    if before < featurestore_next_yield_s:
        return
    sched_yield()
    after = monotonic_s()
    if after - before >= LONG_S:
        featurestore_next_yield_s = after + APART * (after - before)
