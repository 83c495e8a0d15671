"""``bench grpc``: its load generators notice wrong answers, its processes stay on their cores, its goals are judged right."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench import grpc_goals
from bench.cores import Cores, started_on
from bench.dataset import Dataset
from bench.grpc_servers import ECHO, GRPCIO, NATIVE, REDIS
from bench.h2load import H2load
from bench.load.redis_callers import RedisPy, RedisRaw, get_command
from bench.redis_benchmark import RedisBenchmark
from bench.redis_rows import RedisRows
from bench.remote import Remote
from bench.report import Report, Result
from bench.server_process import ECHO_SERVICE, EchoServer

ANSWER = bytes(200)
needs_h2load = pytest.mark.skipif(bool(H2load.missing()), reason=H2load.missing())
needs_redis = pytest.mark.skipif(bool(RedisBenchmark.missing()), reason=RedisBenchmark.missing())


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    with EchoServer({"read": ANSWER}) as server:
        yield f"http://{server.address}{ECHO_SERVICE}"


@needs_h2load
def test_h2load_counts_requests_and_times_each(echo: str, tmp_path: Path) -> None:
    generator = H2load(echo + "read", [b"one", b"other"], tmp_path / "files", Cores())
    generator.check([ANSWER, ANSWER])

    measured = generator.turn(2, 2, seconds=0.1, seed=1)

    assert measured.calls == measured.histogram.count > 0
    percentiles = measured.histogram.percentiles_us((50, 99))
    assert 10 < percentiles["50"] <= percentiles["99"]
    # Four in flight: the rate follows from the mean latency, as far as a busy machine lets it.
    assert 0.25 < measured.calls / measured.seconds * measured.histogram.mean_us / 4e6 < 4


@needs_h2load
@pytest.mark.parametrize(("method", "answer"), [("read", ANSWER[1:]), ("unknown", ANSWER)])
def test_h2load_refuses_a_server_that_answers_something_else(echo: str, tmp_path: Path, method: str, answer: bytes) -> None:
    # gRPC's errors are HTTP's successes: only the bytes tell.
    with pytest.raises(RuntimeError, match="bytes, expected"):
        H2load(echo + method, [b"request"], tmp_path / "files", Cores()).check([answer])


@needs_redis
def test_redis_answers_requests_with_their_rows_each_way(tmp_path: Path) -> None:
    dataset = Dataset(300)
    drawn = {rows: np.random.default_rng(rows).integers(0, dataset.rows, (3, rows)) for rows in (1, 100)}
    with RedisRows(dataset, tmp_path, Cores()) as redis:
        redis.load(drawn)
        for caller in (RedisRaw(redis.port), RedisPy(redis.port)):
            with caller.blocking(timeout_s=5) as bind:
                for indices in drawn.values():
                    raw = isinstance(caller, RedisRaw)
                    method, requests = redis.raw_reads(indices) if raw else redis.packed_reads(indices)
                    for request, each in zip(requests, indices, strict=True):
                        assert np.array_equal(caller.rows(bind(method)(request)), dataset.chunk(each).floats)
        with (
            RedisRaw(redis.port).blocking(timeout_s=5) as bind,
            pytest.raises(ConnectionError, match="expected a value of 200"),
        ):
            bind("200")(get_command(b"no such key"))

        measured = RedisBenchmark(redis.port, [redis.request_key(1, 0)], Cores()).turn(2, 3, seconds=0.05, seed=1)
        assert measured.calls > 0
        assert 1 < measured.figures_us["50"] <= measured.figures_us["99"]


class _Affinity:
    def cores(self) -> set[int]:
        return os.sched_getaffinity(0)


def test_processes_run_on_the_cores_they_are_started_on() -> None:
    before = os.sched_getaffinity(0)
    one = frozenset({max(before)})
    with Remote("pinned", _Affinity, cores=one) as pinned, Remote("free", _Affinity) as free:
        assert pinned.ask("cores") == one
        assert free.ask("cores") == before
    with started_on(one):
        assert os.sched_getaffinity(0) == one
    assert os.sched_getaffinity(0) == before


def test_cores_are_split_between_servers_and_clients_where_there_are_two() -> None:
    cores = Cores.split()
    if os.cpu_count() == 1 or len(os.sched_getaffinity(0)) == 1:
        assert cores == Cores()
    else:
        assert len(cores.servers) == 1
        assert cores.clients == os.sched_getaffinity(0) - cores.servers


@pytest.mark.parametrize(("better", "met"), [(1.01, True), (0.99, False)])
def test_goals_hold_just_above_their_limits_and_not_just_below(better: float, met: bool) -> None:
    """Each figure is set to ``better`` times what its goal asks for; the figures that it is compared with are 1,000."""
    report = Report.begin("grpc", {}, {})

    def add(case: str, subject: str, *, p50: float = 1_000, p99: float = 1_000, rate: float = 1_000) -> None:
        report.add(Result(case, subject, p50, p99, rate))

    for rows, times in ((1, 20), (100, 8)):
        for load in ("16x1", "4x4"):
            add(f"h2load_{rows}x50_{load}", ECHO)
            add(f"h2load_{rows}x50_{load}", NATIVE, rate=1_000 * times * better)
        add(f"h2load_{rows}x50_1x1", ECHO)
        add(f"h2load_{rows}x50_1x1", NATIVE, p50=350 / better)
        add(f"read_{rows}x50", ECHO)
        add(f"read_{rows}x50", NATIVE, p50=550 / better, p99=1_000 / better)
        add(f"read_{rows}x50", GRPCIO, p50=1_150 / better, p99=1_000 / better)
        add(f"throughput_{rows}x50", ECHO, rate=1_150)
        add(f"throughput_{rows}x50", GRPCIO, rate=1_000 * better)
        # Redis is slower than our client's floor here, so that the goal against redis-py is as near as the others.
        add(f"client_{rows}x50", "featurestore_client", p50=1_000)
        add(f"client_{rows}x50", "featurestore_client_unix", p50=850 / better)
        add(f"client_{rows}x50", "redis_raw", p50=800 * better)
        add(f"client_{rows}x50", "redis_py", p50=1_000 / {1: 0.8, 100: 0.6}[rows] * better)
    add("h2load_1x50_16x1", REDIS, rate=20_000 / 0.9)
    add("h2load_1x50_4x4", REDIS, rate=20_000 / 1.5)
    for name in ("featurestore_client", "featurestore_client_unix"):
        add("client_open_idle_1x50", name)
        add("client_open_half_1x50", name, p99=2_000 / better)

    grpc_goals.judge(report, 16)

    assert len(report.goals) == 25
    assert [goal.text for goal in report.goals if goal.met is not met] == []
