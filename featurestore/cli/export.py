"""``featurestore export``: the rows of a view as a Parquet file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from featurestore.cli.connection import Connection, Json, Project, with_connection
from featurestore.cli.tables import print_json
from featurestore.units import bytes_text

ROW_GROUP_ROWS = 100_000


@with_connection
def export(
    *,
    connection: Connection,
    view: Annotated[str, typer.Argument(help="The feature view.", metavar="VIEW", show_default=False)],
    output: Annotated[
        str, typer.Option("--output", "-o", help="The file to write, or a URL as fsspec opens it.", metavar="FILE.parquet")
    ],
    project: Project = "default",
    expired_rows: Annotated[bool, typer.Option("--expired-rows", help="Those past the view's TTL, too.")] = False,
    timestamp: Annotated[
        str, typer.Option("--timestamp", "-t", help="The name of the event time's column.", metavar="COLUMN")
    ] = "event_timestamp",
    as_json: Json = False,
) -> None:
    """Write all rows of a view to a Parquet file, while they are served.

    With the join keys, the event time, and the features in their own types; vectors are lists of a fixed size. Deleted rows are
    left out. `featurestore ingest` of the file into an empty view gives the same rows. Where a load replaces all rows
    meanwhile, it fails, and there is no file.

    \b
    Examples:
      featurestore export carrier_stats -o carrier_stats.parquet
      featurestore export carrier_stats -o s3://bucket/carrier_stats.parquet --expired-rows --json
    """
    from featurestore.cli.progress import Shown

    started = time.monotonic()
    rows = 0
    with connection.open() as client, Shown(f"export of {view}") as shown:
        exported = client.export(view, project=project, expired_rows=expired_rows, timestamp_column=timestamp)
        with _parquet(output, exported.schema) as write:
            for batch in exported:
                write(batch)
                rows += batch.num_rows
                expected = max(rows, exported.rows_expected)
                shown.show(rows / expected, f"{rows:,} of {expected:,} rows, {rows / shown.elapsed_s:,.0f} rows/s")
    seconds = time.monotonic() - started
    if as_json:
        print_json({"view": view, "project": project, "output": output, "rows": rows, "seconds": round(seconds, 3)})
        return
    is_file = Path(output).is_file()
    size = f", {bytes_text(Path(output).stat().st_size)}" if is_file else ""
    told = f"{view}: {rows:,} rows written to {output}{size}, in {seconds:.2f} s ({rows / seconds:,.0f} rows/s)"
    typer.echo(told, err="://" not in output and not is_file)  # which may be standard output itself


@contextmanager
def _parquet(output: str, schema: Any) -> Iterator[Callable[[Any], None]]:
    """Takes record batches. The file is there once it is whole; what was there before stays where that fails."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    held: list[Any] = []

    def flush() -> None:
        writer.write_table(pa.Table.from_batches(held, schema), row_group_size=ROW_GROUP_ROWS)
        held.clear()

    def write(batch: Any) -> None:
        held.append(batch)
        if sum(each.num_rows for each in held) >= ROW_GROUP_ROWS:
            flush()

    with _new_file(output) as file, pq.ParquetWriter(file, schema) as writer:
        yield write
        flush()


@contextmanager
def _new_file(output: str) -> Iterator[Any]:
    """A file to write to, which takes its place once it is whole. A FIFO or a device is no such place: it is written to as
    it stands. A symbolic link stays one, and leads to what is new.
    """
    from featurestore.errors import InvalidArgumentError
    from featurestore.urls import file_system_of

    if "://" in output:
        files, url_path = file_system_of("--output", output)
        with files.transaction, files.open(url_path, "wb") as file:
            yield file
        return
    path = Path(output)
    if not output or path.is_dir():
        raise InvalidArgumentError.of("--output", output, "the path of a file, or a URL")
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path = path.resolve()
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
