"""``featurestore rollback VIEW``, and how versions of a view's rows are told."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featurestore.cli.asking import ask
from featurestore.cli.connection import Connection, Json, Project, with_connection
from featurestore.cli.tables import print_json

if TYPE_CHECKING:
    from featurestore_client import Replaced


@with_connection
def rollback(
    *,
    connection: Connection,
    view: Annotated[str, typer.Argument(help="The feature view.", metavar="VIEW", show_default=False)],
    project: Project = "default",
    to: Annotated[
        int | None,
        typer.Option("--to", help="The version to bring back. By default the latest that is kept.", metavar="VERSION"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Bring back the rows that a view had before a load replaced them.

    They are as they were then: what was written to the view since is not in them. The rows of now are kept, as the latest
    version. featurestore describe view VIEW lists the versions.

    \b
    Examples:
      featurestore rollback carrier_stats
      featurestore rollback carrier_stats --to 3 --yes --json
    """
    if as_json and not yes:
        raise typer.BadParameter("--json cannot ask: add --yes to bring the rows back")
    with connection.open() as client:
        described = client.describe_feature_view(view, project=project)  # says where there is no such view
        if not yes:
            wanted = next((each for each in described["kept"] if to in (None, each["number"])), None)
            if wanted is not None:  # else the server says what there is
                typer.echo(f"now:  {version_text(described['version'], rows=described['table']['rows'])}")
                typer.echo(f"back: {version_text(wanted)}")
                question = "What was written to the view since is not in it. Bring it back?"
                ask(question, otherwise="add --yes to bring it back")
        replaced = client.rollback(view, version=to, project=project)
    if as_json:
        print_json(replaced_dict(replaced))
    else:
        tell_replaced(replaced)


def version_text(version: dict[str, Any], rows: int | None = None) -> str:
    """A version in a line."""
    count = version["rows"] if rows is None else rows
    at = (
        datetime.fromtimestamp(version["time_us"] / 1e6, UTC).strftime("since %Y-%m-%d %H:%M:%S UTC, ")
        if version["time_us"]
        else ""
    )
    return f"version {version['number']}, {at}{count:,} rows" + (f", from {version['source']}" if version["source"] else "")


def replaced_dict(replaced: "Replaced") -> dict[str, Any]:
    """For ``--json``."""
    return {
        "version": replaced.version._asdict(),
        "former": replaced.former._asdict(),
        "former_is_kept": replaced.former_is_kept,
    }


def tell_replaced(replaced: "Replaced") -> None:
    """For people."""
    typer.echo(f"serves:   {version_text(replaced.version._asdict())}")
    kept = "kept: featurestore rollback brings it back" if replaced.former_is_kept else "not kept"
    typer.echo(f"replaced: {version_text(replaced.former._asdict())} ({kept})")
