"""Questions before something is changed. Invariant: where nobody can answer, none is put, and what to say instead is told."""

import sys

import typer


def ask(question: str, *, otherwise: str) -> None:
    """Goes on where the answer is yes. ``otherwise`` is what to add to the command where nobody is there: exit code 2."""
    if not _somebody_is_there():
        typer.echo(f"error: nobody is there to be asked: {otherwise}", err=True)
        raise typer.Exit(2)
    typer.confirm(question, abort=True)


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()
