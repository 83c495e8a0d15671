"""gRPC's messages out of the data of an HTTP/2 stream, for server and client.

Invariant: whatever a peer sends, it takes no more memory than four times its bytes, and one message no more than its limit.
"""

from featurestore_client.grpc_framing import PREFIX_BYTES, FramingError, decompressed, too_large
from featurestore_client.http2 import MessageBody


class MessageReader:
    """Messages in whatever pieces they come. ``compressed``: which of those just read were."""

    def __init__(self, message_bytes_max: int, encoding: str = "identity") -> None:
        self._message_bytes_max = message_bytes_max
        self._encoding = encoding
        self._prefix = b""  # of one message, as far as it has come
        self._size = 0  # of its body
        self._body: MessageBody | None = None  # of which not all has come
        self.compressed: list[bool] = []

    @property
    def is_between(self) -> bool:
        """Whether a message has just ended, or none begun."""
        return not self._prefix

    @property
    def held_bytes(self) -> int:
        """Of a message that has begun."""
        return len(self._prefix) + (0 if self._body is None else self._size - self._body.missing)

    def read(self, data: bytes) -> list[bytes]:
        """The messages that end in ``data``. Raises FramingError."""
        bodies = self.read_packed(data)
        return [
            decompressed(body, self._message_bytes_max) if is_packed else body
            for body, is_packed in zip(bodies, self.compressed, strict=True)
        ]

    def read_packed(self, data: bytes) -> list[bytes]:
        """Likewise, those that are compressed as they came."""
        messages: list[bytes] = []
        self.compressed = []
        rest = memoryview(data)
        while rest:
            if len(self._prefix) < PREFIX_BYTES:
                taken = PREFIX_BYTES - len(self._prefix)
                self._prefix += rest[:taken]
                rest = rest[taken:]
                if len(self._prefix) < PREFIX_BYTES:
                    break
                self._size = int.from_bytes(self._prefix[1:], "big")
                if self._size > self._message_bytes_max:
                    raise too_large(self._size, self._message_bytes_max)
            if self._body is None:
                if self._size <= len(rest):
                    messages.append(self._message(bytes(rest[: self._size])))
                    rest = rest[self._size :]
                    continue
                self._body = MessageBody(self._size)
            piece = rest[: self._body.missing]
            self._body.add(piece)
            rest = rest[len(piece) :]
            if not self._body.missing:
                body, self._body = self._body.take(), None
                messages.append(self._message(body))
        return messages

    def _message(self, body: bytes) -> bytes:
        flag, self._prefix = self._prefix[0], b""
        self.compressed.append(flag == 1)
        if flag == 0:
            return body
        if flag != 1:
            raise FramingError("INTERNAL", f"a message begins with {flag}: expected 0, or 1 where it is compressed")
        if self._encoding != "gzip":
            raise FramingError("INTERNAL", f"a message is compressed, and grpc-encoding is {self._encoding}: expected gzip")
        return body
