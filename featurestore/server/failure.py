"""From an exception to what a caller is told: a canonical code, a sentence, and the details as bytes of ``Status``.

Every engine answers with this. Invariant: an error that we raised on purpose goes out whole, up to the size that the headers of
HTTP/2 allow; any other one is logged with its traceback and goes out as INTERNAL without a word of the program's insides.
"""

import itertools
import logging
from typing import NamedTuple

from featurestore.errors import ErrorCode, FeatureStoreError
from featurestore.server.wire import featurestore_pb2 as public

_log = logging.getLogger(__name__)

GRPC_NUMBERS = {code: number for number, code in enumerate(ErrorCode, start=1)}

# gRPC implementations refuse more than 8 KiB of metadata in all, and the message is percent-encoded there: three bytes for
# each byte that is not plain ASCII. The message also stands in Status, so the two and base64 of the details fit in this way.
MESSAGE_BYTES_MAX = 1_000
DETAILS_BYTES_MAX = 2_500

_failures = itertools.count(1)


class Failure(NamedTuple):
    """What the caller is told. ``details`` is a serialized ``Status`` for ``grpc-status-details-bin``; may be empty."""

    code: ErrorCode
    message: str
    details: bytes


def failure_of(error: BaseException, method: str) -> Failure:
    """The answer to a call of ``method`` that ended with ``error``."""
    if isinstance(error, FeatureStoreError):
        message = _cut(error.message)
        return Failure(error.code, message, _details(error, message))
    number = next(_failures)
    _log.error("defect in %s (failure %d)", method, number, exc_info=error)
    return Failure(ErrorCode.INTERNAL, f"a defect of the server; its log has the cause under 'failure {number}'", b"")


def _cut(message: str) -> str:
    encoded = message.encode("utf-8", "replace")
    if len(encoded) <= MESSAGE_BYTES_MAX:
        return message
    return encoded[: MESSAGE_BYTES_MAX - 3].decode("utf-8", "ignore") + "..."


def _details(error: FeatureStoreError, message: str) -> bytes:
    details = public.ErrorDetails()
    size = 0
    for violation in error.violations:
        part = public.Violation(
            field=_text(violation.field),
            value=_text(violation.value),
            expected=_text(violation.expected),
            object=_text(violation.object),
        )
        size += part.ByteSize() + 4
        if size > DETAILS_BYTES_MAX:
            break  # the message says how many there are
        details.violations.append(part)
    status = public.Status(code=GRPC_NUMBERS[error.code], message=message)
    if details.violations:
        any_details = status.details.add()
        any_details.type_url = "type.googleapis.com/featurestore.v1.ErrorDetails"
        any_details.value = details.SerializeToString()
    return status.SerializeToString()


def _text(text: str) -> str:
    return _cut(text.encode("utf-8", "replace").decode())
