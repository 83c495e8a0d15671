"""Servers to attack, and the two kinds of peers: one that sends any bytes at all, and one that keeps to HTTP/2."""

import json
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from featurestore_client.grpc_framing import decode_message, pairs_of
from featurestore_client.http2 import NEVER, Headers, Session

from tests.hostile import frames

MIB = 1 << 20
PATIENCE_S = 30.0
"""For whatever must come: far longer than any limit under test."""


class Peer:
    """A raw socket. ``greeted`` ones have exchanged SETTINGS; frames that came are kept in ``received``."""

    def __init__(self, port: int, *, greet: bool = True, settings: bytes = frames.settings(), receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received: list[tuple[int, int, int, bytes]] = []
        self._bytes = bytearray()
        self.is_closed = False
        if greet:
            self.send(frames.PREFACE + settings)
            self.until(frames.SETTINGS)
            self.send(frames.SETTINGS_ACK)

    def send(self, data: bytes) -> bool:
        """False where the other side has closed."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def read(self) -> list[tuple[int, int, int, bytes]]:
        """The frames that come next, at least one; [] at the end."""
        while not self.is_closed:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            self.is_closed = not data
            self._bytes += data
            if got := list(frames.split(self._bytes)):
                self.received += got
                return got
        return []

    def until(self, kind: int, stream: int | None = None) -> tuple[int, int, int, bytes]:
        """The next frame of that kind, of that stream; fails where the connection ends before."""
        while True:
            for got in self.read():
                if got[0] == kind and stream in (None, got[2]):
                    return got
            assert not self.is_closed, self.received

    def until_closed(self) -> int | None:
        """Waits for the other side to close; the error code of its GOAWAY, if there was one."""
        while self.read():
            pass
        codes = [int.from_bytes(payload[4:8], "big") for kind, _, _, payload in self.received if kind == frames.GOAWAY]
        return codes[-1] if codes else None

    def close(self) -> None:
        self.socket.close()


class Answer:
    """What a call came to."""

    def __init__(self) -> None:
        self.head: dict[str, str] = {}
        self.data = b""
        self.error_code = NEVER
        self.ended = False

    @property
    def status(self) -> int:
        return int(self.head.get("grpc-status", "-1"))

    @property
    def message(self) -> str:
        return decode_message(self.head.get("grpc-message", ""))


class Caller:
    """Keeps to HTTP/2; what its requests say is another matter."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._session = Session(client=True, window_bytes=16 << 20, connection_window_bytes=32 << 20)
        self.answers: dict[int, Answer] = {}
        try:
            while not self._session.is_greeted:
                self.pump()
        except ConnectionError:
            self.close()
            raise

    def flush(self) -> None:
        while data := self._session.take():
            self._socket.sendall(data)

    def pump(self) -> None:
        """Sends what there is, and reads once."""
        self.flush()
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionResetError("the server has closed the connection")
        for event in self._session.receive(data):
            answer = self.answers[event.stream_id]
            for block in (event.head, event.trailers):
                answer.head.update(pairs_of(block or b""))
            answer.data += event.data
            answer.ended, answer.error_code = answer.ended or event.ended, event.error_code
            self._session.consume(event.stream_id, len(event.data))

    def begin(self, path: str, body: bytes, end: bool = True, **headers: str | bytes | None) -> int:
        return self.begin_together(1, path, body, end, **headers)[0]

    def begin_together(self, count: int, path: str, body: bytes, end: bool = True, **headers: str | bytes | None) -> list[int]:
        """Begins so many calls before anything is sent."""
        pairs = frames.request_pairs(path, **headers)
        head = Headers([(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in pairs])
        streams = [self._session.request(head, body, end) for _ in range(count)]
        self.answers.update((stream, Answer()) for stream in streams)
        self.flush()
        return streams

    def queue(self, stream: int, data: bytes) -> None:
        """Has it sent with what comes next."""
        self._session.send(stream, data)

    def send(self, stream: int, data: bytes) -> None:
        self.queue(stream, data)
        self.flush()

    def answer(self, stream: int) -> Answer:
        answer = self.answers[stream]
        while not answer.ended and answer.error_code == NEVER:
            self.pump()
        return answer

    def call(self, path: str, body: bytes, **headers: str | bytes | None) -> Answer:
        return self.answer(self.begin(path, body, **headers))

    def is_served(self) -> bool:
        answer = self.call("/t/Echo", frames.message(b"well-behaved"))
        return answer.status == 0 and answer.data == frames.message(b"well-behaved")

    def close(self) -> None:
        self._socket.close()


class Attacked:
    """A server process, and who speaks to it."""

    def __init__(self, options: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "tests.hostile.serve", json.dumps(options)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self._opened: list[Any] = []

    def peer(self, **options: Any) -> Peer:
        self._opened.append(Peer(self.port, **options))
        return self._opened[-1]

    def caller(self) -> Caller:
        self._opened.append(Caller(self.port))
        return self._opened[-1]

    @property
    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def leave(self) -> None:
        for opened in self._opened:
            opened.close()
        self._opened.clear()

    def stop(self) -> None:
        self.leave()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(PATIENCE_S) == 0
        self._process.stdout.close()
