"""Which transport a client gets: native where the HTTP/2 session was built, else grpcio; behind it one address or several.

Invariant: grpcio is imported only where it carries the calls.
"""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal

from featurestore_client.addresses import Address, parse_addresses
from featurestore_client.balancing import POLICIES, AsyncBalancedTransport, BalancedTransport, Balancing
from featurestore_client.busy_polling import BUSY_POLL_US_MAX
from featurestore_client.errors import FailedPreconditionError, InvalidArgumentError
from featurestore_client.tls import Tls
from featurestore_client.transport import AsyncTransport, Transport

if TYPE_CHECKING:
    from featurestore_client.shared_reads import SharedMemory

# ruff: noqa: PLC0415  each of the two ways is imported when it is taken

Kind = Literal["auto", "native", "grpcio"]
ENVIRONMENT_VARIABLE: Final = "FEATURESTORE_CLIENT_TRANSPORT"


def open_transport(
    address: str | Sequence[str],
    tls: Tls,
    api_key: str | None,
    *,
    kind: Kind,
    balancing: Balancing,
    busy_poll_us: int | None,
) -> Transport:
    """The blocking transport of these addresses. Raises InvalidArgumentError."""
    addresses, metadata = parse_addresses(address, tls), _metadata(api_key)
    _check("balancing", balancing, POLICIES)
    _check_busy_poll(busy_poll_us)
    made: list[Transport] = []
    if _is_native(kind):
        from featurestore_client.blocking_transport import NativeTransport

        made.extend(NativeTransport(each, tls, metadata, busy_poll_us) for each in addresses)
    else:
        from featurestore_client.grpc_transport import GrpcTransport

        made.extend(GrpcTransport(each, tls, metadata) for each in addresses)
    return made[0] if len(made) == 1 else BalancedTransport(made, balancing)


def open_async_transport(
    address: str | Sequence[str],
    tls: Tls,
    api_key: str | None,
    *,
    kind: Kind,
    balancing: Balancing,
    hedge_after_s: float | None,
    coalesce_us: float,
    busy_poll_us: int | None,
) -> AsyncTransport:
    """The asyncio transport of these addresses. Raises InvalidArgumentError."""
    addresses, metadata = parse_addresses(address, tls), _metadata(api_key)
    _check("balancing", balancing, POLICIES)
    _check_hedge(hedge_after_s, addresses)
    _check_busy_poll(busy_poll_us)
    if not isinstance(coalesce_us, (int, float)) or not 0 <= coalesce_us <= 1_000_000:
        raise InvalidArgumentError.of("coalesce_us", coalesce_us, "microseconds, at most 1000000; 0 turns it off")
    made: list[AsyncTransport] = []
    if _is_native(kind):
        from featurestore_client.async_transport import AsyncNativeTransport

        made.extend(AsyncNativeTransport(each, tls, metadata, busy_poll_us) for each in addresses)
    else:
        from featurestore_client.grpc_transport import AsyncGrpcTransport

        made.extend(AsyncGrpcTransport(each, tls, metadata) for each in addresses)
    transport = made[0] if len(made) == 1 else AsyncBalancedTransport(made, balancing, hedge_after_s)
    if coalesce_us:
        from featurestore_client.coalescing import CoalescingTransport

        return CoalescingTransport(transport, coalesce_us)
    return transport


def shared_memory(address: str | Sequence[str], tls: Tls) -> "SharedMemory | None":
    """How reads go through the memory of the server at this address, where it asks for that.

    Raises InvalidArgumentError or FailedPreconditionError where it requires what cannot be.
    """
    addresses = parse_addresses(address, tls)
    required = any(each.memory == "required" for each in addresses)
    if len(addresses) > 1:
        if required:
            raise InvalidArgumentError.of("address", address, "one shm:// address: memory is of one server")
        return None
    if addresses[0].memory == "off":
        return None
    try:
        from featurestore_client.shared_reads import SharedMemory
    except ImportError as error:
        if required:
            raise FailedPreconditionError(
                f"shared memory cannot be read: the package was built without its compiled reader ({error}); install it with "
                "a C compiler at hand, or use featurestore://"
            ) from None
        return None
    return SharedMemory(addresses[0])


def is_native_built() -> bool:
    """Whether the HTTP/2 session can be imported here."""
    try:
        import featurestore_client.http2  # noqa: F401  whether it can be
    except ImportError:
        return False
    return True


def _is_native(kind: str) -> bool:
    kinds = ("auto", "native", "grpcio")
    _check("transport", kind, kinds)
    if kind == "auto":
        kind = os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
        _check(ENVIRONMENT_VARIABLE, kind, kinds)
    if kind != "grpcio" and is_native_built():
        return True
    if kind == "native":
        raise FailedPreconditionError(
            "the native transport was not built: install libnghttp2's headers (Debian: libnghttp2-dev) and then "
            "featurestore-client from its sources, or use transport='grpcio'"
        )
    if find_spec("grpc") is None:
        raise FailedPreconditionError(
            "there is neither the native transport nor grpcio: pip install 'featurestore-client[grpcio]'"
        )
    return False


def _metadata(api_key: str | None) -> tuple[tuple[str, str], ...]:
    if api_key is None:
        return ()
    if not isinstance(api_key, str) or not api_key.isascii() or not api_key.isprintable():
        raise InvalidArgumentError("api_key: expected printable ASCII")  # its value is a secret
    return (("authorization", f"Bearer {api_key}"),)


def _check(field: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidArgumentError.of(field, value, f"one of {', '.join(known)}")


def _check_busy_poll(busy_poll_us: int | None) -> None:
    if busy_poll_us is not None and (not isinstance(busy_poll_us, int) or not 0 <= busy_poll_us <= BUSY_POLL_US_MAX):
        expected = f"microseconds, at most {BUSY_POLL_US_MAX}; 0 turns it off"
        raise InvalidArgumentError.of("busy_poll_us", busy_poll_us, expected)


def _check_hedge(hedge_after_s: float | None, addresses: tuple[Address, ...]) -> None:
    if hedge_after_s is None:
        return
    if not isinstance(hedge_after_s, (int, float)) or hedge_after_s <= 0:
        raise InvalidArgumentError.of("hedge_after_s", hedge_after_s, "seconds above 0")
    if len(addresses) == 1:
        raise InvalidArgumentError.of("hedge_after_s", hedge_after_s, "several addresses, where one is given")
