"""What runs beside a server on its machine, and gives way to it and to its readers.

``SCHED_IDLE`` is Linux's: a thread of it runs where no other thread wants the core, and leaves it at once to one that wakes. A
load, or a process that writes a snapshot, holds nothing that a server or a reader waits for, so it may be held up for long.
Linux weighs control groups, and with autogroups sessions, before it looks at this: it counts within the same one.
"""

import os
from contextlib import suppress


def give_way(process: int = 0) -> None:
    """This thread, or that process, and what it starts later run where nothing else wants the core. There is no way back."""
    with suppress(PermissionError):  # of a sandbox: then it takes its share, as any program does
        os.sched_setscheduler(process, os.SCHED_IDLE, os.sched_param(0))
