"""One process at a time has a directory: by a lock that the system takes away when the process ends, however that is.

A server has two: its directory, and where its rows are mapped. So two servers cannot write one journal either when they map
their rows in different places, as two containers on one volume do.
"""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from featurestore.errors import FailedPreconditionError

FILE_NAME = "LOCK"
_MODE = 0o600  # else a reader could take the lock, and keep an owner from starting


def hold(directory: Path) -> int:
    """Takes the lock of a directory that is there; returns the file to be closed at the end.

    Raises FailedPreconditionError, naming the holder, when another process has it.
    """
    path = directory / FILE_NAME
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    except OSError:  # a disk that is full, or read-only: what was there before can be locked all the same
        lock = os.open(path if path.exists() else directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(path)
        os.close(lock)
        raise FailedPreconditionError(
            f"{directory} is held by process {holder}: stop it, or work through it with --server"
        ) from None
    with suppress(OSError):  # who holds it is to be told, and no more
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()} of {socket.gethostname()}\n".encode(), 0)
        os.fchmod(lock, _MODE)
    return lock


def _holder(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip() or "that does not say which"
    except OSError:
        return "that cannot be told"
