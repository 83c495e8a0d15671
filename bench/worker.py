"""A subject in a process of its own: so that its memory is its own, and its garbage or threads disturb no other.

The parent asks one worker at a time (see ``rounds``). Only durations and checked answers cross between them, never the data.
"""

from pathlib import Path
from typing import cast

from bench.cores import Cores
from bench.dataset import Dataset, Floats, Indices
from bench.environments import ENVIRONMENTS
from bench.histogram import Histogram
from bench.remote import Remote
from bench.rounds import Measured
from bench.subject_runner import SubjectRunner, Turn, Work
from bench.subjects import Listed


class Worker(Remote):
    """The parent's side of a subject's process: on the clients' cores, the subject's own servers on the servers'."""

    def __init__(self, name: str, listed: Listed, dataset: Dataset, memory_directory: Path, cores: Cores) -> None:
        python = {"python": ENVIRONMENTS[listed.environment].python} if listed.environment else {}
        arguments = (name, listed, dataset, memory_directory, cores.servers)
        super().__init__(name, SubjectRunner, *arguments, cores=cores.clients, **python)

    def open(self) -> str:
        return cast(str, self.ask("open"))

    def load(self, start: int, stop: int) -> Measured:
        """Has rows written in one call: its duration, and as many calls as it had rows."""
        seconds = cast(float, self.ask("load", start, stop))
        histogram = Histogram()
        histogram.record(int(seconds * 1e9))
        return Measured(histogram, stop - start, seconds)

    def bytes_per_row(self) -> float:
        return cast(float, self.ask("bytes_per_row"))

    def rows(self, indices: Indices) -> tuple[Floats, list[list[str]]]:
        return cast(tuple[Floats, list[list[str]]], self.ask("rows", indices))

    def turn(self, work: Work, seed: int) -> Measured:
        turn = cast(Turn, self.ask("turn", work, seed))
        histogram = Histogram()
        histogram.record_all(turn.durations_ns)
        return Measured(histogram, histogram.count, (turn.ended_ns - turn.began_ns) / 1e9)
