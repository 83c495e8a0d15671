"""``featurestore ingest VIEW FILES...``: files into a running server or a local directory.

This command turns options into a ``Load``, shows its progress and tells how to go on when it was stopped. Invariant: what it
says about going on is true: there is a checkpoint, and the same command with ``--resume`` uses it.
"""

import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featurestore.cli.connection import Connection, Json, Project, with_connection
from featurestore.cli.versions import replaced_dict, tell_replaced
from featurestore.priority import give_way

if TYPE_CHECKING:
    from featurestore_client import Client, ReplaceChecks

    from featurestore.ingest import Load, LoadOptions, Summary
    from featurestore.model import Entity, FeatureView

COLUMNS_SHOWN = 8


class FileFormat(Enum):
    """``featurestore.ingest.Format``, without importing what that needs."""

    PARQUET = "parquet"
    CSV = "csv"
    ARROW = "arrow"
    JSON_LINES = "jsonl"


class Priority(Enum):
    """Of a load on its machine, beside a server and its readers."""

    LOW = "low"
    NORMAL = "normal"


@with_connection
def ingest(
    *,
    connection: Connection,
    view: Annotated[str, typer.Argument(help="The feature view to load into.", metavar="VIEW", show_default=False)],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, directories, globs, URLs (s3://..., as fsspec opens them), or - for standard input. "
            "By default the path of the view's batch source.",
            metavar="[FILES]...",
            show_default=False,
        ),
    ] = None,
    project: Project = "default",
    column_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map", "-m", help="A column that has another name than its feature. Repeatable.", metavar="COLUMN=FEATURE"
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key",
            "-k",
            help="A column that is a join key: COLUMN=JOIN_KEY, or COLUMN in the order of the join keys. Repeatable.",
            metavar="COLUMN",
        ),
    ] = None,
    timestamp: Annotated[
        str | None,
        typer.Option(
            "--timestamp",
            "-t",
            help="The column of the event time; 'now' gives all rows the time of this load. By default event_timestamp.",
            metavar="COLUMN",
        ),
    ] = None,
    timestamp_format: Annotated[
        str | None,
        typer.Option(
            "--timestamp-format",
            help="How times are written: a pattern such as '%d/%m/%Y %H:%M', or s, ms, us, ns for numbers since 1970. "
            "By default ISO 8601.",
            metavar="FORMAT",
        ),
    ] = None,
    timezone: Annotated[
        str, typer.Option("--timezone", help="Of times that name none, such as America/New_York.", metavar="ZONE")
    ] = "UTC",
    null_value: Annotated[
        list[str] | None,
        typer.Option(
            "--null-value", help="A text that stands for null, besides an empty CSV field. Repeatable.", metavar="TEXT"
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--where", "-w", help="Load only these rows: a condition in SQL over the file's columns.", metavar="SQL"),
    ] = None,
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", "-f", help="By default as the file's name says.", show_default=False)
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option("--delimiter", help="Between CSV's fields. By default a comma, a tab for .tsv.", metavar="CHARACTER"),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option("--rejects", help="List the rejected rows here: CSV, or JSON lines for a name in .jsonl.", metavar="FILE"),
    ] = None,
    max_rejects: Annotated[
        str,
        typer.Option(
            "--max-rejects", help="Stop once more rows than this are rejected: a number or a percentage.", metavar="N|P%"
        ),
    ] = "0",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check everything that the files show, write nothing.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted load had come to.")] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            help="Where to remember how far the load is. By default in this directory; removed at the end.",
            show_default=False,
            metavar="FILE",
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Replace all rows of the view by these, at one instant, once they are all there and pass the checks.",
        ),
    ] = False,
    expect_rows: Annotated[
        str | None,
        typer.Option("--expect-rows", help="With --replace: how many rows there must be: N, N.., ..M or N..M.", metavar="N..M"),
    ] = None,
    max_null_fraction: Annotated[
        list[str] | None,
        typer.Option(
            "--max-null-fraction",
            help="With --replace: which share of a feature may be null, of each or of a named one. Repeatable.",
            metavar="[FEATURE=]P%",
        ),
    ] = None,
    max_drop: Annotated[
        str | None,
        typer.Option(
            "--max-drop",
            help="With --replace: by which share the number of rows may fall. A load without rows needs 100%.",
            metavar="P%",
        ),
    ] = None,
    priority: Annotated[
        Priority,
        typer.Option(
            "--priority",
            help="Into a server: low runs where nothing else on this machine wants the core, so reads keep their latency.",
        ),
    ] = Priority.LOW,
    as_json: Json = False,
) -> None:
    """Load files into a feature view: Parquet, CSV, Arrow (Feather), JSON lines.

    Columns that are named as the view's join keys and features need no option; columns that go nowhere are left out, and
    features that no column feeds keep what they hold. A row is written unless the stored one is of a later event time.

    \b
    Examples:
      featurestore ingest carrier_stats carrier_stats.parquet
      featurestore ingest carrier_stats 'stats/2013-*.csv.gz' --timestamp time_hour --timezone America/New_York
      featurestore ingest carrier_stats stats.csv --key code=carrier --map mean=mean_delay --null-value NA --dry-run
      featurestore ingest carrier_stats stats/ --where "carrier <> 'XX'" --rejects rejects.csv --max-rejects 1%
      zcat events.jsonl.gz | featurestore ingest user_stats - --format jsonl --timestamp-format ms --json
      featurestore ingest carrier_stats big.parquet --resume
      featurestore ingest carrier_stats nightly.parquet --replace --expect-rows 1000.. --max-null-fraction 5% --max-drop 20%
    """
    if replace and resume:
        raise typer.BadParameter("expected --replace or --resume, and not both: such a load is there wholly or not at all")
    if not replace and (expect_rows or max_null_fraction or max_drop):
        raise typer.BadParameter("--expect-rows, --max-null-fraction and --max-drop are for a load with --replace")
    if dry_run and resume:
        raise typer.BadParameter("expected --dry-run or --resume, and not both")
    if delimiter is not None and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n'):
        raise typer.BadParameter(f"--delimiter: got {delimiter!r}, expected one ASCII character that is no quote or line end")
    checks = _checks(expect_rows, max_null_fraction or [], max_drop) if replace else None
    if priority is Priority.LOW and connection.directory is None:
        give_way()  # before pyarrow starts threads
    from featurestore.ingest import Format, Load, LoadOptions, Naming, RejectLimit, TimeFormat, find_sources, naming_of

    with connection.open() as client:
        defined, entity, table_rows = _definitions(client, view, project)
        naming = naming_of(defined, Naming(_pairs(column_map or []), tuple(key or ()), timestamp))
        options = LoadOptions(
            naming,
            TimeFormat(timestamp_format, timezone),
            tuple(null_value or ()),
            where,
            delimiter,
            RejectLimit.parse(max_rejects),
            rejects,
        )
        sources = find_sources(_paths(defined, files), Format(file_format.value) if file_format else None)
        place = (
            None
            if dry_run or replace
            else _checkpoint_path(checkpoint, defined, resumable=not any(each.is_standard_input for each in sources))
        )
        load = Load(defined, entity, sources, options, store=str(connection), checkpoint=place, resume=resume, replaces=checks)
        if load.resumed and load.resumed_counts.written and not table_rows:
            raise _lost(place)
        _note_checkpoint(load, place, resume=resume)
        summary = _run(load, None if dry_run else client, view, place)
    if as_json:
        typer.echo(json.dumps({**summary.as_dict(), **(replaced_dict(load.replaced) if load.replaced else {})}, indent=2))
    else:
        _tell(summary, options, replace=replace)
        if load.replaced is not None:
            tell_replaced(load.replaced)
    if summary.interrupted:
        typer.echo(_going_on(summary.counts.read, place if place is not None and place.exists() else None), err=True)
        raise typer.Exit(130)


# ---------------------------------------------------------------------------------------------------------------- options


def _definitions(client: "Client", view: str, project: str) -> "tuple[FeatureView, Entity, int]":
    """The view, its entity, and how many rows it has."""
    from featurestore.model import Entity, FeatureView

    described = client.describe_feature_view(view, project=project)
    defined = FeatureView.model_validate(described["feature_view"])
    entity = client.describe_entity(defined.entity, project=project)["entity"]
    return defined, Entity.model_validate(entity), int(described.get("table", {}).get("rows", 0))


def _pairs(options: list[str]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for option in options:
        column, equals, feature = option.rpartition("=")
        if not equals or not column or not feature:
            raise typer.BadParameter(f"--map: got {option!r}, expected COLUMN=FEATURE")
        pairs.append((column, feature))
    return tuple(pairs)


def _checks(rows: str | None, nulls: list[str], drop: str | None) -> "ReplaceChecks":
    from featurestore_client import ReplaceChecks

    rows_min, rows_max = _rows(rows) if rows else (None, None)
    fractions = dict(_null_fraction(each) for each in nulls)
    return ReplaceChecks(rows_min, rows_max, fractions or None, _fraction("--max-drop", drop) if drop else None)


def _rows(text: str) -> tuple[int | None, int | None]:
    first, dots, last = text.partition("..")
    if not all(part.isdecimal() for part in (first, last) if part) or not (first or last):
        raise typer.BadParameter(f"--expect-rows: got {text!r}, expected N, N.., ..M or N..M")
    if not dots:
        return int(first), int(first)
    if first and last and int(first) > int(last):
        raise typer.BadParameter(f"--expect-rows: got {text!r}, expected N..M with N at most M: no number of rows is both")
    return int(first) if first else None, int(last) if last else None


def _null_fraction(text: str) -> tuple[str, float]:
    feature, _, fraction = text.rpartition("=")
    return feature, _fraction("--max-null-fraction", fraction)


def _fraction(option: str, text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{option}: got {text!r}, expected a share such as 5% or 0.05")
    return value


def _paths(view: "FeatureView", files: list[str] | None) -> list[str]:
    if files:
        return files
    if view.source is None:
        raise typer.BadParameter(f"expected FILES: the view {view.name!r} has no batch source to take them from")
    return [view.source.path]


# ------------------------------------------------------------------------------------------------------------- checkpoint


def _checkpoint_path(wanted: Path | None, view: "FeatureView", *, resumable: bool) -> Path | None:
    if wanted is not None or not resumable:
        return wanted if resumable else None
    if not os.access(Path.cwd(), os.W_OK):
        typer.echo(
            "note: this directory cannot be written, so there is no checkpoint; name one with --checkpoint FILE", err=True
        )
        return None
    return Path(f"{view.project}.{view.name}.ingest-checkpoint")


def _note_checkpoint(load: "Load", place: Path | None, *, resume: bool) -> None:
    if load.resumed:
        typer.echo(f"going on after {load.resumed_counts.read:,} rows that are done", err=True)
    elif resume:
        typer.echo(f"no checkpoint at {place}: starting from the beginning", err=True)
    elif place is not None and place.exists():
        typer.echo(f"note: {place} is from an interrupted load; starting over (--resume would have gone on)", err=True)


def _lost(place: Path | None) -> Exception:
    from featurestore.errors import FailedPreconditionError

    return FailedPreconditionError(
        f"--resume: by the checkpoint {str(place)!r} rows were written, but the view has none: the server has lost them. "
        "Start over without --resume"
    )


def _going_on(rows: int, place: Path | None) -> str:
    if place is None:
        return f"stopped after {rows:,} rows; there is no checkpoint, so start over: rows that are there do not change"
    again = [*sys.argv[1:], *(["--resume"] if "--resume" not in sys.argv else [])]
    return f"stopped after {rows:,} rows; to go on: {shlex.join(['featurestore', *again])}"


# ---------------------------------------------------------------------------------------------------------------- running


def _run(load: "Load", client: "Client | None", title: str, place: Path | None) -> "Summary":
    from featurestore.cli.progress import ShownProgress
    from featurestore.errors import CancelledError, FeatureStoreError

    try:
        with _stopped_by_signals(load), _shown_warnings(), ShownProgress(title, load.resumed_counts.read) as shown:
            return load.run(client, shown.update)
    except FeatureStoreError as error:
        if client is None:
            raise
        # The client's own way out is for programs: underneath is what happened.
        cause = error.__cause__ if isinstance(error.__cause__, FeatureStoreError) else error
        if isinstance(error, CancelledError):
            typer.echo(error.message, err=True)
            raise typer.Exit(130) from None
        if load.is_replacing:
            raise
        left = place is not None and place.exists()
        way_out = _going_on(load.summary().counts.read, place) if left or (place is None and load.has_sent) else ""
        raise FeatureStoreError(f"{cause}" + (f"\n{way_out}" if way_out else "")) from error


@contextmanager
def _stopped_by_signals(load: "Load") -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the load in order, the second at once."""

    def stop(number: int, frame: Any) -> None:
        load.stop()
        typer.echo("\nstopping once what was sent is acknowledged; again to stop at once", err=True)
        for each in signals:
            signal.signal(each, before[each])

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _Shown(logging.Handler):
    """Prints what is logged, above the bar where there is one: that of rich takes what goes to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """As logging has it."""
        typer.echo(record.getMessage(), err=True)


@contextmanager
def _shown_warnings() -> Iterator[None]:
    """Shows what the client has to say meanwhile: that it tries again, for one."""
    handler, logger = _Shown(logging.WARNING), logging.getLogger("featurestore_client")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


# ---------------------------------------------------------------------------------------------------------------- telling


def _tell(summary: "Summary", options: "LoadOptions", *, replace: bool) -> None:
    counts = summary.counts
    done = "valid, nothing written (--dry-run)" if summary.dry_run else "written"
    parts = [f"{counts.read:,} rows read", f"{counts.written:,} {done}"]
    parts += [f"{counts.older:,} older than stored"] if counts.older else []
    parts += [f"{counts.filtered:,} left out by --where"] if options.where else []
    parts += [f"{counts.rejected:,} rejected"] if counts.rejected else []
    rate = counts.read / summary.seconds if summary.seconds else 0
    typer.echo(f"{summary.view}: {', '.join(parts)} in {summary.seconds:.2f} s ({rate:,.0f} rows/s)")
    for reject in summary.examples:
        typer.echo(f"  rejected: {reject}", err=True)
    if summary.left_out:
        kept = "the new rows have null there" if replace else "rows keep what they hold"
        typer.echo(f"  note: no column for {_some(summary.left_out)}: {kept}", err=True)
    if summary.unused:
        typer.echo(f"  note: columns that go nowhere: {_some(summary.unused)}", err=True)
    if summary.dry_run and replace:
        unseen = (
            "a dry run does not see keys that occur twice, which make one row, nor the view's rows: --max-drop is not checked"
        )
        typer.echo(f"  note: {unseen}", err=True)


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:COLUMNS_SHOWN])
    return shown + (f" and {len(names) - COLUMNS_SHOWN} more" if len(names) > COLUMNS_SHOWN else "")
