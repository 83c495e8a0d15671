"""What runs beside a server's event loop, and gives way to it and to its readers.

``SCHED_IDLE`` is Linux's: a thread of it runs where no other thread wants the core, and leaves it at once to one that wakes. A
load, or a process that writes a snapshot, holds nothing that a server or a reader waits for, so it may be held up for long.
Linux weighs control groups, and with autogroups sessions, before it looks at this: it counts within the same one.

A server's own long writes are waited for, so their threads keep a share (on Linux each is as nice as it says): 1.5 % of a core
that another thread of the process wants throughout, and any that wakes up goes first.
"""

import os
from contextlib import suppress

NICENESS_MAX = 19


def give_way(process: int = 0) -> None:
    """This thread, or that process, and what it starts later run where nothing else wants the core. There is no way back."""
    with suppress(PermissionError):  # of a sandbox: then it takes its share, as any program does
        os.sched_setscheduler(process, os.SCHED_IDLE, os.sched_param(0))


def step_back() -> None:
    """This thread has a small share of a core that another of its process wants. There is no way back."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS_MAX)  # 0: the calling thread, of which Linux says process
