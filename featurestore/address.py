"""Where a server listens: reading it, judging whether it is this machine alone, and finding out early that it cannot be had."""

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featurestore.errors import FailedPreconditionError

_UNIX_PATH_BYTES_MAX = 107  # sockaddr_un of Linux


@dataclass(frozen=True)
class Address:
    """A host (a name or an IP address) and a port; port 0 stands for any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Reads ``127.0.0.1:7400``, ``localhost:7400`` or ``[::1]:7400``. ValueError says what was expected."""
        host, separator, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if (
            not separator
            or not bare
            or not port.isascii()
            or not port.isdigit()
            or int(port) > 65_535
            or (":" in bare) != (bare != host)
        ):
            raise ValueError("expected HOST:PORT, such as 127.0.0.1:7400, [::1]:7400 or 0.0.0.0:7400")
        return cls(bare, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def to_listen(self) -> tuple[socket.AddressFamily, Any]:
        """What a server that is told to listen here listens on: of a name's addresses the first. OSError where it has none."""
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return found[0][0], found[0][4]

    def check_available(self) -> None:
        """Raises FailedPreconditionError, in a sentence, when this process could not listen there.

        gRPC itself only says that binding failed, and logs the reason from C.
        """
        try:
            family, target = self.to_listen()
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(target)
                probe.listen(1)
        except OSError as error:
            raise FailedPreconditionError(f"cannot listen on {self}: {self._reason(error)}") from None

    def _reason(self, error: OSError) -> str:
        if error.errno == errno.EADDRINUSE:
            return f"port {self.port} is taken by another process; stop that one, or choose another port with --listen"
        if error.errno == errno.EACCES:
            return f"port {self.port} needs more rights than this user has; choose one from 1024 up with --listen"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"no interface of this machine has the address {self.host}; choose one that has with --listen"
        if isinstance(error, socket.gaierror):
            return f"the name {self.host!r} does not resolve ({error.strerror}); choose another with --listen"
        return f"{error.strerror or error}; choose another address with --listen"


@dataclass(frozen=True)
class UnixAddress:
    """A socket in the file system, for callers on this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def check_available(self) -> None:
        """Removes the socket of a server that is gone. FailedPreconditionError when this process cannot listen."""
        if len(os.fsencode(self.path)) > _UNIX_PATH_BYTES_MAX:
            raise FailedPreconditionError(f"cannot listen on {self}: expected a path of at most {_UNIX_PATH_BYTES_MAX} bytes")
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.path))
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise FailedPreconditionError(f"cannot listen on {self}: {error.strerror or error}") from None
        else:
            raise FailedPreconditionError(
                f"cannot listen on {self}: another process does; stop that one, or choose another path with --unix-socket"
            )
        if not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise FailedPreconditionError(
                f"cannot listen on {self}: its directory is not there, or not this user's to write to"
            )

    def remove(self) -> None:
        """Takes the socket out of the file system, once nobody listens."""
        self.path.unlink(missing_ok=True)
