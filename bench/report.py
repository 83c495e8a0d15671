"""What a run found: machine, settings, results, goals; as JSON, and as tables.

``results`` has one shape, the same six keys in each, for whoever compares runs; whatever else is known of a result stands
under ``details`` (percentiles, each round's figures, errors), and goals under ``goals``. Plots are drawn from this alone.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REFERENCES = ("featurestore", "grpc_echo")


@dataclass(frozen=True)
class Result:
    """One figure set. A read's operation is a call; a write's, an ingestion's is a row. None: not measured here."""

    case: str
    subject: str
    p50_us: float | None = None
    p99_us: float | None = None
    ops_per_s: float | None = None
    bytes_per_row: float | None = None


@dataclass(frozen=True)
class Detail:
    """What stands behind a result: percentiles over all rounds, how many calls, each round's figures, and the case's own."""

    case: str
    subject: str
    percentiles_us: dict[str, float] = field(default_factory=dict)
    calls: int = 0
    rounds: list[dict[str, float]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Goal:
    """A promise, what was found, and whether it holds."""

    text: str
    found: str
    met: bool


@dataclass
class Report:
    case: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    details: list[Detail] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, case: str, machine: dict[str, Any], settings: dict[str, Any]) -> "Report":
        return cls(case, machine, settings)

    def note(self, text: str) -> None:
        """Something that a reader of the figures should know, once."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, result: Result, detail: Detail | None = None) -> None:
        self.results.append(result)
        if detail is not None:
            self.details.append(detail)

    def find(self, case: str, subject: str) -> Result | None:
        """The result of this case and subject, if it was measured."""
        return next((each for each in self.results if each.case == case and each.subject == subject), None)

    def detail(self, case: str, subject: str) -> Detail | None:
        return next((each for each in self.details if each.case == case and each.subject == subject), None)

    def value(self, case: str, subject: str, figure: str) -> float | None:
        """One figure of a result, such as ``p50_us``; None where it was not measured."""
        found = self.find(case, subject)
        return None if found is None else getattr(found, figure)

    def cases(self) -> list[str]:
        """The cases in the order in which they were run."""
        return list(dict.fromkeys(each.case for each in self.results))

    def subjects(self) -> list[str]:
        return list(dict.fromkeys(each.subject for each in self.results))

    def goal(
        self, text: str, found: float | None, limit: float, *, least: bool = False, unit: str = "", digits: int = 2
    ) -> None:
        """Adds a goal: ``found`` is to be at most ``limit`` (with ``least``, at least). Not measured is no goal."""
        if found is None:
            return
        met = found >= limit if least else found <= limit
        self.goals.append(Goal(text, f"{found:,.{digits}f}{unit}", met))

    def as_json(self) -> dict[str, Any]:
        return {
            "case": self.case,
            "machine": self.machine,
            "settings": self.settings,
            "results": [asdict(each) for each in self.results],
            "goals": [asdict(each) for each in self.goals],
            "details": [asdict(each) for each in self.details],
            "notes": self.notes,
        }

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=1, default=float) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Report":
        """A report from its JSON."""
        data = json.loads(path.read_text())
        return cls(
            data["case"],
            data["machine"],
            data["settings"],
            [Result(**each) for each in data["results"]],
            [Detail(**each) for each in data["details"]],
            [Goal(**each) for each in data["goals"]],
            data["notes"],
        )


def number(value: float | None, digits: int = 3) -> str:
    """A figure to about three digits, with thousands apart: 0.912, 57.3, 4,412,000."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    for least, decimals in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= least:
            return f"{value:,.{decimals}f}"
    return f"{value:.{digits}f}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligned columns: the first two to the left, figures to the right."""
    lines = [list(heads), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    text = []
    for line in lines:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)


def results_table(report: Report) -> str:
    """All results; where there is one to compare with, how many times its median each other one takes."""
    reference = next((name for name in REFERENCES if name in report.subjects()), "")
    rows = []
    previous = ""
    for each in report.results:
        own = report.value(each.case, reference, "p50_us") if reference else None
        times = f"{each.p50_us / own:.2f}x" if own and each.p50_us and each.subject != reference else ""
        case = each.case if each.case != previous else ""
        previous = each.case
        figures = (each.p50_us, each.p99_us, each.ops_per_s, each.bytes_per_row)
        rows.append([case, each.subject, *map(number, figures), times])
    heads = ["case", "subject", "p50 us", "p99 us", "ops/s", "bytes/row", f"of {reference}" if reference else ""]
    keep = [column for column in range(len(heads)) if column < 2 or any(row[column] for row in rows)]
    return table([heads[column] for column in keep], [[row[column] for column in keep] for row in rows])


def goals_table(report: Report) -> str:
    """The goals, each with what was found and whether it is met."""
    return table(["", "goal", "found"], [["pass" if goal.met else "MISS", goal.text, goal.found] for goal in report.goals])
