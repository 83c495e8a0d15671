"""The errors that every layer below the adapters raises. They are the client's own (``featurestore_client/errors.py``): an
error is one object from the kernel to the caller in this process, and the same class again on the other side of a network.
"""

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
    error_of,
    nearest,
    shorten,
)

__all__ = [
    "AlreadyExistsError",
    "CancelledError",
    "DeadlineExceededError",
    "ErrorCode",
    "FailedPreconditionError",
    "FeatureStoreError",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "Violation",
    "error_of",
    "nearest",
    "shorten",
]
