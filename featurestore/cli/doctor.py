"""``featurestore doctor``: looks at a directory and a machine, and says what to change."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from featurestore.cli.connection import Connection, Json, with_connection
from featurestore.cli.settings_options import ConfigOption
from featurestore.cli.tables import print_json

if TYPE_CHECKING:
    from featurestore.doctor import Finding

_COLORS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "problem": typer.colors.RED}


@partial(with_connection, directory_help="The directory; a server may be at work on it.")
def doctor(
    *,
    connection: Connection,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Look at a directory and this machine: space, limits, huge pages, clock, versions, permissions, processes.

    For each check: what was found, and what to change. It changes nothing itself, and may be run while a server is at work: by
    the user that the server runs as, in its container if it has one, with the environment or --config file that it has. With
    --server, or where FEATURESTORE_SERVER names one and no option a place on this machine, that server is asked about its
    processes instead. The exit code is 1 when there is a problem.

    \b
    Examples:
      featurestore doctor
      featurestore doctor --directory /var/lib/featurestore --json
      featurestore doctor --server grpcs://features.internal:7400
    """
    is_here = connection.directory is not None or connection.segments is not None or config is not None
    asks_server = connection.is_server_given or (connection.is_server_named and not is_here)
    findings = _of_server(connection) if asks_server else _of_directory(connection, config)
    problems = sum(finding.verdict == "problem" for finding in findings)
    if as_json:
        print_json({"problems": problems, "findings": [finding._asdict() for finding in findings]})
    else:
        _print(findings)
    if problems:
        raise typer.Exit(1)


def _of_server(connection: Connection) -> "list[Finding]":
    from featurestore.doctor import examine_status

    with connection.open() as client:
        return examine_status(client.status())


def _of_directory(connection: Connection, config: Path | None) -> "list[Finding]":
    from featurestore.doctor import Place, examine
    from featurestore.settings import load_settings

    flags = {"directory": connection.directory, "segments": connection.segments}
    return examine(Place(load_settings(flags, config)[0]))


def _print(findings: "list[Finding]") -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        verdict = typer.style(f"{finding.verdict:<8}", fg=_COLORS[finding.verdict])
        typer.echo(f"{verdict} {finding.check:<{width}}  {finding.found}")
        if finding.change:
            typer.echo(f"{'':<{width + 11}}-> {finding.change}")
    counts = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in ("problem", "warning")}
    typer.echo(f"\n{len(findings)} checks, {counts['problem']} problems, {counts['warning']} warnings")
