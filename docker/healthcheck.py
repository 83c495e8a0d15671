"""The image's health check: asks the server of this container for grpc.health.v1; exit 0 when it says SERVING.

    healthcheck.py [grpc://HOST:PORT | grpcs://HOST:PORT]

Without an argument the address is the one that the environment (FEATURESTORE_LISTEN, FEATURESTORE_TLS_CERTIFICATE) has told the
server. This runs every few seconds on the cores of a server whose callers count microseconds, so it imports neither grpcio nor
pydantic, which take far longer to load than the call takes: one call over HTTP/2 is a few frames. What it asks is whether this
very container serves, so the server's certificate is not verified; where clients must show one (mTLS), it
shows the server's own.
"""

import os
import socket
import ssl
import sys

TIMEOUT_S = 4
FRAME_BYTES_MAX = 1 << 14
PATH = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8


def address_of_server() -> tuple[str, int, bool]:
    """Host, port, and whether it is TLS."""
    has_tls = bool(os.environ.get("FEATURESTORE_TLS_CERTIFICATE"))
    text = os.environ.get("FEATURESTORE_LISTEN", "127.0.0.1:7400")
    if len(sys.argv) > 1:
        scheme, _, text = sys.argv[1].rpartition("://")
        has_tls = scheme == "grpcs"
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port), has_tls  # noqa: S104  where it listens, read only


def connect(host: str, port: int, has_tls: bool) -> socket.socket:
    """A connection that HTTP/2 can begin on."""
    connection = socket.create_connection((host, port), timeout=TIMEOUT_S)
    if not has_tls:
        return connection
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if os.environ.get("FEATURESTORE_TLS_CLIENT_CA"):
        context.load_cert_chain(os.environ["FEATURESTORE_TLS_CERTIFICATE"], os.environ["FEATURESTORE_TLS_KEY"])
    return context.wrap_socket(connection, server_hostname=host)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def header(name: str, value: str) -> bytes:
    """A header as a literal that no table is needed for (RFC 7541, 6.2.2). Both texts are shorter than 127 bytes."""
    return b"\x00" + b"".join(bytes((len(text),)) + text.encode() for text in (name, value))


def request(host: str, port: int, has_tls: bool) -> bytes:
    """The whole of a Check call for the server as such: its message is empty."""
    headers = {
        ":method": "POST",
        ":scheme": "https" if has_tls else "http",
        ":path": PATH,
        ":authority": f"{host}:{port}",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(header(name, value) for name, value in headers.items())
    opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b"")
    return opening + frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, bytes(5))


def answer(connection: socket.socket) -> bytes:
    """The message that answers stream 1; empty when the call ended without one."""
    with connection.makefile("rb") as stream:
        while len(head := stream.read(9)) == 9:
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            if length > FRAME_BYTES_MAX:
                raise ConnectionError(f"a frame of {length} bytes is not HTTP/2")
            payload = stream.read(length)
            if kind == DATA:
                if flags & PADDED:
                    payload = payload[1 : len(payload) - payload[0]]
                return payload[5:]  # after the flag of compression and the length
            if kind in (RST_STREAM, GOAWAY) or (kind == HEADERS and flags & END_STREAM):
                return b""
    raise ConnectionError("the connection was closed before the answer")


def main() -> int:
    """Asks; says on standard error why not."""
    host, port, has_tls = address_of_server()
    try:
        with connect(host, port, has_tls) as connection:
            connection.sendall(request(host, port, has_tls))
            state = answer(connection)
    except OSError as error:
        print(f"{host}:{port} does not answer: {error}", file=sys.stderr)
        return 1
    if state != SERVING:
        print(f"{host}:{port} answers that it is not serving", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
