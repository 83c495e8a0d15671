"""Tables for people: what ``list``, ``describe`` and ``get`` print when nobody asked for JSON."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import typer

WIDTH_NO_TERMINAL = 200


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()) -> None:
    """Prints rows under headers; the columns named in ``numbers`` are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in headers:
        table.add_column(header, justify="right" if header in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else WIDTH_NO_TERMINAL, highlight=False).print(table)


def print_json(document: Any) -> None:
    """Prints a document as JSON."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
