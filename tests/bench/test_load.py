"""The load generator: what it counts, and that it hides nothing."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from bench.load import keys
from bench.load.client import Client, Stage

STALL_S = 0.4
PATH = "/test.Stalling/read"


class _Stalling(grpc.GenericRpcHandler):
    """Answers at once, but stands still from its 50th request on for a while: as a server in a long pause does."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: object) -> bytes:
        with self._lock:
            self._count += 1
            if self._count == 50:
                time.sleep(STALL_S)
        return request


@pytest.fixture
def client() -> Iterator[Client]:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Stalling()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = Client(f"127.0.0.1:{port}")
    client.prepare({"read": (PATH, [b"x"])})
    yield client
    server.stop(None).wait()


def test_open_loop_counts_the_wait_behind_a_stall(client: Client) -> None:
    outcome = client.run(Stage(rate=200, duration_s=1.0), time.monotonic_ns())

    assert outcome.errors == {}
    histogram = outcome.histogram("read")
    assert histogram.count == pytest.approx(200, rel=0.4)
    # 0.4 s of 1 s stood still: every request that was due in it waited, on average half of it. A generator that waits for
    # answers before it sends would have seen one slow request.
    percentiles = histogram.percentiles_us()
    assert percentiles["75"] > STALL_S * 1e6 / 10
    assert percentiles["100"] > STALL_S * 1e6 * 0.9


def test_closed_loop_keeps_so_many_in_flight(client: Client) -> None:
    outcome = client.run(Stage(in_flight=2, duration_s=0.6), time.monotonic_ns())

    # Both wait behind the stall, one each, and so the percentiles know nothing of it.
    percentiles = outcome.histogram("read").percentiles_us()
    assert percentiles["100"] > STALL_S * 1e6 * 0.9
    assert percentiles["75"] < STALL_S * 1e6 / 2


def test_a_refused_request_is_an_error_and_no_latency(client: Client) -> None:
    stage = Stage(in_flight=1, duration_s=0.3, timeout_s=0.05)
    outcome = client.run(stage, time.monotonic_ns())

    assert outcome.errors["DEADLINE_EXCEEDED"] >= 1
    assert outcome.histogram("read").percentiles_us()["100"] < STALL_S * 1e6


def test_zipf_makes_few_keys_popular_and_uniform_makes_none() -> None:
    def share_of_most_popular(zipf: float) -> float:
        drawn = keys.draw(1_000, (1_000, 100), zipf, np.random.default_rng(1))
        counts = np.sort(np.bincount(drawn.reshape(-1), minlength=1_000))[::-1]
        return float(counts[:10].sum() / counts.sum())

    assert share_of_most_popular(0.0) == pytest.approx(0.01, abs=0.005)
    # Of 1 / k over 1,000 keys the first ten have 2.93 / 7.49.
    assert share_of_most_popular(1.0) == pytest.approx(0.391, abs=0.02)
