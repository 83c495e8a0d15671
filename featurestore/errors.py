"""The errors of the feature store, one small hierarchy with a machine-readable code each.

Every layer below the adapters raises these. An adapter maps ``code`` once to its own dialect (gRPC status, RESP prefix, HTTP
problem), and carries ``details`` along. Invariant: a message says which field, which value, what was expected, and the way out.
Programmer errors are assertions and never appear here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum


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
    file: str = ""

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.object, self.field) if part)
        return f"{place}: got {self.value}, expected {self.expected}"


class FeatureStoreError(Exception):
    """Base of every error that answers a user.

    ``str(error)`` is a sentence; ``error.violations`` lists each mistake behind it (may be empty).
    """

    code = ErrorCode.INTERNAL

    def __init__(self, message: str, violations: Sequence[Violation] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.violations = tuple(violations)


class InvalidArgumentError(FeatureStoreError):
    code = ErrorCode.INVALID_ARGUMENT

    @classmethod
    def of(cls, field: str, value: object, expected: str) -> "InvalidArgumentError":
        """The error for a single wrong field, with its sentence made from the parts."""
        violation = Violation(field, shorten(value), expected)
        return cls(str(violation), [violation])


class NotFoundError(FeatureStoreError):
    code = ErrorCode.NOT_FOUND

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> "NotFoundError":
        """The error for an unknown name, with the nearest of the ``known`` ones."""
        expected = nearest(name, known)
        return cls(f"{kind} {name!r} does not exist: expected {expected}", [Violation(kind, repr(name), expected)])


class AlreadyExistsError(FeatureStoreError):
    code = ErrorCode.ALREADY_EXISTS


class FailedPreconditionError(FeatureStoreError):
    code = ErrorCode.FAILED_PRECONDITION


class ResourceExhaustedError(FeatureStoreError):
    code = ErrorCode.RESOURCE_EXHAUSTED

    @classmethod
    def of(cls, limit: str, value: object, allowed: object, way_out: str) -> "ResourceExhaustedError":
        """The error for a named limit that was passed; nothing has been written."""
        violation = Violation(limit, str(value), f"at most {allowed}")
        return cls(f"{limit}: got {value}, at most {allowed} is allowed; {way_out}", [violation])


class DeadlineExceededError(FeatureStoreError):
    code = ErrorCode.DEADLINE_EXCEEDED


class UnavailableError(FeatureStoreError):
    code = ErrorCode.UNAVAILABLE


class UnauthenticatedError(FeatureStoreError):
    code = ErrorCode.UNAUTHENTICATED


class PermissionDeniedError(FeatureStoreError):
    code = ErrorCode.PERMISSION_DENIED


class InternalError(FeatureStoreError):
    code = ErrorCode.INTERNAL


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
