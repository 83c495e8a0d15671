"""HTTP/2 frames by hand: what no well-behaved library would send. Nothing here checks anything, but that numbers fit."""

from collections.abc import Iterable, Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
FRAME_BYTES_MAX = 16_384

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x1, 0x4, 0x8, 0x20

NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 7, 8, 11

MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Any frame at all."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def frames_of(stream: bytes) -> list[bytes]:
    """A conversation's one direction, cut into its frames; the preface, where there is one, is the first."""
    frames = []
    if stream.startswith(PREFACE):
        frames.append(PREFACE)
        stream = stream[len(PREFACE) :]
    while stream:
        size = HEAD_BYTES + int.from_bytes(stream[:3], "big")
        frames.append(stream[:size])
        stream = stream[size:]
    return frames


def settings(*pairs: tuple[int, int]) -> bytes:
    """SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join(number.to_bytes(2, "big") + value.to_bytes(4, "big") for number, value in pairs))


SETTINGS_ACK = frame(SETTINGS, ACK, 0)
GREETING = PREFACE + settings()


def number(value: int, bits: int, first: int) -> bytes:
    """An integer of HPACK: RFC 7541, section 5.1."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    made, value = [first | limit], value - limit
    while value >= 128:
        made.append(value % 128 + 128)
        value //= 128
    return bytes([*made, value])


def block(pairs: Iterable[tuple[str, str | bytes]], remembered: bool = False) -> bytes:
    """A header block of literals; ``remembered`` ones enter the dynamic table."""
    made = b""
    for name, value in pairs:
        text = value if isinstance(value, bytes) else value.encode("latin-1")
        made += b"\x40" if remembered else b"\0"
        made += number(len(name), 7, 0) + name.encode() + number(len(text), 7, 0) + text
    return made


def indexed(index: int) -> bytes:
    """A header of the tables by its number; 62 is the last that was remembered."""
    return number(index, 7, 0x80)


def request_pairs(path: str, **others: str | bytes | None) -> list[tuple[str, str | bytes]]:
    """The headers of a call: ``te=None`` leaves one out, ``grpc_timeout="1S"`` puts one in."""
    pairs: dict[str, str | bytes | None] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "test",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    pairs.update({name.replace("_", "-"): value for name, value in others.items()})
    return [(name, value) for name, value in pairs.items() if value is not None]


def headers(stream: int, header_block: bytes, *, end_stream: bool = False, end_headers: bool = True) -> bytes:
    """HEADERS."""
    return frame(HEADERS, end_stream * END_STREAM | end_headers * END_HEADERS, stream, header_block)


def call(stream: int, path: str, *, end: bool = False, **others: str | bytes | None) -> bytes:
    """The HEADERS that begin a call."""
    return headers(stream, block(request_pairs(path, **others)), end_stream=end)


def data(stream: int, payload: bytes, *, end: bool = False) -> bytes:
    """DATA, in as many frames as it takes."""
    pieces = [payload[start : start + FRAME_BYTES_MAX] for start in range(0, len(payload), FRAME_BYTES_MAX)] or [b""]
    return b"".join(
        frame(DATA, (end and index == len(pieces) - 1) * END_STREAM, stream, piece) for index, piece in enumerate(pieces)
    )


def message(body: bytes, flag: int = 0, size: int | None = None) -> bytes:
    """A message of gRPC; ``size`` is what its prefix says, where that shall be a lie."""
    return bytes([flag]) + (len(body) if size is None else size).to_bytes(4, "big") + body


def reset(stream: int, error_code: int = CANCEL) -> bytes:
    """RST_STREAM."""
    return frame(RST_STREAM, 0, stream, error_code.to_bytes(4, "big"))


def ping(payload: bytes = b"12345678", *, ack: bool = False) -> bytes:
    """PING."""
    return frame(PING, ack * ACK, 0, payload)


def window_update(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def split(received: bytearray) -> Iterator[tuple[int, int, int, bytes]]:
    """Takes the whole frames off ``received``: kind, flags, stream, payload."""
    while len(received) >= HEAD_BYTES:
        size = HEAD_BYTES + int.from_bytes(received[:3], "big")
        if len(received) < size:
            return
        yield received[3], received[4], int.from_bytes(received[5:9], "big"), bytes(received[HEAD_BYTES:size])
        del received[:size]
