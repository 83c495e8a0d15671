"""The demo's features are honest: nothing that became known after a moment is in what is answered for that moment.

Runs features.py on ten days of the real flights. The replay through a server is the demo itself (`make demo`).
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featurestore.registry import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
CUTS = ("2013-02-07 18:00", "2013-02-08 12:00", "2013-02-09 00:30")
"""In local time: an evening peak, the morning on which a blizzard came, and just after midnight with flights still leaving."""


@pytest.fixture(scope="module")
def features() -> Iterator[ModuleType]:
    sys.path.insert(0, str(EXAMPLE))
    try:
        import features

        yield features
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in ("features", "definitions", "demo"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def flights(features: ModuleType) -> pd.DataFrame:
    year = features.read_flights()
    first = int(pd.Timestamp("2013-02-02", tz="America/New_York").timestamp()) // 60
    days = year[(year["scheduled"] >= first) & (year["scheduled"] < first + 10 * 24 * 60)].reset_index(drop=True)
    assert len(days) > 8_000
    assert (days["known"] == features.NEVER).sum() > 500
    return days


@pytest.fixture(scope="module")
def tables(features: ModuleType, flights: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return dict(features.feature_tables(flights))


def _minute(local: str) -> int:
    return int(pd.Timestamp(local, tz="America/New_York").timestamp()) // 60


def _with_other_delays_after(features: ModuleType, flights: pd.DataFrame, minute: int) -> pd.DataFrame:
    """Every flight that had not departed by then departs at another time after it, or is cancelled."""
    random = np.random.default_rng(minute)
    later = flights["known"].to_numpy() > minute
    scheduled = flights["scheduled"].to_numpy()
    known = np.maximum(minute + 1, scheduled - 40) + random.integers(0, 600, len(flights))
    cancelled = random.random(len(flights)) < 0.2
    other = flights.copy()
    other["known"] = np.where(later, np.where(cancelled, features.NEVER, known), flights["known"])
    delay = np.where(cancelled, np.nan, known - 1 - scheduled)
    other["delay"] = np.where(later, delay, flights["delay"]).astype(np.float32)
    return other


@pytest.mark.parametrize("cut", CUTS)
def test_features_known_before_do_not_change_with_later_delays(
    features: ModuleType, flights: pd.DataFrame, tables: dict[str, pd.DataFrame], cut: str
) -> None:
    minute = _minute(cut)
    other = _with_other_delays_after(features, flights, minute)
    other_tables = features.feature_tables(other)
    service = features.definitions.delay_model_v1

    moment = pd.Timestamp(minute * 60, unit="s", tz="UTC")
    for name, table in tables.items():
        before = table[table["event_timestamp"] <= moment]
        other_before = other_tables[name][other_tables[name]["event_timestamp"] <= moment]
        pd.testing.assert_frame_equal(before.reset_index(drop=True), other_before.reset_index(drop=True), obj=name)

    asked_before = flights["asked"] <= minute
    answers = features.as_of(flights, tables, service)
    other_answers = features.as_of(other, other_tables, service)
    pd.testing.assert_frame_equal(answers[asked_before], other_answers[asked_before])
    # That the delays did change, and that it shows afterwards, is what gives the comparison above its meaning.
    assert not answers[~asked_before].equals(other_answers[~asked_before])


def test_own_delay_is_not_known_when_a_flight_is_asked_for(features: ModuleType) -> None:
    year = features.read_flights()
    assert len(year) == 336_776
    assert (year["known"] > year["asked"]).all()


def test_departure_times_agree_with_the_clock_of_the_airport(features: ModuleType) -> None:
    """``known`` is counted from the schedule; the files also have the local time of departure, past midnight and in summer."""
    year = features.read_flights()
    raw = pd.read_csv(
        features.data_file("flights.csv.zip"), usecols=["dep_time", "time_hour", "minute", "origin", "carrier", "flight"]
    )
    raw["scheduled"] = pd.to_datetime(raw["time_hour"], utc=True).dt.as_unit("s").astype(np.int64) // 60 + raw["minute"]
    both = year.merge(raw, on=["scheduled", "origin", "carrier", "flight"], validate="one_to_one")
    departed = both[both["known"] < features.NEVER]
    assert len(departed) == 328_521
    local = pd.to_datetime((departed["known"] - 1) * 60, unit="s", utc=True).dt.tz_convert("America/New_York")
    assert (local.dt.hour * 100 + local.dt.minute == departed["dep_time"] % 2400).all()


def test_answers_are_those_of_counting_flights_one_by_one(
    features: ModuleType, flights: pd.DataFrame, tables: dict[str, pd.DataFrame]
) -> None:
    answers = features.as_of(flights, tables, features.definitions.delay_model_v1)
    sample = flights[flights["asked"] > flights["scheduled"].min() + 24 * 60].sample(150, random_state=1)
    for row, flight in sample.iterrows():
        expected = _counted(features, flights, flight)
        answered = answers.loc[row, list(expected)].to_numpy(np.float32)
        np.testing.assert_array_equal(answered, np.array(list(expected.values()), np.float32), err_msg=str(flight.to_dict()))


def _counted(features: ModuleType, flights: pd.DataFrame, flight: "pd.Series[Any]") -> dict[str, float]:
    now = flight["asked"]
    expected: dict[str, float] = {}
    roles = {"origin": ("origin", ("1h", "3h")), "carrier": ("carrier", ("3h", "7d")), "destination": ("dest", ("3h", "7d"))}
    for prefix, (key, windows) in roles.items():
        same = flights[flights[key] == flight[key]]
        was_overdue = (same["scheduled"] <= now - 15) & (same["known"] > same["scheduled"] + 15)
        seen = bool(((same["known"] <= now) | was_overdue).any())  # Until then there is no row, so not even a count of zero.
        for window in windows:
            within = same[(same["known"] <= now) & (same["known"] > now - features.WINDOW_MINUTES[window])]
            delays = within["delay"].astype(np.float64)
            expected[f"{prefix}_departures_{window}"] = len(within) if seen else np.nan
            expected[f"{prefix}_mean_delay_{window}"] = delays.mean()
            expected[f"{prefix}_late_share_{window}"] = (delays >= 15).mean() if len(within) else np.nan
        waiting = same[(same["scheduled"] <= now - 15) & (same["scheduled"] > now - 180) & (same["known"] > now)]
        expected[f"{prefix}_overdue"] = len(waiting) if seen else np.nan
    plane = flights[(flights["tailnum"] == flight["tailnum"]) & (flights["known"] <= now)].sort_values("known")
    latest = plane["delay"].astype(np.float64).tail(10)
    expected["plane_last_delay"] = latest.iloc[-1] if len(latest) else np.nan
    expected["plane_mean_delay_last_10"] = latest.mean()
    return expected


def test_weather_is_known_only_when_its_hour_is_over(features: ModuleType, tables: dict[str, pd.DataFrame]) -> None:
    raw = pd.read_csv(features.data_file("weather.csv"), usecols=["origin", "time_hour", "temp"])
    raw["event_timestamp"] = pd.to_datetime(raw["time_hour"], utc=True).dt.as_unit("us") + pd.Timedelta("1h")
    both = tables["origin_weather"].merge(raw, on=["origin", "event_timestamp"], validate="one_to_one")
    assert len(both) == len(raw)
    np.testing.assert_array_equal(both["temperature"], both["temp"].astype(np.float32))


def test_demo_says_in_a_sentence_that_the_server_cannot_start(
    features: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import demo

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(demo.DemoError, match="featurestore is not on the PATH: `make demo` installs it"), demo.server(tmp_path):
        pass
    command = tmp_path / "featurestore"
    command.write_text("#!/bin/sh\necho error: no memory is left >&2\nexit 1\n")
    command.chmod(0o755)
    log = re.escape("ended at its start with status 1. Its log:\n  error: no memory is left")
    with pytest.raises(demo.DemoError, match=log), demo.server(tmp_path):
        pass


def test_definitions_of_the_demo_are_valid_and_answered_as_one_matrix(features: ModuleType) -> None:
    definitions = load(EXAMPLE / "definitions.py").definitions
    views = {view.name: view for view in definitions.feature_views}
    assert set(views) == {view.name for view in features.definitions.views}
    (service,) = definitions.feature_services
    assert {str(next(f.type for f in views[r.view].features if f.name == r.feature)) for r in service.features} == {"float32"}
