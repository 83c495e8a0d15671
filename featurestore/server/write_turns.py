"""Long writes take turns, so that reads pass them.

A write of a hundred rows takes as long as several reads. Where several writers' requests have come when the event loop looks at
its sockets, a read that comes with them, or just after, would wait for all of them: so one is done in a turn of the loop, and
each of the others in one of the next, between which the loop takes in what has come. A turn costs a system call.
"""

import asyncio
from collections import deque
from collections.abc import Callable

LONG_BYTES = 4 << 10
"""From here on a write is long."""
LONG_BYTES_MAX = 128 << 10
"""Beyond this it does not run on the loop."""
WAITING_MAX = 32
"""More do not wait: their turn gets long, which is how admission sees that there are too many."""


class WriteTurns:
    """Of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_taken = False
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self) -> bool:
        """Whether a long write may be done now; if not, it is to ``wait``."""
        if not self._is_taken:
            self._is_taken = True
            self._loop.call_soon(self._end)  # what is called soon is called before the loop polls again
            return True
        return len(self._waiting) >= WAITING_MAX

    def wait(self, write: Callable[[], None]) -> None:
        """Has it called when its turn has come."""
        self._waiting.append(write)

    def _end(self) -> None:
        self._is_taken = False
        if self._waiting:
            self.take()
            self._waiting.popleft()()
