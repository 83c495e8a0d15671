"""``bench peers``: subjects in processes of other environments, what keeps one from taking part, and its goals."""

import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import environments, peers, peers_goals
from bench.cores import Cores
from bench.dataset import Dataset
from bench.environments import ENVIRONMENTS, Environment
from bench.redis_process import RedisProcess
from bench.remote import Remote
from bench.report import Report, Result
from bench.settings import Settings
from bench.subject_runner import Work
from bench.subjects import PEERS
from bench.worker import Worker

FEAST = ENVIRONMENTS["feast"]


class _Interpreter:
    def prefix(self) -> str:
        return sys.prefix

    def fail(self) -> None:
        raise ValueError("this text is to arrive")


def test_a_process_runs_in_the_environment_it_is_started_in(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    with Remote("other", sysconfig.get_path, "purelib", python=tmp_path / "bin" / "python") as other:
        assert other.ask("startswith", str(tmp_path))


def test_what_a_process_raises_arrives_and_it_goes_on() -> None:
    with Remote("failing", _Interpreter) as failing:
        with pytest.raises(RuntimeError, match=r"failing failed(.|\n)*this text is to arrive"):
            failing.ask("fail")
        assert failing.ask("prefix") == sys.prefix


@pytest.fixture
def directory() -> Iterator[Path]:
    # Its path is short, so that servers can have their sockets in it.
    with tempfile.TemporaryDirectory(dir=peers.memory_directory()) as made:
        yield Path(made)


@pytest.mark.parametrize("name", ["featurestore_shm", "redis_raw", "lmdb"])
def test_a_peer_is_loaded_in_parts_and_answers_what_was_loaded(name: str, directory: Path) -> None:
    if name.startswith("redis") and (reason := RedisProcess.missing()):
        pytest.skip(reason)
    _load_and_read(name, directory)


def test_feast_is_measured_in_its_own_environment(directory: Path) -> None:
    if reason := FEAST.missing() or RedisProcess.missing():
        pytest.skip(reason)
    _load_and_read("feast_redis", directory)


def _load_and_read(name: str, directory: Path) -> None:
    dataset = Dataset(300)
    with Worker(name, PEERS[name], dataset, directory, Cores()) as worker:
        assert worker.open() == ""
        parts = [worker.load(0, 100), worker.load(100, 300)]
        assert [part.calls for part in parts] == [100, 200]
        assert min(part.seconds for part in parts) > 0
        peers.compare(dataset, [worker], seed=1)
        assert worker.bytes_per_row() >= 200
        measured = worker.turn(Work("read", 10, seconds=0.01), 1)
        assert measured.calls == measured.histogram.count > 0
    assert list(directory.iterdir()) == []


def test_what_cannot_run_here_is_left_out_with_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environments, "HOME", tmp_path)
    listed = {"feast_redis": PEERS["feast_redis"], "lmdb": PEERS["lmdb"]}
    report = Report.begin("peers", {}, {})
    with peers.started(listed, Dataset(10), Settings(), report) as workers:
        assert [worker.name for worker in workers] == ["lmdb"]
    assert report.notes == [
        f"feast_redis is left out: its environment is not there (make bench-peers makes it in {tmp_path / 'feast'})"
    ]


def test_a_subject_that_does_not_open_is_left_out_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = Report.begin("peers", {}, {})
    with peers.started({"redis_raw": PEERS["redis_raw"]}, Dataset(10), Settings(), report) as workers:
        assert workers == []
    assert report.notes == ["redis_raw is left out: redis-server is not installed"]


def test_an_environment_is_there_once_it_holds_what_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environments, "HOME", tmp_path)
    (tmp_path / "feast").mkdir()
    (tmp_path / "feast" / "made").write_text("\n".join(FEAST.packages))
    assert FEAST.missing() == ""
    assert Environment("feast", ("feast==0.1",)).missing()
    assert Environment("future", ("numpy",), ("python9.9",)).make() == "needs python9.9, which is not installed"


@pytest.mark.parametrize(("better", "met"), [(1.01, True), (0.99, False)])
def test_goals_hold_just_above_their_limits_and_not_just_below(better: float, met: bool) -> None:
    report = Report.begin("peers", {}, {})

    def add(case: str, subject: str, **figures: Any) -> None:
        report.add(Result(case, subject, **figures))

    for rows, feast, packed in ((1, 6, 1.3), (100, 60, 1.8), (1_000, 0, 2.5)):
        add(f"read_{rows}x50", "featurestore_grpc", p50_us=1_000)
        add(f"read_{rows}x50", "feast_redis", p50_us=1_000 * feast * better)
        add(f"read_{rows}x50", "redis_packed", p50_us=1_000 * packed * better)
    add("read_100x50", "featurestore_shm", p50_us=1_000 * 60 / 200)
    add("memory", "featurestore_grpc", bytes_per_row=100)
    add("memory", "feast_redis", bytes_per_row=100 / 0.3 * better)
    add("memory", "redis_packed", bytes_per_row=100 / 0.9 * better)
    add("bulk_load", "featurestore_grpc", ops_per_s=200_000 * better)
    add("bulk_load", "feast_redis", ops_per_s=1_000)

    peers_goals.judge(report)

    assert len(report.goals) == 9
    assert [goal.text for goal in report.goals if goal.met is not met] == []


def test_load_parts_cover_all_rows_once() -> None:
    from bench.cases.peers import _parts

    assert list(_parts(10, 3)) == [(0, 3), (3, 6), (6, 10)]
    assert np.concatenate([np.arange(*part) for part in _parts(1_001, 7)]).tolist() == list(range(1_001))
