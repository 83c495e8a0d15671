"""How gRPC lies on HTTP/2: what server and client both need to write it and to read it.

Follows https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. Knows no connection. Invariant: whatever a peer sent, a
function here returns a value or raises FramingError, and makes no more bytes of it than the limit that it was given.
"""

import base64
import io
import zlib
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

PREFIX_BYTES: Final = 5
"""Before each message: whether it is compressed (one byte), and its length (four, big-endian)."""

STATUS_NAMES: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""By number."""

RETRY_PUSHBACK: Final = "grpc-retry-pushback-ms"
"""Metadata of a refusal: after how many milliseconds to try again."""

STATUS_OF_HTTP_STATUS: Final = {
    "400": "INTERNAL",
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "UNIMPLEMENTED",
    "429": "UNAVAILABLE",
    "502": "UNAVAILABLE",
    "503": "UNAVAILABLE",
    "504": "UNAVAILABLE",
}
"""For an answer that is not gRPC's, as a proxy gives it; UNKNOWN for any other."""

STATUS_OF_HTTP2_ERROR: Final = {7: "UNAVAILABLE", 8: "CANCELLED", 11: "RESOURCE_EXHAUSTED", 12: "PERMISSION_DENIED"}
"""For a stream that was reset; INTERNAL for any other error code."""

_TIMEOUT_UNITS_S: Final = {"H": 3_600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT_DIGITS_MAX = 8
_NOT_METADATA = frozenset(
    {"te", "content-type", "grpc-encoding", "grpc-accept-encoding", "grpc-timeout", "grpc-status", "grpc-message"}
)
_GZIP = 16 + zlib.MAX_WBITS
_PIECE_BYTES = 64 << 10


class FramingError(Exception):
    """A peer's bytes are not gRPC: the status and the sentence that say so."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


# ---------------------------------------------------------------------------------------------------------------- messages


def frame(message: bytes, *, compress: bool = False) -> bytes:
    """A message as it is sent, compressed with gzip where asked."""
    if compress:
        packer = zlib.compressobj(wbits=_GZIP)
        message = packer.compress(message) + packer.flush()
        return b"\1" + len(message).to_bytes(4, "big") + message
    return prefix_of(message) + message


def prefix_of(message: bytes) -> bytes:
    """What goes before a message that is not compressed: for a long one, which is sent without a copy."""
    return b"\0" + len(message).to_bytes(4, "big")


def unframe(data: bytes, message_bytes_max: int) -> bytes | None:
    """The message where ``data`` is exactly one that is not compressed, as most requests and answers are; else None."""
    size = len(data) - PREFIX_BYTES
    if 0 <= size <= message_bytes_max and int.from_bytes(data[:PREFIX_BYTES], "big") == size:
        return data[PREFIX_BYTES:]
    return None


def decompressed(body: bytes, message_bytes_max: int) -> bytes:
    """What gzip made ``body`` of. Raises FramingError, for one that would be larger than allowed too.

    It is made in pieces, and not copied when it is whole: in a thread, others have Python's lock between any two of them.
    """
    unpacker = zlib.decompressobj(wbits=_GZIP)
    message, size, rest = io.BytesIO(), 0, memoryview(body)
    while not unpacker.eof:
        packed: bytes | memoryview = unpacker.unconsumed_tail
        if not packed:
            packed, rest = rest[:_PIECE_BYTES], rest[_PIECE_BYTES:]
        try:
            piece = unpacker.decompress(packed, min(_PIECE_BYTES, message_bytes_max + 1 - size))
        except zlib.error as error:
            raise FramingError("INTERNAL", f"a message is not gzip: {error}") from None
        size += message.write(piece)
        if size > message_bytes_max:
            raise too_large(f"more than {message_bytes_max}", message_bytes_max)
        if not piece and not packed:
            break
    if not unpacker.eof or unpacker.unused_data or rest:
        raise FramingError("INTERNAL", "a compressed message does not end where it should")
    return message.getvalue()


def too_large(size: int | str, message_bytes_max: int) -> FramingError:
    """The error of a message above the limit."""
    return FramingError("RESOURCE_EXHAUSTED", f"a message of {size} bytes: expected at most {message_bytes_max}")


# ----------------------------------------------------------------------------------------------------------------- headers


def pairs_of(block: bytes) -> list[tuple[str, str]]:
    """The names and values of a header block of the session, in order."""
    texts = block.decode("latin-1").split("\0")
    return list(zip(texts[0:-1:2], texts[1::2], strict=True))


def metadata_of(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str | bytes]]:
    """What of a header block is metadata, in order; bytes, decoded, for keys that end in ``-bin``. Raises FramingError."""
    metadata: list[tuple[str, str | bytes]] = []
    for name, text in pairs:
        if name.startswith(":") or name in _NOT_METADATA:
            continue
        if not name.endswith("-bin"):
            metadata.append((name, text))
            continue
        for part in text.split(","):  # HTTP allows several values of one name to be joined on the way
            encoded = part.strip(" \t")
            try:
                value = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
            except ValueError:  # of which binascii.Error is one, and what is not ASCII another
                raise FramingError("INTERNAL", f"metadata {name} is {encoded[:80]!r}: expected base64") from None
            metadata.append((name, value))
    return metadata


def header_pairs(metadata: Iterable[tuple[str, str | bytes]]) -> list[tuple[bytes, bytes]]:
    """Metadata as headers. Raises ValueError for what HTTP/2 cannot carry."""
    pairs = []
    for name, value in metadata:
        key = name.lower().encode("ascii")
        if isinstance(value, bytes) != name.endswith("-bin"):
            raise ValueError(f"metadata {name}: bytes have a name that ends in -bin, and text has not")
        encoded = base64.b64encode(value).rstrip(b"=") if isinstance(value, bytes) else value.encode("ascii")
        if isinstance(value, str) and not value.isprintable():
            raise ValueError(f"metadata {name}: expected printable ASCII")
        pairs.append((key, encoded))
    return pairs


def encode_timeout(seconds: float) -> bytes:
    """``grpc-timeout``, as exact as its eight digits allow."""
    for unit, factor in (("n", 1e9), ("u", 1e6), ("m", 1e3), ("S", 1.0)):
        count = int(seconds * factor)
        if count < 10**_TIMEOUT_DIGITS_MAX:
            return f"{max(count, 1)}{unit}".encode()
    return b"99999999S"


def decode_timeout(text: bytes) -> float:
    """Seconds. Raises FramingError."""
    digits, unit = text[:-1], text[-1:].decode("latin-1")
    if unit not in _TIMEOUT_UNITS_S or not 1 <= len(digits) <= _TIMEOUT_DIGITS_MAX or not digits.isdigit():
        expected = "1 to 8 digits and one of H, M, S, m, u, n"
        raise FramingError("INTERNAL", f"grpc-timeout is {text[:40].decode('latin-1')!r}: expected {expected}")
    return int(digits) * _TIMEOUT_UNITS_S[unit]


def encode_message(text: str) -> bytes:
    """``grpc-message``: UTF-8, percent-encoded."""
    # All of printable ASCII but the percent sign stands for itself.
    safe = bytes(set(range(0x20, 0x7F)) - {0x25})
    return quote_from_bytes(text.encode("utf-8", "replace"), safe).encode("ascii")


def decode_message(text: str) -> str:
    """The text of ``grpc-message``."""
    return unquote_to_bytes(text).decode("utf-8", "replace")
