"""Where a server on a port also listens for callers of its own machine: one rule, for the server and for the client.

    /run/featurestore/PORT.sock                a service of the system, or a container's only process
    $XDG_RUNTIME_DIR/featurestore/PORT.sock    a user's own server
    /tmp/featurestore-UID/PORT.sock            where there is neither

Invariant: a socket is used only where its directory belongs to root or to the user who asks, and nobody else can write in it.
In any other directory somebody else could have put a socket, to answer in the server's name.
"""

import os
import stat
from pathlib import Path

_DIRECTORY_MODE = 0o755
"""Others of the machine may connect, as they may over TCP; none may put a socket in the server's place."""


def candidates(port: int) -> list[Path]:
    """The paths of a server on this port, the preferred one first."""
    directories = [Path("/run/featurestore")]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_absolute():
        directories.append(Path(runtime, "featurestore"))
    directories.append(Path(f"/tmp/featurestore-{os.geteuid()}"))  # noqa: S108  used only if it is ours: see is_trusted
    return [directory / f"{port}.sock" for directory in directories]


def is_trusted(directory: Path) -> bool:
    """Whether nobody but root and this user can have put what is in a directory."""
    try:
        found = directory.lstat()
    except OSError:
        return False
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid in (0, os.geteuid()) and not others_write


def find(port: int) -> list[Path]:
    """For a client: the sockets that are there and can be trusted. Whether a server still listens, connecting tells."""
    return [path for path in candidates(port) if is_trusted(path.parent) and path.is_socket()]


def claim(port: int) -> Path | None:
    """For a server: the path to listen on, in a directory that is made where it is missing; None where there is no place."""
    for path in candidates(port):
        try:
            path.parent.mkdir(_DIRECTORY_MODE, exist_ok=True)
        except OSError:
            continue
        if is_trusted(path.parent) and os.access(path.parent, os.W_OK | os.X_OK):
            return path
    return None
