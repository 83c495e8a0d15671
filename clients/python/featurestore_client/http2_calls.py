"""A gRPC call as HTTP/2 sees it, for both native transports: the head that goes out, and what the end of a stream means.

Knows no connection. Invariant: however a server, or a proxy before it, ends a stream, the outcome is the message or one of
``errors.py``; and it is a NotSentError only if the server says that it has not looked at the call.
"""

from typing import Final, NamedTuple

from featurestore_client.addresses import Address
from featurestore_client.errors import (
    CancelledError,
    DeadlineExceededError,
    FeatureStoreError,
    NotSentError,
    ResourceExhaustedError,
    UnavailableError,
    error_of,
    violations_in,
)
from featurestore_client.grpc_framing import (
    RETRY_PUSHBACK,
    STATUS_NAMES,
    STATUS_OF_HTTP2_ERROR,
    STATUS_OF_HTTP_STATUS,
    FramingError,
    decode_message,
    encode_timeout,
    header_pairs,
    metadata_of,
    pairs_of,
    unframe,
)
from featurestore_client.http2 import REFUSED_STREAM, Headers, Session, StreamEvent
from featurestore_client.message_reader import MessageReader

MESSAGE_BYTES_MAX: Final = 256 << 20
WINDOW_BYTES: Final = 4 << 20
"""What a server may send of one answer before it is looked at."""
_CONNECTION_WINDOW_BYTES = 64 << 20
_CONTROL_FRAMES_MAX = 1 << 30  # the limit guards servers; a client has chosen its server
STREAM_ID_LAST: Final = (1 << 31) - 4_096
"""A connection is replaced before its stream ids run out."""
_HEADS_MAX = 1_024
_OK_TRAILERS = b"grpc-status\x000\x00"


def new_session() -> Session:
    """A client's end of a new connection."""
    return Session(
        client=True,
        window_bytes=WINDOW_BYTES,
        connection_window_bytes=_CONNECTION_WINDOW_BYTES,
        control_frames_max=_CONTROL_FRAMES_MAX,
    )


class Reply(NamedTuple):
    """All that came back on a stream that ended as it should; a StreamEvent that has it all will do as well."""

    head: bytes
    data: bytes
    trailers: bytes | None
    """None where the head is all there is."""


class Calls:
    """What all calls to one address share. Thread-safe: what it remembers is only ever added to, or forgotten as a whole."""

    def __init__(self, address: Address, metadata: tuple[tuple[str, str], ...]) -> None:
        self.address = address
        self._fixed = [
            (b":method", b"POST"),
            (b":scheme", b"https" if address.secure else b"http"),
            (b":authority", address.authority.encode()),
        ]
        self._rest = [
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"featurestore-client"),
            (b"grpc-accept-encoding", b"identity,gzip"),
            *header_pairs(metadata),
        ]
        self._heads: dict[tuple[str, float | None], Headers] = {}
        self._good_heads: set[bytes] = set()

    def head(self, method_path: str, timeout_s: float | None) -> Headers:
        """The head of a call, made once for a method and timeout."""
        head = self._heads.get((method_path, timeout_s))
        if head is None:
            pairs = [*self._fixed, (b":path", method_path.encode()), *self._rest]
            if timeout_s is not None:
                pairs.append((b"grpc-timeout", encode_timeout(timeout_s)))
            head = Headers(pairs)
            if len(self._heads) >= _HEADS_MAX:
                self._heads.clear()
            self._heads[method_path, timeout_s] = head
        return head

    def message(self, reply: Reply | StreamEvent, method_path: str, timeout_s: float | None) -> bytes:
        """The message of a unary call's reply. Raises the error that it is instead."""
        if reply.trailers == _OK_TRAILERS and reply.head in self._good_heads:
            message = unframe(reply.data, MESSAGE_BYTES_MAX)
            if message is not None:
                return message
        head, data, trailers = reply.head or b"", reply.data, reply.trailers
        encoding = self.check_head(head, method_path, timeout_s)
        self.check_end(head, trailers, method_path, timeout_s)
        try:
            reader = MessageReader(MESSAGE_BYTES_MAX, encoding)
            messages = reader.read(data)
        except FramingError as failure:
            raise self.error(failure.status, failure.message) from None
        if len(messages) != 1 or not reader.is_between:
            raise self.error("INTERNAL", f"{method_path} was answered with {len(messages)} whole messages: expected 1")
        return messages[0]

    def check_head(self, head: bytes, method_path: str, timeout_s: float | None) -> str:
        """The encoding of an answer's messages. Raises where the head is not gRPC's, or is already the whole of an error."""
        if head in self._good_heads:
            return "identity"
        fields = dict(pairs_of(head))
        status = fields.get(":status", "")
        if status != "200":
            code = STATUS_OF_HTTP_STATUS.get(status, "UNKNOWN")
            raise self.error(
                code, fields.get("grpc-message") or f"{method_path} was answered with HTTP status {status or 'none'}"
            )
        if not fields.get("content-type", "").startswith("application/grpc"):
            kind = fields.get("content-type", "none")
            raise self.error("UNKNOWN", f"{method_path} was answered with content-type {kind}: expected application/grpc")
        if fields.get("grpc-status", "0") != "0":
            self.check_end(head, None, method_path, timeout_s)
        encoding = fields.get("grpc-encoding", "identity")
        if encoding == "identity" and "grpc-status" not in fields and len(self._good_heads) < _HEADS_MAX:
            self._good_heads.add(head)
        return encoding

    def check_end(self, head: bytes, trailers: bytes | None, method_path: str, timeout_s: float | None) -> None:
        """Raises the error that an answer ended with, if it did. Without trailers the head is what ended it."""
        if trailers == _OK_TRAILERS:
            return
        pairs = pairs_of(head if trailers is None else trailers)
        fields = dict(pairs)
        number = fields.get("grpc-status", "")
        if number == "0":
            return
        if not number.isdecimal():
            raise self.error("UNKNOWN", f"{method_path} ended without grpc-status")
        code = STATUS_NAMES[int(number)] if int(number) < len(STATUS_NAMES) else "UNKNOWN"
        message = decode_message(fields.get("grpc-message", "")) or f"{method_path} failed without a word"
        if code == "DEADLINE_EXCEEDED" and message == "Deadline Exceeded":  # in grpcio's words
            raise too_late(method_path, timeout_s)
        if code == "CANCELLED" and message == "CANCELLED":  # likewise, of calls that it drops as it shuts down
            code, message = "UNAVAILABLE", "the server gave the call up"
        try:
            details = dict(metadata_of(pairs)).get("grpc-status-details-bin", b"")
        except FramingError:
            details = b""
        error = self.error(code, message, details if isinstance(details, bytes) else b"")
        pushback_ms = fields.get(RETRY_PUSHBACK, "")
        if isinstance(error, ResourceExhaustedError) and pushback_ms.isdecimal():
            error.retry_after_s = int(pushback_ms) / 1_000
        raise error

    def error(self, code: str, message: str, details: bytes = b"") -> FeatureStoreError:
        """The error of a status."""
        if code == "UNAVAILABLE":
            message = f"{message} (server {self.address.text})"
        return error_of(code, message, violations_in(details) if details else ())

    def reset(self, error_code: int, method_path: str) -> FeatureStoreError:
        """The error of a stream that was closed before it ended."""
        if error_code == REFUSED_STREAM:
            return self.not_sent(f"{method_path} was refused")
        code = STATUS_OF_HTTP2_ERROR.get(error_code, "INTERNAL")
        return self.error(code, f"{method_path} was broken off with HTTP/2 error {error_code}")

    def not_sent(self, message: str) -> NotSentError:
        """For a call that the server cannot have seen."""
        return NotSentError(f"{message} (server {self.address.text})")

    def lost(self, reason: object) -> UnavailableError:
        """For calls whose connection ended under them."""
        return UnavailableError(f"the connection was lost: {reason} (server {self.address.text})")

    def closed(self) -> CancelledError:
        """For calls of a client that was closed."""
        return CancelledError(f"the client of {self.address.text} is closed: connect again")


def too_late(method_path: str, timeout_s: float | None) -> DeadlineExceededError:
    """For a call whose time is over."""
    within = "its time" if timeout_s is None else f"{timeout_s:.3g} s"
    return DeadlineExceededError(f"{method_path.rpartition('/')[2]} did not end within {within}")
