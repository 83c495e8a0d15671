"""One call over a bare socket, without any HTTP/2 library: what grpcio's clients neither do nor show.

They cannot compress one message of a stream and leave the next, and do not tell whether an answer came compressed.
"""

import gzip
import socket
import ssl
import struct
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY, _WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x7, 0x8
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8
_WINDOW_MAX = (1 << 31) - 1


def call(
    url: str, certificates: Path, path: str, requests: list[tuple[bool, bytes]], accepts: str = "identity,gzip"
) -> list[tuple[bool, bytes]]:
    """Sends the messages, each compressed or not, and gives back the answers: whether each came compressed, and its bytes."""
    with _connect(url, certificates) as connection, connection.makefile("rb") as source:
        headers = {
            ":method": "POST",
            ":scheme": "https" if url.startswith("grpcs:") else "http",
            ":path": path,
            ":authority": "localhost",
            "te": "trailers",
            "content-type": "application/grpc",
            "grpc-encoding": "gzip",
            "grpc-accept-encoding": accepts,
        }
        block = b"".join(b"\x10" + _text(name) + _text(value) for name, value in headers.items())
        connection.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, struct.pack(">HI", 4, _WINDOW_MAX))
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW_MAX - 65_535))
            + _frame(_HEADERS, _END_HEADERS, 1, block)
        )
        body = b"".join(_message(*request) for request in requests)
        assert len(body) < 65_535, "more than the first window of a stream"
        pieces = [body[start : start + 16_384] for start in range(0, len(body), 16_384)]
        for piece in pieces:
            connection.sendall(_frame(_DATA, _END_STREAM if piece is pieces[-1] else 0, 1, piece))
        answer = bytearray()
        while True:
            kind, flags, content = _read_frame(source)
            assert kind not in (_RST_STREAM, _GOAWAY), f"frame {kind} ended the call: {content!r}"
            if kind == _DATA:
                answer += content[1 : len(content) - content[0]] if flags & _PADDED else content
            elif kind == _SETTINGS and not flags & _ACK:
                connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                return _messages(bytes(answer))


def _connect(url: str, certificates: Path) -> socket.socket:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(parts.path)
        return connection
    connection = socket.create_connection((parts.hostname, parts.port or 0), timeout=20)
    if parts.scheme != "grpcs":
        return connection
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    context.set_alpn_protocols(["h2"])
    secured = context.wrap_socket(connection, server_hostname="localhost")
    assert secured.selected_alpn_protocol() == "h2"
    return secured


def _text(text: str) -> bytes:
    encoded = text.encode()
    assert len(encoded) < 127, "one byte of length, and no Huffman code"
    return bytes([len(encoded)]) + encoded


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return struct.pack(">I", len(content))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + content


def _read_frame(source: BinaryIO) -> tuple[int, int, bytes]:
    head = source.read(9)
    assert len(head) == 9, "the connection ended before the answer"
    return head[3], head[4], source.read(int.from_bytes(head[:3], "big"))


def _message(compress: bool, data: bytes) -> bytes:
    body = gzip.compress(data, mtime=0) if compress else data
    return bytes([compress]) + struct.pack(">I", len(body)) + body


def _messages(data: bytes) -> list[tuple[bool, bytes]]:
    found = []
    while data:
        compressed, size = bool(data[0]), int.from_bytes(data[1:5], "big")
        body, data = data[5 : 5 + size], data[5 + size :]
        found.append((compressed, gzip.decompress(body) if compressed else body))
    return found
