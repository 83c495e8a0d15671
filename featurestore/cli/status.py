"""``featurestore status``: the processes of a server, and what each is at."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import typer

from featurestore.cli.connection import Connection, Json, with_connection
from featurestore.cli.tables import print_json, print_table
from featurestore.units import bytes_text


@partial(with_connection, directory_help="Look at this directory itself, beside its server too.")
def status(*, connection: Connection, as_json: Json = False) -> None:
    """Show each process of a server.

    With its state, how long it has run and how often it was started again, connections, requests ("refused": those of them
    that were too many at a time) and memory ("shared": of it, rows and libraries that the others have mapped too); and what
    the start found and repaired on disk. The server is asked; with --directory the answer comes from the memory that the
    server's processes share, so that a server which answers nobody can be looked at as well.

    \b
    Examples:
      featurestore status
      featurestore status --server grpcs://features.internal:7400 --json
      featurestore status --directory /var/lib/featurestore
    """
    if connection.directory is None:
        with connection.open() as client:
            found: Mapping[str, Any] = client.status()
    else:
        connection.require_store(connection.directory)
        found = _of_directory(connection.directory, connection.segments)
    recovered = found["recovered"]
    if as_json:
        print_json(found)
        return
    rows = [
        [
            f"{process['role']} {process['number'] or ''}".rstrip(),
            process["pid"],
            process["state"],
            _duration(process["uptime_s"]),
            process["restarts"],
            "-" if process["connections"] is None else f"{process['connections']:,}",
            f"{process['requests']:,}",
            f"{process['refused']:,}",
            bytes_text(process["resident_bytes"]),
            bytes_text(process["shared_bytes"]),
        ]
        for process in found["processes"]
    ]
    numbers = ["pid", "up", "restarts", "connections", "requests", "refused", "memory", "shared"]
    headers = ["process", "pid", "state", "up", "restarts", "connections", "requests", "refused", "memory", "shared"]
    print_table(headers, rows, numbers=numbers)
    if recovered is not None and any(recovered[name] for name in ("records", "tables", "cut_bytes")):
        typer.echo(
            f"the start applied {recovered['records']:,} records again, filled {recovered['tables']:,} tables from the "
            f"beginning and cut {bytes_text(recovered['cut_bytes'])} off the journal's end, in {recovered['seconds']:.3f} s"
        )


def _of_directory(directory: Path, segments: Path | None) -> Mapping[str, Any]:
    from featurestore import __version__
    from featurestore.server.status import StatusBoard
    from featurestore.settings import load_settings

    settings, _ = load_settings({"directory": directory, "segments": segments})
    board = StatusBoard.attach(settings.segments_directory)
    recovered = board.recovered
    return {
        "version": __version__,
        "processes": [process._asdict() for process in board.read()],
        "recovered": recovered._asdict() if recovered is not None else None,
    }


def _duration(seconds: float) -> str:
    """``3d 04:05:06``."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}d {hour:02}:{minute:02}:{second:02}" if days else f"{hour:02}:{minute:02}:{second:02}"
