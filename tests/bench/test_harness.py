"""The harness: data, histograms, reports, and that peers which answer wrongly are never timed."""

from pathlib import Path

import numpy as np
import pytest

from bench import peers
from bench.dataset import Dataset, Floats, Indices, texts
from bench.histogram import Histogram
from bench.report import Detail, Report, Result
from bench.settings import Settings


class _Wrong:
    """A worker whose last value of the last row is off."""

    name = "wrong"

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def rows(self, indices: Indices) -> tuple[Floats, list[list[str]]]:
        chunk = self._dataset.chunk(indices)
        chunk.floats[-1, -1] += 1
        return chunk.floats, [texts(column) for column in chunk.strings]


def test_a_peer_that_answers_wrongly_ends_the_run() -> None:
    dataset = Dataset(100)
    with pytest.raises(RuntimeError, match="wrong answers 1 rows of floats wrongly"):
        peers.compare(dataset, [_Wrong(dataset)], seed=1)  # type: ignore[list-item]


@pytest.mark.parametrize("strings", [False, True])
def test_rows_are_the_same_however_they_are_asked_for(strings: bool) -> None:
    dataset = Dataset(1_000, strings=strings)
    whole = dataset.slice(0, 1_000)
    some = dataset.chunk(np.array([7, 999, 7]))

    assert np.array_equal(some.floats, whole.floats[[7, 999, 7]])
    assert [texts(column)[1] for column in some.strings] == [texts(column)[999] for column in whole.strings]
    assert whole.floats.shape == (1_000, 45 if strings else 50)
    assert len(some.strings) == (5 if strings else 0)
    assert len(np.unique(dataset.integer_keys(np.arange(1_000)))) == 1_000
    if strings:
        assert len({*texts(whole.keys)}) == 1_000  # type: ignore[arg-type]
        assert {len(key) for key in texts(whole.keys)} == {20}  # type: ignore[arg-type]


def test_histograms_agree_with_exact_percentiles_to_three_digits() -> None:
    durations = np.random.default_rng(1).lognormal(10, 2, 50_000).astype(np.int64)
    one, other = Histogram(), Histogram()
    one.record_all(durations[:20_000])
    for each in durations[20_000:20_100].tolist():
        other.record(each)
    other.record_all(durations[20_100:])
    merged = Histogram([one.encode(), other.encode()])

    assert merged.count == 50_000
    ordered = np.sort(durations)
    for percentile, value_us in merged.percentiles_us((50, 99, 99.9)).items():
        exact = ordered[round(float(percentile) / 100 * len(ordered)) - 1] / 1_000
        assert value_us == pytest.approx(exact, rel=0.002)


def test_a_report_comes_back_from_its_json(tmp_path: Path) -> None:
    report = Report.begin("kernel", {"cores": 2}, Settings().as_json(("data",)))
    report.add(Result("read_1x50", "lmdb", 1.0, 2.0, 3.0, None), Detail("read_1x50", "lmdb", {"50": 1.0}, 7))
    report.goal("at most 2 us", 1.0, 2)
    report.goal("at least 4x", 3.0, 4, least=True)
    report.goal("was not measured", None, 4)
    report.write(tmp_path / "report.json")

    assert Report.read(tmp_path / "report.json") == report
    assert [(goal.text, goal.met) for goal in report.goals] == [("at most 2 us", True), ("at least 4x", False)]
