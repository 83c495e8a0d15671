"""Bounded busy polling of the event loop: while requests follow one another closely, it does not sleep between them.

A loop that sleeps lets its core halt, and is woken by an interrupt, with cold caches: that takes longer than most requests do.
So after a read the loop goes on looking for the next one for up to the bound, and where nothing came it sleeps until it is woken.
It looks only where the read before came within the bound too: rare requests find a server that sleeps, and cost nothing extra.

Invariant: a server to which nothing is sent uses no processor time once the bound is over.
"""

import asyncio
import os
import time

BUSY_POLL_US = 200
"""Where the setting does not say."""


def bound_us(chosen: int | None) -> int:
    """The setting, or what it is where it was left to us: with one core the loop would keep from it whoever is to ask next."""
    if chosen is not None:
        return chosen
    return BUSY_POLL_US if len(os.sched_getaffinity(0)) > 1 else 0


class BusyPolling:
    """Of one event loop; ``heard`` is called after each read. A bound of 0 turns it off."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bound_us: int) -> None:
        self._loop = loop
        self._bound_s = bound_us / 1e6
        self._heard = False
        self._heard_at = 0.0
        self.is_polling = False

    def heard(self) -> None:
        """Something was read, and what could be answered at once was."""
        if self.is_polling:
            self._heard = True
            return
        now = time.monotonic()
        if now - self._heard_at <= self._bound_s:
            self.is_polling = True
            self._loop.call_soon(self._poll)
        self._heard_at = now

    def _poll(self) -> None:
        now = time.monotonic()
        if self._heard:
            self._heard = False
            self._heard_at = now
        elif now - self._heard_at > self._bound_s:
            self.is_polling = False
            return
        self._loop.call_soon(self._poll)  # a loop with something to run looks at its sockets without waiting
