"""What runs beside a server's event loop, and gives way to it and to its readers.

``SCHED_IDLE`` is Linux's: a thread of it runs where no other thread wants the core, and leaves it at once to one that wakes. A
load, or a process that writes a snapshot, holds nothing that a server or a reader waits for, so it may be held up for long.
Linux weighs control groups, and with autogroups sessions, before it looks at this: it counts within the same one.

A server's own long writes are waited for, and their threads may hold Python's lock when they lose the core. So they are nice,
but not as nice as can be (on Linux each thread is as nice as it says): they keep a tenth of a core that another thread wants
throughout, and one that wakes up goes first. Niceness 19 would leave them 1.5 % beside one busy program and 0.4 % beside four,
with the event loop waiting for the lock meanwhile.
"""

import os
from contextlib import suppress

NICENESS = 10


def give_way(process: int = 0) -> None:
    """This thread, or that process, and what it starts later run where nothing else wants the core. There is no way back."""
    with suppress(PermissionError):  # of a sandbox: then it takes its share, as any program does
        os.sched_setscheduler(process, os.SCHED_IDLE, os.sched_param(0))


def step_back() -> None:
    """This thread has a tenth of a core that another of its process wants. There is no way back."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)  # 0: the calling thread, of which Linux says process
