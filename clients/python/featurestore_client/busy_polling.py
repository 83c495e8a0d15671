"""Bounded busy polling: how long either end of a connection looks for what comes next before it sleeps.

Who sleeps lets a core halt, and is woken by an interrupt, with cold caches: between processes of one machine or rack that
takes longer than a request does. All follow one rule: they look for up to the bound, where what they waited for the last time
came within it, and then sleep until they are woken. So a wait in vain costs the bound once, and rare requests cost nothing.
Each look is followed by a ``sched_yield``. Where that takes longer than the bound, somebody else wants the core: who used it up
by looking would wait for milliseconds when there is something to do, who has slept does not. So nobody looks for ``REST_S``.

Here is the bound, and an event loop's way of looking; a blocking client's is ``http2/busy_receive.pyx``. What is gained, and at
what cost: docs/decisions/busy-polling.md.
"""

import asyncio
import os
import time
from typing import Final

BUSY_POLL_US: Final = 200
"""About what two wake-ups and a request take: below that, two ends that both sleep would not find out that they need not."""
BUSY_POLL_US_MAX: Final = 10_000
REST_S: Final = 0.1


def bound_us(chosen: int | None) -> int:
    """What was chosen. Else 0 where this process may use one core alone: it would keep whom it waits for from it."""
    if chosen is not None:
        return chosen
    return BUSY_POLL_US if len(os.sched_getaffinity(0)) > 1 else 0


class BusyPolling:
    """Of one event loop. Invariant: it uses no processor time once a wait has taken longer than the bound, or is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bound_us: int) -> None:
        self._loop = loop
        self._bound_s = bound_us / 1e6
        self._since_s = 0.0
        self._rests_until_s = 0.0
        self._is_prompt = False  # whether the last wait was within the bound
        self._is_waiting = False
        self._is_polling = False
        self._is_fresh = False  # a wait that began since the loop looked last

    def wait(self) -> None:
        """There is nothing to do until the other end is heard."""
        self._is_waiting = self._is_fresh = True
        if not self._is_polling and self._bound_s:
            self._since_s = time.monotonic()
            if self._is_prompt:
                self._is_polling = True
                self._loop.call_soon(self._poll)

    def heard(self) -> None:
        """The other end was heard."""
        self._is_waiting = False
        if not self._is_polling and self._bound_s:
            now_s = time.monotonic()
            self._is_prompt = now_s - self._since_s <= self._bound_s and now_s >= self._rests_until_s

    def _poll(self) -> None:
        # A loop that has something to run looks at its sockets without waiting: this is what it has to run.
        now_s = time.monotonic()
        if self._is_fresh:
            self._is_fresh = False
            self._since_s = now_s
        elif now_s - self._since_s > self._bound_s:
            self._is_prompt = False
        if self._is_prompt and self._is_waiting:
            os.sched_yield()  # to the other end, where it waits for this very core
            self._loop.call_soon(self._poll)
            back_s = time.monotonic()
            if back_s - now_s > self._bound_s:
                self._is_prompt = False
                self._rests_until_s = back_s + REST_S
        else:
            self._is_polling = False
