"""The orders of atomics.h are enough, on every processor, and each of them is needed."""

import itertools
from pathlib import Path

import pytest

from tests.memory_order import builds

SECONDS = 0.3
ORDERS = ("release-fence", "acquire-fence", "release-store", "acquire-load")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := builds.model_missing():
        pytest.skip(reason)
    return builds.build_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("protocol", builds.NEEDS)
def test_a_protocol_holds_in_every_order_that_the_memory_model_allows(model: Path, protocol: str) -> None:
    done = builds.run_model(model, protocol)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("protocol", "order"), [*itertools.product(builds.NEEDS, ORDERS)])
def test_it_fails_without_an_order_that_it_needs_and_holds_without_others(model: Path, protocol: str, order: str) -> None:
    done = builds.run_model(model, protocol, order)
    assert (done.returncode != 0) == (order in builds.NEEDS[protocol]), done.stdout
    assert ("ASSERT FAILED" in done.stdout) == (order in builds.NEEDS[protocol])


@pytest.mark.parametrize("build", ["native", "arm64"])
def test_readers_in_threads_get_whole_rows_blocks_and_sets(build: str, tmp_path: Path) -> None:
    if reason := builds.litmus_missing(build):
        pytest.skip(reason)
    done = builds.run_litmus(build, builds.build_litmus(build, tmp_path), SECONDS)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("whole at the first try") == 4


def test_a_writer_that_does_not_say_so_is_caught(tmp_path: Path) -> None:
    """Else the driver would prove nothing: rows whose sequence number is never odd are taken for whole while they change."""
    headers = tmp_path / "headers"
    headers.mkdir()
    for name in ("atomics.h", "hash.h"):
        (headers / name).write_text((builds.HEADERS / name).read_text())
    text = (headers / "atomics.h").read_text()
    silent = text.replace("now + 1, __ATOMIC_RELAXED", "now, __ATOMIC_RELAXED").replace(
        "now + 1, __ATOMIC_RELEASE", "now + 2, __ATOMIC_RELEASE"
    )
    assert silent != text
    (headers / "atomics.h").write_text(silent)
    done = builds.run_litmus("native", builds.build_litmus("native", tmp_path, headers), 10)
    assert done.returncode == 1
    assert done.stdout.startswith("a torn row was taken for whole\n")
