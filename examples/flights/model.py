"""A small model of departure delay: gradient boosted trees over the timetable and the features of ``delay_model_v1``.

    python examples/flights/model.py

trains it on the flights before the held-out month, with the features as they were an hour before each scheduled departure, and
beside it the baseline: the same model of the timetable alone. What is held out is not read here.
"""

import argparse
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Threads of OpenMP that wait by spinning take the core that the others need, on two cores a factor of five. Read at import.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import definitions
import features
import joblib  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, roc_auc_score

Floats = npt.NDArray[np.float32]
Times = npt.NDArray[np.int64]

NAMES_OF_TIMETABLE = ("local_hour", "weekday", "distance", "carrier", "origin", "dest")
CATEGORIES = ("carrier", "origin", "dest")
AGES = ("plane_delays", "flight_number_delays")
"""Views whose rows are worth less with time: how old they are at the request, in hours, is a column of the model."""

DELAY_SCALE_MINUTES = 10.0


@dataclass(frozen=True)
class DelayModel:
    """Predicts minutes of delay.

    It learns asinh(delay / 10), nearly linear for a few minutes and logarithmic for hours, so that one flight that left twenty
    hours late does not outweigh a hundred others.
    """

    trees: HistGradientBoostingRegressor

    @classmethod
    def fitted(cls, columns: Floats, delay: Floats) -> "DelayModel":
        trees = HistGradientBoostingRegressor(
            max_iter=40,
            learning_rate=0.2,
            max_leaf_nodes=16,
            min_samples_leaf=200,
            categorical_features=[NAMES_OF_TIMETABLE.index(name) for name in CATEGORIES],
            random_state=0,
        )
        return cls(trees.fit(columns, np.arcsinh(delay / DELAY_SCALE_MINUTES)))

    def predict(self, columns: Floats) -> Floats:
        predicted: Floats = DELAY_SCALE_MINUTES * np.sinh(self.trees.predict(columns)).astype(np.float32)
        return predicted


@dataclass(frozen=True)
class Trained:
    """The two models, and the numbers that stand for the names of the timetable."""

    with_features: DelayModel
    baseline: DelayModel
    codes: dict[str, dict[str, int]]

    def save(self, path: Path) -> None:
        """As objects of scikit-learn alone, which a file can name whichever script wrote it."""
        joblib.dump((self.with_features.trees, self.baseline.trees, self.codes), path)

    @classmethod
    def load(cls, path: Path) -> "Trained":
        with_features, baseline, codes = joblib.load(path)
        return cls(DelayModel(with_features), DelayModel(baseline), codes)

    def timetable(self, flights: pd.DataFrame) -> Floats:
        """The columns that need no feature store; NaN for a name that was not there in training."""
        return timetable_columns(flights, self.codes)


def timetable_columns(flights: pd.DataFrame, codes: dict[str, dict[str, int]]) -> Floats:
    """One row a flight of NAMES_OF_TIMETABLE."""
    columns = [flights[name].map(codes[name]) if name in codes else flights[name] for name in NAMES_OF_TIMETABLE]
    return np.column_stack([column.to_numpy(np.float32) for column in columns])


def model_columns(timetable: Floats, values: Floats, asked_us: Times, row_us: Times) -> Floats:
    """What the model reads: timetable, features in the order of the service, ages.

    ``asked_us``: time of each request. ``row_us``: event times of the rows of AGES, a column a view, 0 where there is no row.
    """
    hours = (asked_us[:, np.newaxis] - row_us) / 3.6e9
    return np.hstack([timetable, values, np.where(row_us == 0, np.nan, hours).astype(np.float32)])


def event_times_us(answers: pd.DataFrame, views: Iterable[str]) -> Times:
    """``VIEW.event_timestamp`` of ``features.as_of`` as the store answers it: microseconds, 0 where there is no row."""
    times = [answers[f"{view}.event_timestamp"].dt.tz_localize(None).to_numpy("datetime64[us]") for view in views]
    return np.column_stack(times).astype(np.int64).clip(min=0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the model of departure delay, and its baseline.")
    parser.add_argument("--data", type=Path, default=features.BUILD, help="what features.py wrote (default: %(default)s)")
    data: Path = parser.parse_args().data

    started = time.perf_counter()
    tables = {
        view.name: pd.read_parquet(features.made(data / "history" / f"{view.name}.parquet")) for view in definitions.views
    }
    flights = pd.read_parquet(features.made(data / "flights.parquet"))
    past = flights[flights["known"] <= int(features.HELD_OUT.timestamp()) // 60]
    answers = features.as_of(past, tables, definitions.delay_model_v1)
    joined = time.perf_counter()

    codes = {name: {value: code for code, value in enumerate(sorted(past[name].unique()))} for name in CATEGORIES}
    timetable = timetable_columns(past, codes)
    values = answers[[reference.name for reference in definitions.delay_model_v1.features]].to_numpy(np.float32)
    columns = model_columns(timetable, values, past["asked"].to_numpy() * 60_000_000, event_times_us(answers, AGES))
    delay = past["delay"].to_numpy()
    trained = Trained(DelayModel.fitted(columns, delay), DelayModel.fitted(timetable, delay), codes)
    trained.save(data / "model.joblib")

    print(f"{len(past):,} flights with {values.shape[1]} features as of the request, joined in {joined - started:.1f} s")
    print(f"{'on its own training flights':<28}{'mean error':>11}  {'AUC of 15 minutes late':>23}")
    for name, predicted in {
        "model": trained.with_features.predict(columns),
        "baseline without features": trained.baseline.predict(timetable),
    }.items():
        area = roc_auc_score(delay >= features.LATE_MINUTES, predicted)
        print(f"{name:<28}{mean_absolute_error(delay, predicted):>7.2f} min  {area:>23.3f}")
    print(f"trained in {time.perf_counter() - joined:.1f} s, written to {data / 'model.joblib'}")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it, without a traceback
    main()
