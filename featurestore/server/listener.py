"""Where an engine listens, and whether over TLS."""

import socket
from typing import NamedTuple

from featurestore.address import Address, UnixAddress
from featurestore.errors import FailedPreconditionError
from featurestore.server.tls import Tls

SOCKET_MODE = 0o660
"""Of a socket in the file system: the owner's and its group's, as far as its directory lets them."""

BACKLOG = 1_024


class Listener(NamedTuple):
    """One address."""

    address: Address | UnixAddress
    tls: Tls | None = None

    def url(self, port: int = 0) -> str:
        """As clients write it, with the port that was got."""
        if isinstance(self.address, UnixAddress):
            return f"unix://{self.address}"
        return f"{'grpc' if self.tls is None else 'grpcs'}://{Address(self.address.host, port)}"

    def open(self) -> socket.socket:
        """A socket that listens. FailedPreconditionError, in a sentence, when there is none to be had."""
        self.address.check_available()
        try:
            if isinstance(self.address, UnixAddress):
                opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                opened.bind(str(self.address))
                self.address.path.chmod(SOCKET_MODE)  # before it listens: nobody can have connected
                opened.listen(BACKLOG)
                return opened
            family, kind, _, _, target = socket.getaddrinfo(
                self.address.host, self.address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            opened = socket.socket(family, kind)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(target)
            opened.listen(BACKLOG)
        except OSError as error:
            raise FailedPreconditionError(f"cannot listen on {self.address}: {error.strerror or error}") from None
        return opened
