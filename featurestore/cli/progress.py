"""How far a load is, shown while it runs: a bar on a terminal, a line now and then elsewhere. Always on stderr."""

import sys
import time
from types import TracebackType
from typing import Any, Self

import typer

from featurestore.ingest import LoadState

LINE_EVERY_S = 5.0


class ShownProgress:
    """A context manager whose ``update`` takes the state of a load."""

    def __init__(self, title: str, rows_before: int) -> None:
        """``rows_before`` is what earlier runs had read: rates are of this run."""
        self._title, self._rows_before = title, rows_before
        self._began_s = self._line_s = time.monotonic()
        self._fraction_before: float | None = None
        self._bar: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[rows]}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=None, rows="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, state: LoadState) -> None:
        """Shows a state."""
        now_s = time.monotonic()
        elapsed_s = now_s - self._began_s
        rate = (state.counts.read - self._rows_before) / elapsed_s if elapsed_s else 0.0
        rows = f"{state.counts.read:,} rows, {rate:,.0f} rows/s"
        if state.counts.rejected:
            rows += f", {state.counts.rejected:,} rejected"
        if self._bar is not None:
            self._bar.update(self._task, completed=state.fraction or 0, total=1 if state.fraction else None, rows=rows)
        elif now_s - self._line_s >= LINE_EVERY_S:
            self._line_s = now_s
            typer.echo(f"{self._title}: {rows}{self._left(state, elapsed_s)}", err=True)

    def _left(self, state: LoadState, elapsed_s: float) -> str:
        if state.fraction is None:
            return ""
        if self._fraction_before is None:
            self._fraction_before = state.fraction if self._rows_before else 0.0
        done = state.fraction - self._fraction_before
        left = f", {elapsed_s * (1 - state.fraction) / done:,.0f} s left" if done > 0 else ""
        return f", {state.fraction:.0%}{left}"
