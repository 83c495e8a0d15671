"""Peers of all bad kinds at once, and good ones among them: what the server holds is bounded, the good ones are answered."""

import resource
import socket
import threading

from tests.hostile import frames
from tests.hostile.conftest import SMALL
from tests.hostile.peers import MIB

IDLE, ACTIVE = 2_000, 100
CONNECTION_BYTES = 64 << 10


def test_in_a_crowd_of_all_kinds_the_healthy_are_answered_and_memory_is_bounded(attack):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = attack(**SMALL, connections_max=10_000)
    active = [server.caller() for _ in range(ACTIVE)]
    before = server.resident_bytes
    over = threading.Event()

    def flood() -> None:
        while not over.is_set():
            with socket.create_connection(("127.0.0.1", server.port)) as one:
                one.send(frames.PREFACE[:10])

    flooding = threading.Thread(target=flood)
    try:
        idle = [server.peer(greet=False) for _ in range(IDLE)]
        for peer in idle:
            peer.send(frames.GREETING)
        for begun in (b"", frames.GREETING[:30], frames.GREETING + frames.call(1, "/t/Never")[:20]):
            for _ in range(20):
                server.peer(greet=False).send(begun)
        for _ in range(10):  # with windows wide open, and sockets that nobody reads
            peer = server.peer(settings=frames.settings((frames.INITIAL_WINDOW_SIZE, 0x7FFFFFFF)), receive_buffer=4_096)
            peer.send(frames.window_update(0, 0x7FFF0000 - 65_535))
            for stream in range(1, 20, 2):
                peer.send(frames.call(stream, "/t/Large") + frames.data(stream, frames.message(b"x"), end=True))
        for _ in range(20):  # requests of the largest size, whole but for their last byte
            server.caller().begin("/t/Echo", frames.message(bytes(MIB - 1), size=MIB), end=False)
        flooding.start()
        for number in range(20):
            body = frames.message(b"%d" % number * 100)
            streams = [caller.begin("/t/Echo", body) for caller in active]
            for caller, stream in zip(active, streams, strict=True):
                answer = caller.answer(stream)
                assert (answer.status, answer.data) == (0, body)
        held = SMALL["held_bytes_max_in_all"] + SMALL["unsent_bytes_max_in_all"]
        assert server.resident_bytes - before < (IDLE + 200) * CONNECTION_BYTES + 2 * held
        for peer in idle[::100]:  # they are still there
            peer.send(frames.ping(b"still up"))
            while (frames.PING, frames.ACK, 0, b"still up") not in peer.received:
                assert peer.read()
    finally:
        over.set()
        flooding.join()
        server.leave()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
