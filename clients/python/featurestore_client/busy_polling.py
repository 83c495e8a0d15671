"""How long either end of a connection looks for what comes next before it sleeps: the bound, where nobody has chosen it.

Who sleeps lets a core halt, and is woken by an interrupt, with cold caches: between processes of one machine or rack that
takes longer than a request does. Both ends follow one rule: they look only where what they waited for the last time came within
the bound. So a wait in vain costs the bound once, and rare requests cost nothing.
"""

import os
from typing import Final

BUSY_POLL_US: Final = 200
"""About what two wake-ups and a request take: below that, two ends that both sleep would not find out that they need not."""
BUSY_POLL_US_MAX: Final = 10_000


def bound_us(chosen: int | None) -> int:
    """What was chosen. Else 0 where this process may use one core alone: it would keep whom it waits for from it."""
    if chosen is not None:
        return chosen
    return BUSY_POLL_US if len(os.sched_getaffinity(0)) > 1 else 0
