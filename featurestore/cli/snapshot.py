"""``featurestore snapshot``: has the rows written down now."""

import typer

from featurestore.cli.connection import Connection, Json, with_connection
from featurestore.cli.tables import print_json
from featurestore.units import bytes_text


@with_connection
def snapshot(*, connection: Connection, as_json: Json = False) -> None:
    """Write all rows down beside the journal, and take away the part of the journal that they stand for.

    The server does so by itself as the journal grows; by hand it makes the next start quick and the next backup small. Reads
    and writes go on meanwhile.

    \b
    Examples:
      featurestore snapshot
      featurestore snapshot --directory /var/lib/featurestore --json
    """
    with connection.open() as client:
        taken = client.take_snapshot()
    if as_json:
        print_json(taken)
        return
    typer.echo(
        f"snapshot of everything up to record {taken['base']:,}: {taken['records']:,} records, {bytes_text(taken['bytes'])}, "
        f"in {taken['seconds']:.2f} s"
    )
