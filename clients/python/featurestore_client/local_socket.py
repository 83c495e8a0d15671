"""Where a server also listens for callers of its own machine: one rule, for the server and for the client.

    /run/featurestore/IP-PORT.sock                a service of the system, or a container's only process
    $XDG_RUNTIME_DIR/featurestore/IP-PORT.sock    a user's own server
    /tmp/featurestore-UID/IP-PORT.sock            where there is neither

IP is the one that the server listens on: 127.0.0.1, or 0.0.0.0 for all of the machine's. Invariants: who dials an address finds
the socket of that very server, as a port may be another server's on each of a machine's addresses. And a socket is used only
where its directory belongs to root or to the user who asks, and nobody else can write in it: in any other directory somebody
else could have put a socket, to answer in the server's name.
"""

import os
import stat
from pathlib import Path

_DIRECTORY_MODE = 0o755
"""Others of the machine may connect, as they may over TCP; none may put a socket in the server's place."""


def _directories() -> list[Path]:
    """Where sockets may lie, the preferred one first."""
    directories = [Path("/run/featurestore")]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_absolute():
        directories.append(Path(runtime, "featurestore"))
    directories.append(Path(f"/tmp/featurestore-{os.geteuid()}"))  # noqa: S108  used only if it is ours: see is_trusted
    return directories


def candidates(ip: str, port: int) -> list[Path]:
    """The paths of a server that listens on this address, as getaddrinfo writes it; the preferred one first."""
    name = f"{ip.replace('%', '_')}-{port}.sock"  # fe80::1%eth0: in a URL % begins a code
    return [directory / name for directory in _directories()]


def is_trusted(directory: Path) -> bool:
    """Whether nobody but root and this user can have put what is in a directory."""
    try:
        found = directory.lstat()
    except OSError:
        return False
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid in (0, os.geteuid()) and not others_write


def is_any(port: int) -> bool:
    """Whether there may be a socket of a server on this port; else no name has to be resolved in order to look for one."""
    return any(True for directory in _directories() for _ in directory.glob(f"*-{port}.sock"))


def find(ip: str, port: int) -> list[Path]:
    """For a client that dials an address of this machine: the sockets that are there and can be trusted.

    Those of a server on that address, then of one on all addresses of its family: beside one on the address, the system lets
    none on all of them have the port. Whether a server still listens, connecting tells.
    """
    wildcard = "::" if ":" in ip else "0.0.0.0"  # noqa: S104  not to listen on
    paths = [path for each in dict.fromkeys((ip, wildcard)) for path in candidates(each, port)]
    return [path for path in paths if is_trusted(path.parent) and path.is_socket()]


def claim(ip: str, port: int) -> Path | None:
    """For a server: the path to listen on, in a directory that is made where it is missing; None where there is no place."""
    for path in candidates(ip, port):
        try:
            path.parent.mkdir(_DIRECTORY_MODE, exist_ok=True)
        except OSError:
            continue
        if is_trusted(path.parent) and os.access(path.parent, os.W_OK | os.X_OK):
            return path
    return None
