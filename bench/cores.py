"""Which cores do what: servers on one, load generators on the others, so that a server's rate is that of one core.

Invariant: a process keeps the cores that it was started on; threads that it starts later have them too.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

ANY: frozenset[int] = frozenset()
"""Not pinned."""


class Cores(NamedTuple):
    """Core numbers."""

    servers: frozenset[int] = ANY
    clients: frozenset[int] = ANY

    @classmethod
    def split(cls) -> "Cores":
        """The first core that this process may use for servers, the others for clients; nothing pinned where there is one."""
        first, *others = sorted(os.sched_getaffinity(0))
        return cls(frozenset({first}), frozenset(others)) if others else cls()


@contextmanager
def started_on(cores: frozenset[int]) -> Iterator[None]:
    """What is started in this block, by this thread, runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
