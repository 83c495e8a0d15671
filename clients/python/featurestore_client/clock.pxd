# The two clocks of compiled code, at both ends.
from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec


cdef inline double monotonic_s() noexcept nogil:
    # That of ``time.monotonic``, in seconds.
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef inline int64_t now_us() noexcept nogil:
    # That which event times are compared with, in microseconds since 1970 UTC.
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <int64_t>now.tv_sec * 1_000_000 + now.tv_nsec // 1_000
