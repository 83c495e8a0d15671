"""The load generator: what it counts, and that it hides nothing."""

import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from featurestore_client.wire import featurestore_raw_pb2 as raw

from bench import wire
from bench.dataset import Dataset
from bench.load import keys, target
from bench.load.bare_grpc import BareGrpc, framed
from bench.load.callers import Grpcio
from bench.load.client import Client, Stage
from bench.settings import Settings, SettingsError

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
    client = Client()
    client.prepare("stalling", Grpcio(f"127.0.0.1:{port}"), {"read": (PATH, [b"x"])})
    yield client
    server.stop(None).wait()


def test_open_loop_counts_the_wait_behind_a_stall(client: Client) -> None:
    outcome = client.run(Stage("stalling", rate=200, duration_s=1.0), time.monotonic_ns())

    assert outcome.errors == {}
    histogram = outcome.histogram("read")
    assert histogram.count == pytest.approx(200, rel=0.4)
    # 0.4 s of 1 s stood still: every request that was due in it waited, on average half of it. A generator that waits for
    # answers before it sends would have seen one slow request.
    percentiles = histogram.percentiles_us()
    assert percentiles["75"] > STALL_S * 1e6 / 10
    assert percentiles["100"] > STALL_S * 1e6 * 0.9


def test_closed_loop_keeps_so_many_in_flight(client: Client) -> None:
    outcome = client.run(Stage("stalling", in_flight=2, duration_s=0.6), time.monotonic_ns())

    # Both wait behind the stall, one each, and so the percentiles know nothing of it.
    percentiles = outcome.histogram("read").percentiles_us()
    assert percentiles["100"] > STALL_S * 1e6 * 0.9
    assert percentiles["75"] < STALL_S * 1e6 / 2


def test_a_refused_request_is_an_error_and_no_latency(client: Client) -> None:
    stage = Stage("stalling", in_flight=1, duration_s=0.3, timeout_s=0.05)
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


def test_any_running_server_is_driven_by_its_public_api(tmp_path: Path) -> None:
    dataset = Dataset(500)
    key_file = tmp_path / "keys.txt"
    key_file.write_text("".join(f"{key}\n" for key in dataset.integer_keys(np.arange(50)).tolist()))
    with tempfile.TemporaryDirectory() as short, target.own_server(dataset, Path(short)) as server:  # short enough for a socket
        url = f"grpc://{server.target.address}"
        for each in (url, server.server.unix_url):
            by_service = target.find(Settings(server=each, service=target.SERVICE, key_count=20))
            assert (by_service.features, by_service.source.count) == (50, 20)

        features = ("bench_floats:f00", "bench_floats:f49")
        settings = Settings(server=url, features=features, key_file=str(key_file), view="bench_floats", write_share=0.5)
        found = target.find(settings)
        assert (found.features, found.source.count) == (2, 50)
        with wire.Channel(found.address) as channel:
            request = wire.read_request(found.selected, found.source.columns(np.array([3, 49])))
            answer = raw.GetFeaturesResponse.FromString(channel.send(wire.GET_FEATURES, request))
            expected = dataset.chunk(np.array([3, 49])).floats[:, [0, 49]]
            assert np.array_equal(np.frombuffer(answer.matrix.float32s, np.float32), expected.reshape(-1))
            written = channel.send(wire.WRITE_FEATURES, found.write_requests(50, 1, seed=1)[0])
            counts = raw.WriteFeaturesResponse.FromString(written).counts
            assert (counts.rows, counts.inserted, counts.older) == (50, 0, 0)

        _expect_as_over_a_channel(server.target.address, dataset)
        with pytest.raises(SettingsError, match="either --service NAME or --features"):
            target.find(Settings(server=url))
        with pytest.raises(SettingsError, match=r"NOT_FOUND.*'bench_v1'"):
            target.find(Settings(server=url, service="bench_v2"))
        with pytest.raises(SettingsError, match="--write-share needs --view"):
            target.find(Settings(server=url, service=target.SERVICE, write_share=0.1))


def _expect_as_over_a_channel(address: str, dataset: Dataset) -> None:
    """Reads over a bare connection: answers alike, longer, of several frames, and of an error."""
    selected = wire.selection("default", "", [f"{dataset.view.name}:{name}" for name in dataset.feature_names])
    drawn = [np.arange(start, start + count) for count in (1, 2, 100, 1) for start in range(3)]
    requests = [wire.read_request(selected, {"user": dataset.integer_keys(each)}) for each in drawn]
    with wire.Channel(address) as channel, BareGrpc(address).blocking(10.0) as bind:
        call = bind(wire.GET_FEATURES)
        for request in (*requests, *reversed(requests)):
            assert call(framed(wire.GET_FEATURES, request)) == channel.send(wire.GET_FEATURES, request)
        with pytest.raises(ConnectionError, match="answers with an error"):
            call(framed(wire.GET_FEATURES, wire.read_request(b"", {})))
