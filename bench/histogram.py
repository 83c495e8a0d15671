"""Latencies as HDR histograms: nanoseconds from 1 to 10 minutes, to 3 digits, the same size however many are recorded."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

HIGHEST_NS = 600 * 10**9
DIGITS = 3
PERCENTILES = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 100.0)


class Histogram:
    """Durations, recorded in nanoseconds and read in microseconds."""

    def __init__(self, encoded: Iterable[bytes] = ()) -> None:
        self._histogram = HdrHistogram(1, HIGHEST_NS, DIGITS)
        for each in encoded:
            self._histogram.decode_and_add(each)

    def record(self, duration_ns: int) -> None:
        self._histogram.record_value(min(max(duration_ns, 1), HIGHEST_NS))

    def record_all(self, durations_ns: npt.NDArray[np.int64]) -> None:
        """Records an array at once: equal durations are counted first, since recording one costs a microsecond."""
        values, counts = np.unique(np.clip(durations_ns, 1, HIGHEST_NS), return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._histogram.record_value(value, count)

    def add(self, other: "Histogram") -> None:
        """Adds what another one recorded."""
        self._histogram.add(other._histogram)

    def encode(self) -> bytes:
        """The compressed form that another process adds to its own."""
        encoded: bytes = self._histogram.encode()
        return encoded

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    @property
    def mean_us(self) -> float:
        """The mean; 0 when nothing was recorded."""
        return float(self._histogram.get_mean_value()) / 1_000

    def percentiles_us(self, percentiles: Iterable[float] = PERCENTILES) -> dict[str, float]:
        """Microseconds at each percentile, keyed by its text: ``{"50": 1.2, "99.9": 4.5}``; empty when nothing was recorded."""
        if not self.count:
            return {}
        values: dict[float, int] = self._histogram.get_percentile_to_value_dict(list(percentiles))
        return {f"{percentile:g}": values[percentile] / 1_000 for percentile in sorted(values)}
