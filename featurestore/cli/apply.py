"""``featurestore apply PATH``: show what would change, ask, change it.

The plan that is shown is the server's own; this command adds where each definition was written. Invariant: nothing is changed
that was not shown or agreed to beforehand (``--yes``).
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from featurestore.cli.asking import ask
from featurestore.cli.connection import Connection, Json, with_connection
from featurestore.cli.tables import print_json

if TYPE_CHECKING:
    from featurestore_client import ApplyResult, Change

    from featurestore.errors import Violation
    from featurestore.registry import Loaded

DIFFERENCES_SHOWN = 12
SECOND_OPINION_TIMEOUT_S = 2.0
_SIGNS = {"create": ("+", typer.colors.GREEN), "update": ("~", typer.colors.YELLOW), "delete": ("-", typer.colors.RED)}


@with_connection
def apply(
    *,
    connection: Connection,
    path: Annotated[
        Path, typer.Argument(help="A .py, .yaml or .yml file of definitions, or a directory of them.", metavar="PATH")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Apply without asking.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete what stands in the projects of these definitions and is not among them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Apply definitions: show the plan, ask, apply.

    In the plan + is created, ~ updated, - deleted, each with what that does to live data.
    Every mistake is told at once, with file and line. Changes that live data would not survive are refused, and the
    message says what to do instead.

    \b
    Examples:
      featurestore apply definitions.yaml
      featurestore apply features/ --dry-run
      featurestore apply features/ --prune --yes --json
      featurestore apply definitions.py --directory ./featurestore-data
    """
    if as_json and not (yes or dry_run):
        raise typer.BadParameter("--json cannot ask: add --yes to apply, or --dry-run to see the plan")
    from featurestore.registry import survey

    loaded = survey(path)
    if loaded.violations:
        _raise_mistakes(loaded, connection, prune)
    with connection.open(makes_store=True) as client:
        planned = _with_places(loaded, lambda: client.apply(loaded.definitions, dry_run=True, prune=prune))
        if not as_json:
            _show(planned, loaded)
        if planned.changes and not dry_run:
            if not yes:
                which = "this change" if len(planned.changes) == 1 else f"these {len(planned.changes)} changes"
                ask(f"Apply {which}?", otherwise="add --yes to apply, or --dry-run to see the plan")
            shown = None if yes else planned.base_version
            planned = _with_places(loaded, lambda: client.apply(loaded.definitions, prune=prune, base_version=shown))
            if not as_json:
                typer.echo(f"Applied {_count(len(planned.changes), 'change')}.")
    if as_json:
        print_json({**asdict(planned), "applied": not dry_run})  # where nothing changes, it stands as applied


# --------------------------------------------------------------------------------------------------------------- mistakes


def _raise_mistakes(loaded: "Loaded", connection: Connection, prune: bool) -> NoReturn:
    """Raises the mistakes of the files, together with what the store has to say about the rest of the definitions."""
    from featurestore.errors import FeatureStoreError, InvalidArgumentError
    from featurestore.registry import sentences

    violations = list(loaded.violations)
    try:
        with connection.open(makes_store=True) as client:
            client.apply(loaded.definitions, dry_run=True, prune=prune, timeout_s=SECOND_OPINION_TIMEOUT_S)
    except FeatureStoreError as error:  # also when the store cannot be reached: the mistakes of the files are enough to say
        violations += [found for found in _placed(loaded, error.violations) if not _follows(loaded, found)]
    raise InvalidArgumentError(sentences(violations), violations)


def _follows(loaded: "Loaded", violation: "Violation") -> bool:
    """Whether a mistake is only that an object is named which has mistakes of its own."""
    kind = {"entity": "entity", "view": "feature view", "project": "project"}.get(violation.field.rpartition(".")[2])
    return any(key.kind == kind and repr(key.name) == violation.value for key in loaded.broken)


def _with_places(loaded: "Loaded", call: Any) -> "ApplyResult":
    """Calls the store; its violations come back with the file and line of the object."""
    from featurestore_client import errors

    from featurestore.errors import FailedPreconditionError, InvalidArgumentError
    from featurestore.registry import sentences

    try:
        result: ApplyResult = call()
    except (errors.InvalidArgumentError, errors.FailedPreconditionError) as error:
        violations = _placed(loaded, error.violations)
        if not violations:
            raise
        kind = InvalidArgumentError if isinstance(error, errors.InvalidArgumentError) else FailedPreconditionError
        raise kind(sentences(violations), violations) from error
    return result


def _placed(loaded: "Loaded", violations: Any) -> "list[Violation]":
    from featurestore.errors import Violation

    places = {str(key): str(origin) for key, origin in loaded.origins.items()}
    return [
        Violation(found.field, found.value, found.expected, found.object, places.get(found.object, "")) for found in violations
    ]


# ------------------------------------------------------------------------------------------------------------------- plan


def _show(planned: "ApplyResult", loaded: "Loaded") -> None:
    if not planned.changes:
        typer.echo(f"Nothing to change: {_count(len(loaded.definitions.index), 'definition')} stand as written.")
        return
    for change in planned.changes:
        _show_change(change)
    counts = [f"{sum(change.action == action for change in planned.changes)} to {action}" for action in _SIGNS]
    typer.echo(f"\n{', '.join(counts)}")


def _show_change(change: "Change") -> None:
    sign, color = _SIGNS[change.action]
    name = change.name if change.kind == "project" else f"{change.project}.{change.name}"
    typer.echo(typer.style(f"{sign} {change.kind} {name}", fg=color, bold=True) + f": {change.effect}")
    for difference in change.differences[:DIFFERENCES_SHOWN]:
        typer.echo(f"    {difference}")
    if len(change.differences) > DIFFERENCES_SHOWN:
        typer.echo(f"    and {len(change.differences) - DIFFERENCES_SHOWN} more lines (--json shows all)")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
