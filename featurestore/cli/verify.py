"""``featurestore verify``: reads over what a store, or a backup, has on disk."""

from typing import TYPE_CHECKING, Annotated

import typer

from featurestore.cli.connection import Json
from featurestore.cli.tables import print_json, print_table
from featurestore.units import bytes_text

if TYPE_CHECKING:
    from featurestore.backup import FileFinding


def verify(
    place: Annotated[
        str,
        typer.Argument(help="A store's directory, or a backup: a directory or a URL.", metavar="PLACE", show_default=False),
    ],
    as_json: Json = False,
) -> None:
    """Read all that a store or a backup has on disk, and say what is wrong and what can be recovered.

    Every checksum is checked and every record decoded; nothing is changed, and a server may be running. Exit code 1 where
    something is wrong.

    \b
    Examples:
      featurestore verify /var/lib/featurestore
      featurestore verify s3://bucket/features --json
    """
    from featurestore.backup import open_destination
    from featurestore.backup import verify as verify_files
    from featurestore.server.write_decoding import message_problem

    found = verify_files(open_destination(place), message_problem)
    if as_json:
        summary = {"whole": found.is_whole, "base": found.base, "last": found.last, "behind": found.behind}
        print_json({**summary, "versions_lost": [*found.versions_lost], "files": [file._asdict() for file in found.files]})
    else:
        rows = [[file.name, bytes_text(file.bytes), f"{file.records:,}", _judgement(file)] for file in found.files]
        print_table(["file", "size", "records", ""], rows, numbers=["size", "records"])
        for file in found.files:
            if file.problem:
                typer.echo(f"wrong: {file.problem}")
            elif file.tail_bytes:
                typer.echo(
                    f"note: {file.name}: {file.tail_bytes:,} bytes behind its last record are of a write that has not ended; "
                    "a start cuts them off"
                )
        for version in found.versions_lost:
            view, _, number = version.partition(" version ")
            typer.echo(
                f"only a rollback of {view} to version {number} fails, and a start does without it: put a copy of its files "
                "back, or restore a backup"
            )
        lost = f"; {found.behind:,} whole records lie behind what is wrong" if found.behind else ""
        typer.echo(f"everything up to record {found.last:,} can be recovered{lost}")
    if not found.is_whole:
        raise typer.Exit(1)


def _judgement(file: "FileFinding") -> str:
    return "wrong" if file.problem else "behind what is wrong" if file.is_behind else "right"
