"""A client process that costs little a request: our HTTP/2 session on some sockets and ``poll``, and no library's calls.

It offers a server more than it can do, and tells what became of each request: how long those that were answered took, and
those that were refused. Loops are as in ``client``: in the open one latency counts from when a request was due.
"""

import gc
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from featurestore_client.grpc_framing import frame
from featurestore_client.http2 import NEVER, Headers, Session, StreamEvent

from bench.histogram import Histogram
from bench.load.client import SPIN_NS, Timer

STREAMS_MAX = 200
"""Of one connection; a server takes 256. Requests beyond that wait here, and their wait counts."""
END_S = 3.0
"""Within which whatever is unanswered when a stage ends must be answered."""
_NANOSECONDS = 1_000_000_000


class Stage(NamedTuple):
    """One stretch of load: ``rate`` requests a second, or, where that is 0, so many ``in_flight``."""

    rate: float
    in_flight: int
    seconds: float
    warmup_s: float
    seed: int
    timeout_s: float = 0.0
    """The deadline that requests carry; 0: none."""


class Outcome(NamedTuple):
    """What became of the requests that were due after the warm-up."""

    accepted: bytes
    """Histogram of those that were answered."""
    refused: bytes
    """Of those that the server refused as too much for it."""
    failed: dict[str, int]
    """Of those that ended otherwise, by gRPC's status."""
    seconds: float
    late: bytes
    """Of all that were sent: how long after they were due. High where this process is what cannot keep up."""
    answered_per_s: float
    """Whenever they were due: how many answers came a second, from the end of the warm-up to that of the stage."""


class _Connection:
    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.session = Session(
            client=True, window_bytes=16 << 20, connection_window_bytes=256 << 20, control_frames_max=1 << 30
        )
        self.due: dict[int, int] = {}
        self._unsent = b""
        while not self.session.is_greeted:
            self.flush()
            self.session.receive(self.socket.recv(1 << 16))
        self.socket.setblocking(False)

    def flush(self) -> None:
        while True:
            data = self._unsent or self.session.take()
            if not data:
                return
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                sent = 0
            self._unsent = data[sent:]
            if self._unsent:
                return


class SessionsClient:
    """One process's side, with ``connections`` to one server and the requests of one method."""

    def __init__(self, address: str, connections: int, path: str, requests: Sequence[bytes]) -> None:
        host, _, port = address.rpartition(":")
        self._authority, self._path = address, path
        self._connections = [_Connection(host, int(port)) for _ in range(connections)]
        self._bodies = [frame(request) for request in requests]
        self._poll = select.poll()
        self._by_file = {each.socket.fileno(): each for each in self._connections}
        for file in self._by_file:
            self._poll.register(file, select.POLLIN)
        self._timer = Timer()
        self._poll.register(self._timer.descriptor, select.POLLIN)
        gc.collect()
        gc.freeze()

    def _head(self, timeout_s: float) -> Headers:
        timeout = [(b"grpc-timeout", b"%du" % round(timeout_s * 1e6))] if timeout_s else []
        return Headers([*request_pairs(self._authority, self._path), *timeout])

    def run(self, stage: Stage) -> Outcome:
        """Does one stage."""
        gc.disable()
        try:
            return self._run(stage)
        finally:
            gc.enable()

    def _run(self, stage: Stage) -> Outcome:
        head, bodies, connections = self._head(stage.timeout_s), self._bodies, self._connections
        start = time.monotonic_ns() + 10_000_000
        from_ns = start + int(stage.warmup_s * _NANOSECONDS)
        end_ns = from_ns + int(stage.seconds * _NANOSECONDS)
        arrivals: deque[int] = deque()
        if stage.rate:
            count = int((stage.warmup_s + stage.seconds) * stage.rate)
            gaps = np.random.default_rng(stage.seed).exponential(1 / stage.rate, count)
            arrivals.extend((start + np.cumsum(gaps) * _NANOSECONDS).astype(np.int64).tolist())
        else:
            arrivals.extend([start] * stage.in_flight)
        took: dict[str, list[int]] = {}
        late: list[int] = []
        turn = in_flight = answered = 0
        room = STREAMS_MAX * len(connections)
        ends = end_ns + int(END_S * _NANOSECONDS)
        while True:
            now = time.monotonic_ns()
            if now > ends or not (arrivals or in_flight):
                break
            touched = set()
            while arrivals and arrivals[0] <= now and in_flight < room:
                for _ in connections:
                    turn = (turn + 1) % len(connections)
                    connection = connections[turn]
                    if len(connection.due) < STREAMS_MAX:
                        break
                due = arrivals.popleft()
                connection.due[connection.session.request(head, bodies[due % len(bodies)])] = due
                in_flight += 1
                touched.add(connection)
                if due >= from_ns:
                    late.append(now - due)
            for connection in touched:
                connection.flush()
            wakes = arrivals[0] if arrivals and in_flight < room else ends
            is_near = wakes - now < SPIN_NS
            if not is_near:
                self._timer.set(wakes)
            for file, _ in self._poll.poll(0 if is_near else None):
                if file == self._timer.descriptor:
                    continue  # setting it again clears it
                connection = self._by_file[file]
                events = connection.session.receive(connection.socket.recv(1 << 20))
                now = time.monotonic_ns()
                for event in events:
                    if event.data:
                        connection.session.consume(event.stream_id, len(event.data))
                    if not (event.ended or event.error_code != NEVER):
                        continue
                    if event.stream_id not in connection.due:
                        continue  # of a stage before this one, which did not wait for it any more
                    due = connection.due.pop(event.stream_id)
                    in_flight -= 1
                    answered += from_ns <= now < end_ns and _status(event) == "0"
                    if due >= from_ns:
                        took.setdefault(_status(event), []).append(now - due)
                    if not stage.rate and now < end_ns:
                        arrivals.append(now)
                connection.flush()
        if in_flight:
            took["UNANSWERED"] = [0] * in_flight
        for connection in connections if in_flight else ():
            connection.due.clear()
        accepted, refused = took.pop("0", []), took.pop("8", [])
        failed = {status: len(each) for status, each in took.items()}
        return Outcome(
            _histogram(accepted), _histogram(refused), failed, stage.seconds, _histogram(late), answered / stage.seconds
        )

    def close(self) -> None:
        """Ends the connections."""
        self._timer.close()
        for each in self._connections:
            each.socket.close()


def request_pairs(authority: str, path: str) -> list[tuple[bytes, bytes]]:
    """The head of a request."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", authority.encode()),
        (b":path", path.encode()),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]


def _status(event: StreamEvent) -> str:
    block = event.trailers or event.head or b""
    if event.error_code != NEVER:
        return f"reset {event.error_code}"
    at = block.find(b"grpc-status\0")
    return block[at + 12 :].partition(b"\0")[0].decode() if at >= 0 else "none"


def _histogram(durations_ns: list[int]) -> bytes:
    histogram = Histogram()
    histogram.record_all(np.array(durations_ns, np.int64))
    return histogram.encode()
