"""The errors of the feature store: one hierarchy, for the client and the server, with a machine-readable code each.

Every layer of the server raises these, an adapter carries ``code``, message and ``violations`` over, and every transport of the
client raises them again, so that a caller's ``except`` holds whichever way the call went. Invariant: a message says which
field, which value, what was expected, and the way out. Programmer errors are assertions and never appear here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum

from google.protobuf.message import DecodeError

from featurestore_client.wire import featurestore_raw_pb2 as wire


class ErrorCode(Enum):
    """What went wrong, in the terms of gRPC's canonical codes, all sixteen in the order of their numbers."""

    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    UNAUTHENTICATED = "UNAUTHENTICATED"


@dataclass(frozen=True, slots=True)
class Violation:
    """One mistake: where it is (``field``), what stood there (``value``), what should have (``expected``)."""

    field: str
    value: str
    expected: str
    object: str = ""
    """Which definition, where there are several: ``feature view default.carrier_stats``."""
    file: str = ""
    """Which file it was written in; known only where that was read."""

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.object, self.field) if part)
        return f"{place}: got {self.value}, expected {self.expected}"


class FeatureStoreError(Exception):
    """Base of every error that answers a user.

    ``str(error)`` is a sentence; ``error.violations`` lists each mistake behind it (may be empty).
    """

    code = ErrorCode.INTERNAL

    def __init__(self, message: str, violations: Sequence[Violation] = ()) -> None:
        super().__init__(message, tuple(violations))
        self.message = message
        self.violations = tuple(violations)
        self.acknowledged_sequence: int | None = None
        """Of an interrupted ``ingest``: all batches up to this sequence are applied (0: none); hand it to ``resume_after``."""

    def __str__(self) -> str:
        return self.message


class InvalidArgumentError(FeatureStoreError):
    """The request contradicts itself or the definitions. Nothing was done."""

    code = ErrorCode.INVALID_ARGUMENT

    @classmethod
    def of(cls, field: str, value: object, expected: str) -> "InvalidArgumentError":
        """The error for a single wrong field, with its sentence made from the parts."""
        violation = Violation(field, shorten(value), expected)
        return cls(str(violation), [violation])


class NotFoundError(FeatureStoreError):
    """A name is unknown. The message offers the nearest known ones."""

    code = ErrorCode.NOT_FOUND

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> "NotFoundError":
        """The error for an unknown name, with the nearest of the ``known`` ones."""
        expected = nearest(name, known)
        return cls(f"{kind} {name!r} does not exist: expected {expected}", [Violation(kind, repr(name), expected)])


class AlreadyExistsError(FeatureStoreError):
    """What was to be made is there already."""

    code = ErrorCode.ALREADY_EXISTS


class FailedPreconditionError(FeatureStoreError):
    """The change is refused on live data. The message says what to do instead."""

    code = ErrorCode.FAILED_PRECONDITION


class ResourceExhaustedError(FeatureStoreError):
    """A named limit was passed. Nothing was written."""

    code = ErrorCode.RESOURCE_EXHAUSTED
    retry_after_s: float | None = None
    """Of an overloaded server: when to try again. None where trying again would not help."""

    @classmethod
    def of(cls, limit: str, value: object, allowed: object, way_out: str) -> "ResourceExhaustedError":
        """The error for a named limit that was passed; nothing has been written."""
        violation = Violation(limit, str(value), f"at most {allowed}")
        return cls(f"{limit}: got {value}, at most {allowed} is allowed; {way_out}", [violation])


class DeadlineExceededError(FeatureStoreError):
    """The call did not end within its ``timeout_s``. Whether a write took effect is not known."""

    code = ErrorCode.DEADLINE_EXCEEDED


class UnavailableError(FeatureStoreError):
    """No server answered, or it is draining. Whether a write took effect is not known."""

    code = ErrorCode.UNAVAILABLE


class NotSentError(UnavailableError):
    """UNAVAILABLE, and no server can have seen the call: whatever it was, trying it again does no harm."""


class UnauthenticatedError(FeatureStoreError):
    """The API key or the client certificate is missing or unknown."""

    code = ErrorCode.UNAUTHENTICATED


class PermissionDeniedError(FeatureStoreError):
    """The API key is known and may not do this."""

    code = ErrorCode.PERMISSION_DENIED


class UnimplementedError(FeatureStoreError):
    """The server does not know the method: it is older than this client, or no feature store."""

    code = ErrorCode.UNIMPLEMENTED


class CancelledError(FeatureStoreError):
    """The call was given up, by this side or the other."""

    code = ErrorCode.CANCELLED


class InternalError(FeatureStoreError):
    """A defect. Please report it with its message."""

    code = ErrorCode.INTERNAL


_CLASSES: dict[str, type[FeatureStoreError]] = {
    error.code.value: error
    for error in (
        InvalidArgumentError,
        NotFoundError,
        AlreadyExistsError,
        FailedPreconditionError,
        ResourceExhaustedError,
        DeadlineExceededError,
        UnavailableError,
        UnauthenticatedError,
        PermissionDeniedError,
        UnimplementedError,
        CancelledError,
        InternalError,
    )
}


def error_of(code: str, message: str, violations: Sequence[Violation] = ()) -> FeatureStoreError:
    """The error of a canonical code's name; InternalError, with the name in its message, for one that has no class."""
    error_class = _CLASSES.get(code)
    if error_class is None:
        return InternalError(f"{code}: {message}", violations)
    return error_class(message, violations)


def violations_in(status_details: bytes) -> tuple[Violation, ...]:
    """The violations in a ``grpc-status-details-bin`` value; none where it holds something else."""
    try:
        details = wire.Status.FromString(status_details).details
        return tuple(
            Violation(violation.field, violation.value, violation.expected, violation.object)
            for detail in details
            if detail.type_url.endswith("featurestore.v1.ErrorDetails")
            for violation in wire.ErrorDetails.FromString(detail.value).violations
        )
    except DecodeError:
        return ()  # a proxy's own details must not hide the error that they describe


def nearest(name: str, known: Iterable[str]) -> str:
    """What to offer for an unknown name: the closest known ones, else the first few, else that there are none."""
    names = sorted(known)
    if not names:
        return "a name that exists, but none is defined yet"
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "one like " + ", ".join(repr(match) for match in close)
    shown = ", ".join(repr(candidate) for candidate in names[:8])
    return f"one of {shown}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def shorten(value: object, most: int = 120) -> str:
    """``repr`` of a value, cut so that a hostile megabyte does not come back in an error message."""
    text = repr(value if not isinstance(value, (str, bytes)) else value[: most + 1])
    return text if len(text) <= most else text[: most - 3] + "..."
