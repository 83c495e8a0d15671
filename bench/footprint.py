"""How much memory something really takes: pages, not what an object says of itself.

A subject's memory is what its process's private memory grew by, plus what it keeps outside: blocks of its files in tmpfs, or
the memory of a server. Mapped files are not in the first (RssAnon), so nothing counts twice.
"""

import ctypes
import gc
from pathlib import Path

BLOCK_BYTES = 512


def private_bytes(process: int | str = "self") -> int:
    """Private resident memory of a process, freed memory given back to the system first where it is this one."""
    if process == "self":
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def file_bytes(directory: Path) -> int:
    """What the files below a directory occupy: allocated blocks, so holes count nothing and slack counts fully."""
    return sum(path.stat().st_blocks * BLOCK_BYTES for path in directory.rglob("*") if path.is_file())
