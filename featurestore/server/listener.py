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
    is_shared: bool = False
    """Other processes of this server listen on the port too (SO_REUSEPORT): each connection is one's of them."""
    inherited: socket.socket | None = None
    """Listens already, for several processes, and stays when one of them closes it."""
    mode: int = SOCKET_MODE

    def url(self, port: int = 0) -> str:
        """As clients write it, with the port that was got."""
        if isinstance(self.address, UnixAddress):
            return f"unix://{self.address}"
        return f"{'grpc' if self.tls is None else 'grpcs'}://{Address(self.address.host, port)}"

    def open(self) -> socket.socket:
        """A socket that listens. FailedPreconditionError, in a sentence, when there is none to be had."""
        if self.inherited is not None:
            return self.inherited
        opened = self.bind()
        opened.listen(BACKLOG)
        return opened

    def bind(self) -> socket.socket:
        """A socket that has the address and does not listen yet. Raises as ``open``."""
        self.check_available()
        try:
            if isinstance(self.address, UnixAddress):
                bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                bound.bind(str(self.address))
                self.address.path.chmod(self.mode)  # before it listens: nobody can have connected
                return bound
            family, target = self.address.to_listen()
            bound = socket.socket(family, socket.SOCK_STREAM)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self.is_shared:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.bind(target)
        except OSError as error:
            raise FailedPreconditionError(f"cannot listen on {self.address}: {error.strerror or error}") from None
        return bound

    def check_available(self) -> None:
        """Raises FailedPreconditionError when this process could not listen; of a shared port nobody can tell."""
        if not self.is_shared and self.inherited is None:
            self.address.check_available()

    def remove(self) -> None:
        """Takes a socket that this process made out of the file system, once it has stopped listening."""
        if isinstance(self.address, UnixAddress) and self.inherited is None:
            self.address.remove()
