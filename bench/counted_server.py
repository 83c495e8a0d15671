"""``featurestore``, the command, as callgrind can count it: SIGUSR1 begins counting in a process, SIGUSR2 ends a stretch of it.

Run under valgrind by ``bench/instructions.py``, which compiles the two requests to it (the first argument names the library).
Python calls the handlers between two steps of a program, where valgrind allows them; forked processes have them too.
"""

import ctypes
import signal
import sys

from featurestore.cli.main import main

if __name__ == "__main__":
    requests = ctypes.CDLL(sys.argv.pop(1))
    signal.signal(signal.SIGUSR1, lambda *_: requests.begin())
    signal.signal(signal.SIGUSR2, lambda *_: requests.dump())
    main()
