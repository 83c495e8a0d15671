"""``featurestore backup`` and ``featurestore restore``: what lies on disk, kept elsewhere and brought back."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featurestore.cli.connection import Connection, Json, with_connection
from featurestore.cli.tables import print_json
from featurestore.units import bytes_text

if TYPE_CHECKING:
    from featurestore.backup import Manifest


@with_connection
def backup(
    *,
    connection: Connection,
    destination: Annotated[
        str,
        typer.Argument(help="A directory, or a URL as fsspec opens it (s3://...).", metavar="DEST", show_default=False),
    ],
    as_json: Json = False,
) -> None:
    """Keep a copy of the store as it is now, while it serves.

    All that was acknowledged before is in it, and definitions and rows are of one instant. What DEST has from an earlier backup
    is not copied again. The earlier one counts until the new one is whole.

    \b
    Examples:
      featurestore backup /backups/features
      featurestore backup s3://bucket/features --server grpcs://features.internal:7400 --json
    """
    from featurestore.backup import back_up, open_destination
    from featurestore.cli.progress import ShownBytes

    started = time.monotonic()
    with connection.open() as client, ShownBytes(f"backup to {destination}") as shown:
        copied = back_up(client, open_destination(destination), shown.update)
    seconds = time.monotonic() - started
    if as_json:
        fields = {"copied_files": copied.files, "copied_bytes": copied.bytes, "seconds": round(seconds, 3)}
        print_json({**_fields(copied.manifest), **fields})
        return
    manifest = copied.manifest
    typer.echo(
        f"backup of everything up to record {manifest.last:,} in {destination}: {len(manifest.files):,} files, "
        f"{bytes_text(manifest.bytes)}; copied {copied.files:,} of them, {bytes_text(copied.bytes)}, in {seconds:.2f} s"
    )


def restore(
    source: Annotated[
        str,
        typer.Argument(help="Where the backup is: a directory or a URL.", metavar="SRC", show_default=False),
    ],
    directory: Annotated[
        Path, typer.Argument(help="An empty directory, or one that is to be made.", metavar="DIRECTORY", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Make a store of a backup, in an empty directory.

    Each file is held against the backup's checksums. A server that is started on the directory has the rows, and the
    definitions, of the backup's instant.

    \b
    Examples:
      featurestore restore /backups/features /var/lib/featurestore
      featurestore restore s3://bucket/features /var/lib/featurestore --json
    """
    from featurestore.backup import open_destination
    from featurestore.backup import restore as restore_backup
    from featurestore.cli.progress import ShownBytes

    started = time.monotonic()
    with ShownBytes(f"restore of {source}") as shown:
        manifest = restore_backup(open_destination(source), directory, shown.update)
    seconds = time.monotonic() - started
    if as_json:
        print_json({**_fields(manifest), "directory": str(directory), "seconds": round(seconds, 3)})
        return
    typer.echo(
        f"restored the backup of {manifest.created} into {directory}: everything up to record {manifest.last:,}, "
        f"{len(manifest.files):,} files, {bytes_text(manifest.bytes)}, in {seconds:.2f} s\n"
        f"to serve it: featurestore serve --directory {directory}"
    )


def _fields(manifest: "Manifest") -> dict[str, Any]:
    fields = {"created": manifest.created, "version": manifest.version, "journal": f"{manifest.journal:016x}"}
    return {**fields, "base": manifest.base, "last": manifest.last, "files": len(manifest.files), "bytes": manifest.bytes}
