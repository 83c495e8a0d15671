"""What a request costs a server in instructions, by callgrind: the same on a busy machine as on an idle one.

The server runs under valgrind without being counted until it serves; then each process that answers is counted over a stretch
of so many requests: its beats of a second are in it, and nothing of its start.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CLIENT_REQUESTS = """
#include <valgrind/callgrind.h>
void begin(void) { CALLGRIND_START_INSTRUMENTATION; }
void dump(void) { CALLGRIND_DUMP_STATS; }
"""
START_S = 180.0
"""Of a server under valgrind, on a machine that others use."""
DUMP_S = 60.0
POLL_S = 0.02
TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)


def missing() -> str:
    """What this machine lacks; empty when nothing."""
    if not (shutil.which("valgrind") and Path("/usr/include/valgrind/callgrind.h").exists()):
        return "valgrind is not installed"
    return "" if shutil.which("cc") else "there is no C compiler"


class Counting:
    """Counts the instructions of servers that are started with ``command``; files go to ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        library = directory / "requests.so"
        source = library.with_suffix(".c")
        source.write_text(CLIENT_REQUESTS)
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        self.command = (
            *("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={directory}/%p"),
            *(sys.executable, "-m", "bench.counted_server", str(library)),
        )
        self._dumps: dict[int, int] = {}

    def begin(self, pids: Sequence[int]) -> None:
        """Counts these processes from now on; what comes first makes valgrind translate them, and is slow."""
        for pid in pids:
            os.kill(pid, signal.SIGUSR1)

    def take(self, pids: Sequence[int]) -> int:
        """The instructions of them all since the last time, or since the counting began."""
        for pid in pids:
            os.kill(pid, signal.SIGUSR2)
        return sum(self._read(pid) for pid in pids)

    def _read(self, pid: int) -> int:
        self._dumps[pid] = self._dumps.get(pid, 0) + 1
        path = self._directory / f"{pid}.{self._dumps[pid]}"
        deadline = time.monotonic() + DUMP_S
        while time.monotonic() < deadline:
            if path.exists() and (found := TOTALS.search(path.read_text())):
                return int(found.group(1))
            time.sleep(POLL_S)
        raise RuntimeError(f"callgrind did not write {path} within {DUMP_S:g} s")
