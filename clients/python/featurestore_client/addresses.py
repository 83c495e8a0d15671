"""Where servers are: what a user writes, and the sockets' addresses that come of it.

    featurestore://host[:port]   what is fastest and there. On the server's own machine: its memory for reads, if it
                                 permits that, and its unix socket for the rest; else TCP
    shm://host[:port]            the same, and an error where the server's memory cannot be had
    grpc://host[:port]           TCP
    grpcs://host[:port]          TLS over TCP
    unix:///path                 a unix socket

Invariant: a ``featurestore://`` address with TLS options is TLS over TCP, as ``grpcs://`` is: who asks for TLS never gets less.
"""

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from featurestore_client import local_socket
from featurestore_client.errors import InvalidArgumentError
from featurestore_client.tls import Tls

PORT = 7_400
_EXPECTED = "featurestore://host, shm://host, grpc://host:port, grpcs://host:port with TLS, or unix:///path"

Memory = Literal["off", "preferred", "required"]
"""Whether reads go through shared memory."""

_MEMORY: Mapping[str, Memory] = {"featurestore": "preferred", "shm": "required", "grpc": "off", "grpcs": "off"}

Place = tuple[socket.AddressFamily, Any]
"""What a socket connects to: its family and address."""


@dataclass(frozen=True)
class Address:
    """One server."""

    text: str
    """As the user gave it; for messages."""
    host: str
    port: int
    path: str | None = None
    """Of a unix socket; it has neither host nor port."""
    secure: bool = False
    prefers_unix: bool = False
    """Whether the server's unix socket will do as well, where host is this machine."""
    memory: Memory = "off"

    @property
    def authority(self) -> str:
        """``host:port``, as HTTP names a server."""
        if self.path is not None:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def places(self, resolved: Iterable[tuple[Any, ...]]) -> list[Place]:
        """What to connect to, one after the other until one answers; ``resolved`` is what getaddrinfo says of the host."""
        if self.path is not None:
            return [(socket.AF_UNIX, self.path)]
        places: list[Place] = []
        for family, _, _, _, sockaddr in resolved:
            if self.prefers_unix:  # before its own address, and no other: on that one there may be another server
                found = local_socket.find(sockaddr[0], self.port)
                if found and is_own((family, sockaddr)):
                    places += [(socket.AF_UNIX, str(path)) for path in found]
            places.append((family, sockaddr))
        return places


def is_own(place: Place) -> bool:
    """Whether an IP address is one of this machine: it can be bound to."""
    family, sockaddr = place
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((sockaddr[0], 0, *sockaddr[2:]))
    except OSError:
        return False
    return True


def parse_address(text: str, tls: Tls) -> Address:
    """Reads one address. Raises InvalidArgumentError, for TLS options where there is no TLS too."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or PORT
    except (ValueError, AttributeError, TypeError):
        raise InvalidArgumentError.of("address", text, _EXPECTED) from None
    has_options = tls != Tls()
    if parts.query or parts.fragment or parts.username is not None or not (host or "").isascii():
        raise InvalidArgumentError.of("address", text, _EXPECTED)
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
        address = Address(text, "", 0, path=unquote(parts.path))
    elif parts.scheme in _MEMORY and host and parts.path in ("", "/"):
        memory = _MEMORY[parts.scheme]
        secure = parts.scheme == "grpcs" or (memory == "preferred" and has_options)
        prefers_unix = memory != "off" and not secure
        address = Address(text, host, port, secure=secure, prefers_unix=prefers_unix, memory=memory if prefers_unix else "off")
    else:
        raise InvalidArgumentError.of("address", text, _EXPECTED)
    if has_options and not address.secure:
        raise InvalidArgumentError.of("address", text, "grpcs:// where TLS options are given")
    return address


def parse_addresses(given: str | Sequence[str], tls: Tls) -> tuple[Address, ...]:
    """Reads one address, several with commas between them, or a list of them. Raises InvalidArgumentError."""
    texts = given.split(",") if isinstance(given, str) else given
    if not isinstance(texts, (list, tuple)) or not texts:
        raise InvalidArgumentError.of("address", given, f"{_EXPECTED}; or a list of them")
    addresses = [parse_address(text.strip() if isinstance(text, str) else text, tls) for text in texts]
    return tuple(dict.fromkeys(addresses))
