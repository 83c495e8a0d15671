"""The held-out month as it happened: rows are written when they become known, flights are asked for before they leave.

    python examples/flights/replay.py --server grpc://127.0.0.1:7400

The server holds all rows up to the month (``featurestore ingest``). Time goes on in steps of five minutes: what became known is
written, then the flights that leave an hour later are fetched through service ``delay_model_v1``. Of what was fetched the model
predicts the delays. Every value is then compared with an as-of join in pandas, and the predictions with what came to pass.

Invariant: within a step writes go before the fetch, and nothing later is ever written: the store is asked about the present.
"""

import argparse
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import definitions
import features
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from featurestore_client import Client, FeatureStoreError, ValueStatus, connect
from model import AGES, Floats, Times, Trained, event_times_us, model_columns
from plot import draw
from sklearn.metrics import mean_absolute_error, roc_auc_score

SERVICE = definitions.delay_model_v1
REQUEST_KEYS = list(dict.fromkeys(key for entity in definitions.entities for key in features.KEYS[entity.name]))
VIEWS = tuple(dict.fromkeys(reference.view for reference in SERVICE.features))


@dataclass(frozen=True)
class Replayed:
    """What the replay saw: a row a flight, in the order in which they were asked for."""

    flights: pd.DataFrame
    values: Floats
    statuses: npt.NDArray[np.uint8]
    row_us: Times
    """Event times, a column for each of VIEWS, 0 where there was no row."""
    predicted: Floats
    baseline: Floats
    fetch_us: npt.NDArray[np.float64]
    write_us: npt.NDArray[np.float64]
    rows_written: int
    seconds: float


class Stream:
    """The rows of one view that the replay has yet to write, in the order of time."""

    def __init__(self, view: str, rows: pa.Table) -> None:
        self.view = view
        self._rows = rows.combine_chunks().to_batches()[0] if rows.num_rows else rows.schema.empty_table()
        self._times_us = rows["event_timestamp"].to_numpy().astype("datetime64[us]").astype(np.int64)
        self._written = 0

    def up_to(self, time_us: int) -> pa.RecordBatch | None:
        """The rows that became known since the last call, up to and with this time."""
        start, self._written = self._written, int(np.searchsorted(self._times_us, time_us, side="right"))
        return self._rows.slice(start, self._written - start) if self._written > start else None


def replay(client: Client, trained: Trained, flights: pd.DataFrame, streams: list[Stream]) -> Replayed:
    """Goes through the times at which flights are asked for. ``flights`` are in the order of ``asked``."""
    asked = flights["asked"].to_numpy(np.int64)
    timetable = trained.timetable(flights)
    keys = {name: flights[name].tolist() for name in REQUEST_KEYS}
    starts = np.flatnonzero(np.r_[True, np.diff(asked) != 0]).tolist()
    values, statuses, row_us, fetch_us, write_us = [], [], [], [], []
    rows_written = 0
    progress_at = 0
    began = time.perf_counter()
    for start, stop in zip(starts, [*starts[1:], len(flights)], strict=True):
        now_us = int(asked[start]) * 60_000_000
        for stream in streams:
            rows = stream.up_to(now_us)
            if rows is not None:
                started = time.perf_counter_ns()
                counts = client.write(stream.view, rows)
                write_us.append((time.perf_counter_ns() - started) / 1e3)
                rows_written += counts.rows

        request = {name: column[start:stop] for name, column in keys.items()}
        started = time.perf_counter_ns()
        batch = client.get(SERVICE.name, request, event_timestamps=True)
        matrix = batch.to_numpy()
        fetch_us.append((time.perf_counter_ns() - started) / 1e3)

        assert isinstance(matrix, np.ndarray)
        assert batch.event_timestamps is not None
        assert batch.views == VIEWS
        values.append(matrix)
        statuses.append(batch.statuses)
        row_us.append(batch.event_timestamps.astype(np.int64).clip(min=0))
        if stop * 4 // len(flights) > progress_at or stop == len(flights):
            progress_at = stop * 4 // len(flights)
            now = pd.Timestamp(now_us, unit="us", tz="UTC").tz_convert(features.HELD_OUT.tz)
            print(f"  {now:%d %B %H:%M}: {stop:,} flights asked for, {rows_written:,} rows written", flush=True)
    seconds = time.perf_counter() - began
    all_values, all_row_us = np.concatenate(values), np.concatenate(row_us)
    ages = all_row_us[:, [VIEWS.index(view) for view in AGES]]
    return Replayed(
        flights,
        all_values,
        np.concatenate(statuses),
        all_row_us,
        trained.with_features.predict(model_columns(timetable, all_values, asked * 60_000_000, ages)),
        trained.baseline.predict(timetable),
        np.array(fetch_us),
        np.array(write_us),
        rows_written,
        seconds,
    )


def differences(seen: Replayed, tables: dict[str, pd.DataFrame]) -> list[str]:
    """Each feature, status or event time that the server answered otherwise than an as-of join in pandas: none is right."""
    expected = features.as_of(seen.flights, tables, SERVICE)
    expected_us = event_times_us(expected, VIEWS)
    found = []
    for position, view in enumerate(VIEWS):
        wrong = seen.row_us[:, position] != expected_us[:, position]
        found += _named(f"event time of {view}", wrong, seen.row_us[:, position], expected_us[:, position])
    for position, reference in enumerate(SERVICE.features):
        value, right = seen.values[:, position], expected[reference.name].to_numpy(np.float32)
        found += _named(reference.name, ~((value == right) | (np.isnan(value) & np.isnan(right))), value, right)
        no_row = expected_us[:, VIEWS.index(reference.view)] == 0
        status = np.where(no_row, ValueStatus.NOT_FOUND, np.where(np.isnan(right), ValueStatus.NULL, ValueStatus.PRESENT))
        found += _named(f"status of {reference.name}", seen.statuses[:, position] != status, seen.statuses[:, position], status)
    return found


def _named(name: str, wrong: npt.NDArray[np.bool_], got: npt.NDArray[Any], right: npt.NDArray[Any]) -> list[str]:
    if not wrong.any():
        return []
    first = int(np.argmax(wrong))
    return [f"{name} of {wrong.sum():,} flights, the first of row {first}: got {got[first]}, pandas says {right[first]}"]


def report(seen: Replayed) -> None:
    """Prints what a model server would want to know of the month."""
    flights = len(seen.flights)
    found = seen.statuses != ValueStatus.NOT_FOUND
    print(f"\nhit rate: {found.mean():.2%} of {found.size:,} values have a row of their key in the store")
    for view in VIEWS:
        of_view = [position for position, reference in enumerate(SERVICE.features) if reference.view == view]
        null = (seen.statuses[:, of_view] == ValueStatus.NULL).mean()
        print(f"  {view:<22}{found[:, of_view].mean():>8.2%}   {null:>6.2%} null")

    flown = seen.flights["delay"].notna().to_numpy()
    delay = seen.flights["delay"].to_numpy()[flown]
    print(f"\nthe model on the {flown.sum():,} of {flights:,} flights that departed")
    errors = {}
    print(f"  {'':<28}{'mean error':>11}  {'AUC of 15 minutes late':>23}")
    for name, predicted in {"model": seen.predicted[flown], "baseline without features": seen.baseline[flown]}.items():
        errors[name] = mean_absolute_error(delay, predicted)
        area = roc_auc_score(delay >= features.LATE_MINUTES, predicted)
        print(f"  {name:<28}{errors[name]:>7.2f} min  {area:>23.3f}")
    better = 1 - errors["model"] / errors["baseline without features"]
    print(f"  the features take {better:.1%} off the error")

    print(
        f"\n{seen.rows_written:,} rows written and {flights:,} flights fetched, one call after the other: {seen.seconds:.1f} s"
    )
    for name, calls, rows in (("fetches", seen.fetch_us, flights), ("writes", seen.write_us, seen.rows_written)):
        p50, p99 = np.percentile(calls, [50, 99])
        each = f"{rows / len(calls):.1f} rows on average"
        print(f"  {len(calls):>7,} {name:<8}of {each:<21} p50 {p50:>6,.0f} us   p99 {p99:>6,.0f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description="Replay the held-out month against a server, and compare.")
    parser.add_argument("--data", type=Path, default=features.BUILD, help="what features.py wrote (default: %(default)s)")
    parser.add_argument(
        "--server",
        default=os.environ.get("FEATURESTORE_SERVER", "grpc://127.0.0.1:7400"),
        help="address (default: the environment's FEATURESTORE_SERVER, then %(default)s)",
    )
    arguments = parser.parse_args()
    data: Path = arguments.data

    trained = Trained.load(features.made(data / "model.joblib"))
    flights = pd.read_parquet(features.made(data / "flights.parquet"))
    events = {view.name: pq.read_table(features.made(data / "events" / f"{view.name}.parquet")) for view in definitions.views}
    held_out = flights[flights["asked"] >= int(features.HELD_OUT.timestamp()) // 60]
    held_out = held_out.sort_values("asked", kind="stable", ignore_index=True)

    try:
        with connect(arguments.server) as client:
            seen = replay(client, trained, held_out, [Stream(view, rows) for view, rows in events.items()])
    except FeatureStoreError as error:
        raise SystemExit(f"the replay stopped: {error}") from None

    report(seen)
    history = {view: pd.read_parquet(features.made(data / "history" / f"{view}.parquet")) for view in VIEWS}
    wrong = differences(seen, {view: pd.concat([history[view], events[view].to_pandas()], ignore_index=True) for view in VIEWS})
    checked = f"{seen.values.size:,} values, their statuses and {seen.row_us.size:,} event times"
    if wrong:
        print(f"\nchecked against pandas: {len(wrong)} columns differ", *wrong, sep="\n  ", file=sys.stderr)
        raise SystemExit(1)
    print(f"\nchecked against pandas: {checked} are equal to those of an as-of join")
    draw(data / "replay.png", seen.flights, seen.predicted, seen.baseline, seen.fetch_us)
    print(f"drawn: {data / 'replay.png'}")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it, without a traceback
    main()
