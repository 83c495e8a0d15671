"""``featurestore get``: feature vectors by key, as a table or as JSON."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featurestore.cli.connection import Connection, Json, Project, with_connection
from featurestore.cli.tables import print_json, print_table

if TYPE_CHECKING:
    from featurestore_client import Client, FeatureBatch

Keys = dict[str, list[Any]]


@with_connection
def get(
    *,
    connection: Connection,
    service: Annotated[str | None, typer.Argument(help="A feature service.", show_default=False)] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key",
            "-k",
            help="A join key and its values, one a row; a single value stands for every row. "
            "Repeat it for more keys; values with commas in them as a JSON list.",
            metavar="NAME=VALUE,...",
        ),
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option("--feature", "-f", help="Instead of a service: a feature. Repeatable.", metavar="VIEW:FEATURE"),
    ] = None,
    project: Project = "default",
    event_timestamps: Annotated[bool, typer.Option("--event-timestamps", help="Show the event time of each row, too.")] = False,
    expired_values: Annotated[bool, typer.Option("--expired-values", help="Show the values of expired rows, too.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch features by key.

    Where a value is not there, the table shows its status instead: NULL, NOT_FOUND (no such row) or EXPIRED.

    \b
    Examples:
      featurestore get delay_model_v1 --key carrier=UA,AA --key dest=ORD,LAX
      featurestore get delay_model_v1 --key carrier=UA --key dest=ORD,LAX --json
      featurestore get --feature carrier_stats:mean_delay --key carrier=UA
      featurestore get names_v1 --key 'name=["Smith, J.", "Doe, A."]'
    """
    if (service is None) == (not feature):
        raise typer.BadParameter("expected a feature service, or --feature view:feature (one or several), and not both")
    selection: str | list[str] = service if service is not None else list(feature or ())
    given = _parse_keys(key or [])
    with connection.open() as client:
        keys = _typed(given, _key_types(client, selection, project))
        batch = client.get(selection, keys, project=project, event_timestamps=event_timestamps, expired_values=expired_values)
    keys = {name: values * batch.rows if len(values) == 1 else values for name, values in keys.items()}
    if as_json:
        print_json({"rows": _rows(batch, keys)})
    else:
        _print_rows(batch, keys)


# ------------------------------------------------------------------------------------------------------------------- keys


def _parse_keys(options: Sequence[str]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"--key: got {option!r}, expected NAME=VALUE or NAME=VALUE,VALUE")
        keys.setdefault(name.strip(), []).extend(_split(option, text))
    if not keys:
        raise typer.BadParameter("--key: got none, expected a value for each join key, such as --key carrier=UA")
    return keys


def _split(option: str, text: str) -> list[str]:
    if not text.startswith("["):
        return text.split(",")
    try:
        values = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--key: got {option!r}, expected a JSON list after the = ({error})") from None
    return [value if isinstance(value, str) else json.dumps(value) for value in values]


def _key_types(client: "Client", selection: str | list[str], project: str) -> dict[str, str]:
    """The join keys that the selection needs, with their types."""
    if isinstance(selection, str):
        described = client.describe_feature_service(selection, project=project)
        return {key["name"]: key["type"] for key in described["schema"]["join_keys"]}
    types = {}
    for view in dict.fromkeys(reference.partition(":")[0].strip() for reference in selection):
        entity = client.describe_feature_view(view, project=project)["feature_view"]["entity"]
        for join_key in client.describe_entity(entity, project=project)["entity"]["join_keys"]:
            types[join_key["name"]] = join_key["type"]
    return types


def _typed(given: Mapping[str, list[str]], types: Mapping[str, str]) -> Keys:
    """The values as their join keys have them. What is missing or unknown is for the server to say."""
    keys: Keys = {}
    for name, values in given.items():
        if types.get(name) != "int64":
            keys[name] = list(values)
            continue
        try:
            keys[name] = [int(value) for value in values]
        except ValueError:
            wrong = next(value for value in values if not value.strip().lstrip("+-").isdigit())
            raise typer.BadParameter(f"--key {name}: got {wrong!r}, expected whole numbers: the join key is int64") from None
    return keys


# ----------------------------------------------------------------------------------------------------------------- answer


def _rows(batch: "FeatureBatch", keys: Keys) -> list[dict[str, Any]]:
    from featurestore_client import ValueStatus

    columns, statuses, times = batch.to_dict(), batch.statuses, batch.event_timestamps
    rows = []
    for row in range(batch.rows):
        entry: dict[str, Any] = {
            "keys": {name: values[row] for name, values in keys.items()},
            "values": {name: _plain(values[row]) for name, values in columns.items()},
            "statuses": {name: ValueStatus(statuses[row, position]).name for position, name in enumerate(columns)},
        }
        if times is not None:
            entry["event_timestamps"] = {view: _time(times[row, place]) for place, view in enumerate(batch.views)}
        rows.append(entry)
    return rows


def _print_rows(batch: "FeatureBatch", keys: Keys) -> None:
    rows = _rows(batch, keys)
    headers = [*keys, *batch.names]
    table = []
    for row in rows:
        cells = [row["statuses"][name] if row["values"][name] is None else _text(row["values"][name]) for name in batch.names]
        table.append([*row["keys"].values(), *cells])
    if batch.event_timestamps is not None:
        headers += [f"{view} at" for view in batch.views]
        for cells, row in zip(table, rows, strict=True):
            cells += [time or "-" for time in row["event_timestamps"].values()]
    numeric = [name for name, type_text in batch.types.items() if type_text in ("int32", "int64", "float32", "float64")]
    print_table(headers, table, numbers=numeric)


def _plain(value: Any) -> Any:
    """A value as JSON can carry it: as protobuf's JSON form does."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return value


def _time(value: Any) -> str | None:
    text = str(value)
    return None if text == "NaT" else f"{text}Z"


def _text(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)
