"""How far something long is, shown while it runs: a bar on a terminal, a line now and then elsewhere. Always on stderr."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer

from featurestore.units import bytes_text

if TYPE_CHECKING:
    from featurestore.ingest import LoadState

LINE_EVERY_S = 5.0


class Shown:
    """A context manager whose ``show`` takes what is to be shown."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._began_s = self._line_s = time.monotonic()
        self._fraction_before: float | None = None
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar.start()
        self._task = self._bar.add_task(self._title, total=None, text="")

    @property
    def elapsed_s(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._began_s

    def show(self, fraction: float | None, text: str) -> None:
        """Shows how much is done, if that is known, and in words."""
        now_s = time.monotonic()
        if self._fraction_before is None and fraction is not None:
            self._fraction_before = fraction
        if self._bar is None and sys.stderr.isatty():
            self._open_bar()
        if self._bar is not None:
            self._bar.update(self._task, completed=fraction or 0, total=1 if fraction else None, text=text)
        elif now_s - self._line_s >= LINE_EVERY_S:
            self._line_s = now_s
            typer.echo(f"{self._title}: {text}{self._left(fraction)}", err=True)

    def _left(self, fraction: float | None) -> str:
        if fraction is None:
            return ""
        done = fraction - (self._fraction_before or 0.0)
        left = f", {self.elapsed_s * (1 - fraction) / done:,.0f} s left" if done > 0 else ""
        return f", {fraction:.0%}{left}"


class ShownBytes(Shown):
    """Of bytes that are copied or read."""

    def update(self, done: int, total: int) -> None:
        """So many of so many."""
        rate = done / self.elapsed_s if self.elapsed_s else 0.0
        self.show(done / total if total else None, f"{bytes_text(done)} of {bytes_text(total)}, {bytes_text(int(rate))}/s")
        if done >= total:
            self.close()


class ShownProgress(Shown):
    """Of a load."""

    def __init__(self, title: str, rows_before: int) -> None:
        """``rows_before`` is what earlier runs had read: rates are of this run."""
        super().__init__(title)
        self._rows_before = rows_before
        if not rows_before:
            self._fraction_before = 0.0

    def update(self, state: "LoadState") -> None:
        """Shows a state."""
        rate = (state.counts.read - self._rows_before) / self.elapsed_s if self.elapsed_s else 0.0
        rows = f"{state.counts.read:,} rows, {rate:,.0f} rows/s"
        if state.counts.rejected:
            rows += f", {state.counts.rejected:,} rejected"
        self.show(state.fraction, rows)
