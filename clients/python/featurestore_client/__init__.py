"""The Python client of featurestore, an online feature store.

>>> import featurestore_client
>>> with featurestore_client.connect("grpc://127.0.0.1:7400") as client:
...     batch = client.get("delay_model_v1", {"carrier": ["AA", "UA"], "dest": ["LAX", "SFO"]})
...     model.predict(batch.to_numpy())
"""

from featurestore_client.answers import FeatureBatch
from featurestore_client.async_client import AsyncClient
from featurestore_client.calls import DeleteCounts, WriteCounts
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
from featurestore_client.grpc_transport import AsyncGrpcTransport, Certificate, GrpcTransport, Target, Tls
from featurestore_client.ingestion import IngestProgress
from featurestore_client.retry import RetryPolicy
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
    "ResourceExhaustedError",
    "RetryPolicy",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "ValueStatus",
    "Violation",
    "WriteCounts",
    "connect",
    "connect_async",
]


def connect(
    address: str,
    *,
    api_key: str | None = None,
    timeout_s: float = TIMEOUT_S,
    retry: RetryPolicy | None = None,
    ca_certificate: Certificate | None = None,
    client_certificate: Certificate | None = None,
    client_key: Certificate | None = None,
    server_name: str | None = None,
) -> Client:
    """A client of the server at ``grpc://host:port``, or ``grpcs://host:port`` for TLS (port 7400 where none is given).

    The connection is made by the first call, and made again whenever it is lost. ``timeout_s`` is the deadline of calls that do
    not give their own. With ``grpcs://``, certificates are PEM, as bytes or as a file's path: ``ca_certificate`` to trust
    instead of the system's, ``client_certificate`` and ``client_key`` to show (mTLS), ``server_name`` to expect instead of
    the host.
    """
    target = Target.parse(address, Tls(ca_certificate, client_certificate, client_key, server_name), api_key)
    return Client(GrpcTransport(target), timeout_s=timeout_s, retry=retry)


def connect_async(
    address: str,
    *,
    api_key: str | None = None,
    timeout_s: float = TIMEOUT_S,
    retry: RetryPolicy | None = None,
    ca_certificate: Certificate | None = None,
    client_certificate: Certificate | None = None,
    client_key: Certificate | None = None,
    server_name: str | None = None,
) -> AsyncClient:
    """The same for asyncio: ``async with connect_async("grpc://host:port") as client: await client.get(...)``."""
    target = Target.parse(address, Tls(ca_certificate, client_certificate, client_key, server_name), api_key)
    return AsyncClient(AsyncGrpcTransport(target), timeout_s=timeout_s, retry=retry)
