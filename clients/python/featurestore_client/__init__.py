"""The Python client of featurestore, an online feature store.

>>> import featurestore_client
>>> with featurestore_client.connect("grpc://127.0.0.1:7400") as client:
...     batch = client.get("delay_model_v1", {"carrier": ["AA", "UA"], "dest": ["LAX", "SFO"]})
...     model.predict(batch.to_numpy())
"""

from collections.abc import Sequence

from featurestore_client.answers import FeatureBatch
from featurestore_client.async_client import AsyncClient
from featurestore_client.balancing import Balancing
from featurestore_client.calls import DeleteCounts, ReplaceChecks, Replaced, Version, WriteCounts
from featurestore_client.client import TIMEOUT_S, Client
from featurestore_client.definitions import ApplyResult, Change
from featurestore_client.errors import (
    AlreadyExistsError,
    CancelledError,
    DeadlineExceededError,
    ErrorCode,
    FailedPreconditionError,
    FeatureStoreError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    Violation,
)
from featurestore_client.ingestion import IngestProgress
from featurestore_client.retry import RetryPolicy
from featurestore_client.tls import Certificate, Tls
from featurestore_client.transports import Kind, open_async_transport, open_transport, shared_memory
from featurestore_client.types import ValueStatus

__all__ = [
    "AlreadyExistsError",
    "ApplyResult",
    "AsyncClient",
    "CancelledError",
    "Change",
    "Client",
    "DeadlineExceededError",
    "DeleteCounts",
    "ErrorCode",
    "FailedPreconditionError",
    "FeatureBatch",
    "FeatureStoreError",
    "IngestProgress",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "PermissionDeniedError",
    "ReplaceChecks",
    "Replaced",
    "ResourceExhaustedError",
    "RetryPolicy",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "ValueStatus",
    "Version",
    "Violation",
    "WriteCounts",
    "connect",
    "connect_async",
]


def connect(
    address: str | Sequence[str],
    *,
    api_key: str | None = None,
    timeout_s: float = TIMEOUT_S,
    retry: RetryPolicy | None = None,
    ca_certificate: Certificate | None = None,
    client_certificate: Certificate | None = None,
    client_key: Certificate | None = None,
    server_name: str | None = None,
    balancing: Balancing = "round_robin",
    transport: Kind = "auto",
    busy_poll_us: int | None = None,
) -> Client:
    """A client of the server at ``featurestore://host[:port]`` (port 7400 where none is given).

    That takes what is fastest and there. Where the host is this machine, reads go through the server's memory, if the server
    permits it (a function call, no server on the way), and the rest over its unix socket; else all goes over TCP. Each way can
    be named: ``shm://host:port``, ``unix:///path``, ``grpc://host:port``, ``grpcs://host:port`` with TLS. Of several addresses
    (a list, or with commas) those that answer are used in turn, or ``balancing="least_in_flight"`` the one with the fewest
    calls under way.

    Connections are made by the first calls, and made again whenever they are lost. ``timeout_s`` is the deadline of calls that
    do not give their own. For TLS, certificates are PEM, as bytes or as a file's path: ``ca_certificate`` to trust instead of
    the system's, ``client_certificate`` and ``client_key`` to show (mTLS), ``server_name`` to expect instead of the host.
    ``transport`` is ``"native"`` (the package's own HTTP/2), ``"grpcio"``, or ``"auto"``: what the environment variable
    FEATURESTORE_CLIENT_TRANSPORT says, else native where it is built.

    While answers come within ``busy_poll_us`` (200; 0 where the process may use one core alone), a native call looks for its
    answer for so long before its thread sleeps, which spares a wake-up (not over TLS); 0 turns that off.
    """
    tls = Tls(ca_certificate, client_certificate, client_key, server_name)
    opened = open_transport(address, tls, api_key, kind=transport, balancing=balancing, busy_poll_us=busy_poll_us)
    return Client(opened, timeout_s=timeout_s, retry=retry, shared=shared_memory(address, tls))


def connect_async(
    address: str | Sequence[str],
    *,
    api_key: str | None = None,
    timeout_s: float = TIMEOUT_S,
    retry: RetryPolicy | None = None,
    ca_certificate: Certificate | None = None,
    client_certificate: Certificate | None = None,
    client_key: Certificate | None = None,
    server_name: str | None = None,
    balancing: Balancing = "round_robin",
    transport: Kind = "auto",
    hedge_after_s: float | None = None,
    coalesce_us: float = 0,
    busy_poll_us: int | None = None,
) -> AsyncClient:
    """The same for asyncio: ``async with connect_async("featurestore://host") as client: await client.get(...)``.

    With several addresses and ``hedge_after_s``, a call that does no harm when done twice and has no answer after so many
    seconds is made once more, to another address; the first answer is taken. With ``coalesce_us``, reads of one selection that
    begin within so many microseconds are sent as one. With ``busy_poll_us`` the loop does not sleep for so long while calls are
    under way.
    """
    tls = Tls(ca_certificate, client_certificate, client_key, server_name)
    opened = open_async_transport(
        address,
        tls,
        api_key,
        kind=transport,
        balancing=balancing,
        hedge_after_s=hedge_after_s,
        coalesce_us=coalesce_us,
        busy_poll_us=busy_poll_us,
    )
    return AsyncClient(opened, timeout_s=timeout_s, retry=retry, shared=shared_memory(address, tls))
