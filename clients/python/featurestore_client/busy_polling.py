"""Bounded busy polling: how long either end of a connection looks for what comes next before it sleeps.

Who sleeps lets a core halt, and is woken by an interrupt, with cold caches: between processes of one machine or rack that
takes longer than a request does. All follow one rule: they look for up to the bound, where what they waited for the last time
came within it, and then sleep until they are woken. So a wait in vain costs the bound once, and rare requests cost nothing.
Each look but the first is followed by a ``sched_yield``. Where that takes longer than the bound, and another one within
``CROWDED_S`` of it too, somebody else wants the core: who used it up by looking would wait for milliseconds when there is
something to do, who has slept does not. So nobody looks for ``REST_S``. (One such yield alone is something that woke up for
once, as all programs do.)

Here is the bound; an event loop looks in ``http2/event_loop.pyx``, a blocking client in ``http2/busy_receive.pyx``.
What is gained, and at what cost: docs/decisions/busy-polling.md.
"""

import os
from typing import Final

BUSY_POLL_US: Final = 200
"""About what two wake-ups and a request take: below that, two ends that both sleep would not find out that they need not."""
BUSY_POLL_US_MAX: Final = 10_000
REST_S: Final = 0.1
CROWDED_S: Final = 0.002


def bound_us(chosen: int | None) -> int:
    """What was chosen. Else 0 where this process may use one core alone: it would keep whom it waits for from it."""
    if chosen is not None:
        return chosen
    return BUSY_POLL_US if len(os.sched_getaffinity(0)) > 1 else 0
