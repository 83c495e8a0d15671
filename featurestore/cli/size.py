"""``featurestore size``: what definitions will take in memory and on disk, before there is a row."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featurestore.cli.connection import Json
from featurestore.cli.tables import print_json, print_table
from featurestore.units import bytes_text

if TYPE_CHECKING:
    from featurestore_client.types import ViewSchema

    from featurestore.registry import Definitions

STRING_BYTES = 16
STRING_BYTES_MAX = 1 << 30
"""As long as the server takes a value at most."""
ROWS_MAX = 1 << 40
"""More than any machine has memory for."""


def size(
    path: Annotated[
        Path, typer.Argument(help="A .py, .yaml or .yml file of definitions, or a directory of them.", metavar="PATH")
    ],
    rows: Annotated[
        list[str], typer.Option("--rows", "-r", help="Rows of each view, or of one.", metavar="N|VIEW=N", show_default=False)
    ],
    string_bytes: Annotated[
        list[str] | None,
        typer.Option(
            "--string-bytes",
            help=f"Bytes of a string on average, or of one feature or join key. [default: {STRING_BYTES}]",
            metavar="N|NAME=N",
            show_default=False,
        ),
    ] = None,
    shards: Annotated[int | None, typer.Option("--shards", help="As the server is started with.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Compute memory and disk from definitions and numbers of rows.

    Memory is what `featurestore list tables` will show: where rows came in small batches, and at most, since tables grow in
    steps and a load of large batches commits memory ahead. It includes the index. Disk is the journal, the snapshot before and
    the one being written.

    \b
    Examples:
      featurestore size definitions.py --rows 1000000
      featurestore size features/ --rows 100000 --rows carrier_stats=20 --string-bytes 24 --string-bytes carrier=2
      featurestore size definitions.yaml --rows 5000000 --shards 32 --json
    """
    from featurestore.registry import load
    from featurestore.settings import load_settings

    settings, _ = load_settings({"shards": shards})
    definitions = load(path).definitions
    document = _document(definitions, rows, string_bytes or [], settings.shards, settings.snapshot_bytes_min)
    if as_json:
        print_json(document)
    else:
        _print(document)


def _document(
    definitions: "Definitions", rows: Sequence[str], string_bytes: Sequence[str], shards: int, snapshot_bytes_min: int
) -> dict[str, Any]:
    from featurestore.server.write_encoding import row_bytes
    from featurestore.service.snapshots import disk_bytes_max
    from featurestore.settings import SHARDS_MAX
    from featurestore.store.sizing import TABLE_BYTES, size_of_table
    from featurestore.store.table import schema_of

    schemas = [schema_of(view, definitions.entity(view.project, view.entity)) for view in definitions.feature_views]
    rows_of = _numbers("--rows", rows, {schema.view for schema in schemas}, None, ROWS_MAX)
    strings = {name for schema in schemas for name in _strings(schema)}
    strings_of = _numbers("--string-bytes", string_bytes, strings, STRING_BYTES, STRING_BYTES_MAX)
    tables = []
    for schema in schemas:
        table = size_of_table(schema, rows_of[schema.view], shards, strings_of)
        snapshot_bytes = round(table.rows * row_bytes(schema, strings_of))
        named = {"project": schema.project, "view": schema.view, **table._asdict()}
        wanted = min(table.shards_wanted, SHARDS_MAX)
        is_copied = table.shards_wanted > SHARDS_MAX
        tables.append({**named, "shards_wanted": wanted, "shards_are_copied": is_copied, "snapshot_bytes": snapshot_bytes})
    summed = ("memory_bytes", "memory_most_bytes", "snapshot_bytes")
    usual, most, snapshot = (sum(each[name] for each in tables) for name in summed)
    beside = TABLE_BYTES * len(tables)
    return {
        "tables": tables,
        "memory_bytes": usual + beside,
        "memory_most_bytes": most + beside,
        "segments_bytes": most + beside + max((each["memory_most_bytes"] for each in tables), default=0),
        "disk_bytes": disk_bytes_max(most, snapshot, snapshot_bytes_min),
    }


def _strings(schema: "ViewSchema") -> list[str]:
    return [name for name, each in (*schema.join_keys.items(), *schema.features.items()) if each.is_variable]


def _numbers(option: str, given: Sequence[str], names: set[str], default: int | None, most: int) -> Mapping[str, int]:
    """What ``N`` and ``NAME=N`` say for each name."""
    from featurestore.errors import nearest

    for_all, numbers = default, {}
    for text in given:
        name, equals, number = text.rpartition("=")
        if not (number.isascii() and number.isdigit() and len(number) <= len(str(most)) and int(number) <= most):
            raise typer.BadParameter(f"{option} {text}: got {number!r}, expected a whole number up to {most:,}")
        if not equals:
            for_all = int(number)
        elif name in names:
            numbers[name] = int(number)
        else:
            raise typer.BadParameter(f"{option} {text}: got {name!r}, expected {nearest(name, names)}")
    missing = names - numbers.keys()
    if for_all is None and missing:
        raise typer.BadParameter(
            f"{option}: got nothing for {', '.join(sorted(missing))}, expected N for all, or VIEW=N for each"
        )
    return {**dict.fromkeys(names, for_all or 0), **numbers}


def _print(document: Mapping[str, Any]) -> None:
    rows = [
        [
            table["project"],
            table["view"],
            f"{table['rows']:,}",
            table["row_bytes"],
            table["row_string_bytes"],
            bytes_text(table["memory_bytes"]),
            bytes_text(table["memory_most_bytes"]),
            f"{table['memory_bytes'] / table['rows']:,.0f}" if table["rows"] else "-",
            bytes_text(table["snapshot_bytes"]),
        ]
        for table in document["tables"]
    ]
    numbers = ["rows", "row bytes", "string bytes", "memory", "at most", "memory bytes a row", "snapshot"]
    print_table(["project", "view", *numbers], rows, numbers=numbers)
    typer.echo(
        f"\nmemory: {bytes_text(document['memory_bytes'])}, at most {bytes_text(document['memory_most_bytes'])}; the segments' "
        f"file system should have {bytes_text(document['segments_bytes'])},\n"
        "        because a table whose schema changes is there twice for a while"
    )
    typer.echo(f"disk:   at most {bytes_text(document['disk_bytes'])}: journal, snapshot, and the next one being written")
    for table in document["tables"]:
        if table["shards_are_copied"]:
            typer.echo(
                f"shards: {table['shards_wanted']:,} for {table['view']} (--shards), the most there are: its shards outgrow "
                "1 GiB even so, and are copied to grow; share the rows out among several views, or servers"
            )
        elif table["shards_wanted"] > table["shards"]:
            typer.echo(f"shards: {table['shards_wanted']} for {table['view']} (--shards), so that no shard is copied to grow")
