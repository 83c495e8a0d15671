"""Bounded busy polling of the event loop: while requests follow one another closely, it does not sleep between them.

After a read the loop goes on looking for the next one for up to the bound, if the read before came within the bound too; then
it sleeps until it is woken. Why, and what it costs: docs/decisions/busy-polling.md.

Invariant: a server to which nothing is sent uses no processor time once the bound is over.
"""

import asyncio
import os
import time


class BusyPolling:
    """Of one event loop; ``heard`` is called after each read. A bound of 0 turns it off."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bound_us: int) -> None:
        self._loop = loop
        self._bound_s = bound_us / 1e6
        self._heard = False
        self._heard_at = 0.0
        self._is_polling = False
        self._yield = os.sched_yield

    def heard(self) -> None:
        """Something was read, and what could be answered at once was."""
        if self._is_polling:
            self._heard = True
        elif self._bound_s:
            now = time.monotonic()
            if now - self._heard_at <= self._bound_s:
                self._is_polling = True
                self._loop.call_soon(self._poll)
            self._heard_at = now

    def _poll(self) -> None:
        # A loop that has something to run looks at its sockets without waiting: this is what it has to run.
        now = time.monotonic()
        if self._heard:
            self._heard = False
            self._heard_at = now
        elif now - self._heard_at > self._bound_s:
            self._is_polling = False
            return
        self._yield()  # to whoever is to ask next, where it waits for this very core
        self._loop.call_soon(self._poll)
