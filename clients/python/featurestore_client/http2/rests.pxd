# Who looks for what comes next finds out whether somebody else wants the core (``busy_polling.py`` has the rule, for both ends).


cdef struct Rests:
    double until_s       # nobody looks before that
    double kept_until_s  # by somebody else, who had the core for longer than the bound


cdef inline bint note_yield(
    Rests *rests, double gave_s, double back_s, double bound_s, double rest_s, double crowded_s
) noexcept nogil:
    # Whether somebody else had the core for longer than the bound.
    if back_s - gave_s <= bound_s:
        return False
    if gave_s - rests.kept_until_s < crowded_s:
        rests.until_s = back_s + rest_s
    rests.kept_until_s = back_s
    return True
