"""``featurestore list`` and ``featurestore describe``: what is defined, and the rows and memory behind it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featurestore.cli.connection import Connection, Json, Project, with_connection
from featurestore.cli.tables import print_json, print_table
from featurestore.cli.versions import version_text
from featurestore.units import bytes_text

if TYPE_CHECKING:
    from featurestore_client import Client

Entry = Mapping[str, Any]


class Listed(StrEnum):
    """What ``list`` lists."""

    PROJECTS = "projects"
    ENTITIES = "entities"
    VIEWS = "views"
    SERVICES = "services"
    TABLES = "tables"


class Described(StrEnum):
    """What ``describe`` describes."""

    ENTITY = "entity"
    VIEW = "view"
    SERVICE = "service"


# The keys of the JSON: those of a YAML document, and tables.
_KEYS = {Listed.VIEWS: "feature_views", Listed.SERVICES: "feature_services"}


@with_connection
def list_definitions(
    *,
    connection: Connection,
    kind: Annotated[Listed | None, typer.Argument(help="What to list; everything when left out.", show_default=False)] = None,
    project: Annotated[str | None, typer.Option("--project", "-p", help="Of this project only.", metavar="NAME")] = None,
    as_json: Json = False,
) -> None:
    """List what is defined, with rows and memory.

    \b
    Examples:
      featurestore list
      featurestore list views
      featurestore list tables --json
    """
    kinds = [kind] if kind is not None else list(Listed)
    with connection.open() as client:
        lists = {each: _fetch(client, each, project) for each in kinds}
        tables = lists.get(Listed.TABLES, [])
        if kind is Listed.VIEWS and not as_json:
            tables = client.list_tables(project=project)
    if as_json:
        print_json({_KEYS.get(each, each.value): entries for each, entries in lists.items()})
        return
    for each, entries in lists.items():
        if len(kinds) > 1:
            typer.secho(f"{each.value}", bold=True)
        if not entries:
            typer.echo(f"no {each.value}" + (f" in project {project}" if project else "") + "\n" * (len(kinds) > 1))
            continue
        _print_list(each, entries, tables)
        if len(kinds) > 1:
            typer.echo()


@with_connection
def describe(
    *,
    connection: Connection,
    kind: Annotated[Described, typer.Argument(help="entity, view or service.", show_default=False)],
    name: Annotated[str, typer.Argument(help="Its name.")],
    project: Project = "default",
    as_json: Json = False,
) -> None:
    """Describe one entity, view or service.

    With what refers to it, and a view with its rows and memory.

    \b
    Examples:
      featurestore describe view carrier_stats
      featurestore describe service delay_model_v1 --json
    """
    with connection.open() as client:
        match kind:
            case Described.ENTITY:
                described = client.describe_entity(name, project=project)
            case Described.VIEW:
                described = client.describe_feature_view(name, project=project)
            case Described.SERVICE:
                described = client.describe_feature_service(name, project=project)
    if as_json:
        print_json(described)
        return
    match kind:
        case Described.ENTITY:
            _print_entity(described)
        case Described.VIEW:
            _print_view(described)
        case Described.SERVICE:
            _print_service(described)


def _fetch(client: "Client", kind: Listed, project: str | None) -> Sequence[Entry]:
    match kind:
        case Listed.PROJECTS:
            return [entry for entry in client.list_projects() if project in (None, entry["name"])]
        case Listed.ENTITIES:
            return client.list_entities(project=project)
        case Listed.VIEWS:
            return client.list_feature_views(project=project)
        case Listed.SERVICES:
            return client.list_feature_services(project=project)
        case Listed.TABLES:
            return client.list_tables(project=project)


def _print_list(kind: Listed, entries: Sequence[Entry], tables: Sequence[Entry]) -> None:
    match kind:
        case Listed.PROJECTS:
            print_table(
                ["project", "owner", "description"],
                [[entry[key] for key in ("name", "owner", "description")] for entry in entries],
            )
        case Listed.ENTITIES:
            rows = [
                [entry["project"], entry["name"], _join_keys(entry["join_keys"]), entry["description"]] for entry in entries
            ]
            print_table(["project", "entity", "join keys", "description"], rows)
        case Listed.VIEWS:
            table_of = {(table["project"], table["view"]): table for table in tables}
            rows = []
            for entry in entries:
                table = table_of.get((entry["project"], entry["name"]), {})
                size = [f"{table.get('rows', 0):,}", bytes_text(table.get("memory_bytes", 0))]
                rows.append(
                    [entry["project"], entry["name"], entry["entity"], len(entry["features"]), _duration(entry["ttl"]), *size]
                )
            headers = ["project", "view", "entity", "features", "ttl", "rows", "memory"]
            print_table(headers, rows, numbers=["features", "ttl", "rows", "memory"])
        case Listed.SERVICES:
            rows = [
                [
                    entry["project"],
                    entry["name"],
                    len(entry["features"]),
                    ", ".join(dict.fromkeys(f["view"] for f in entry["features"])),
                ]
                for entry in entries
            ]
            print_table(["project", "service", "features", "views"], rows, numbers=["features"])
        case Listed.TABLES:
            _print_tables(entries)


def _print_tables(tables: Sequence[Entry]) -> None:
    rows = []
    for table in tables:
        per_row = f"{table['memory_bytes'] / table['rows']:,.0f}" if table["rows"] else "-"
        counts = [
            f"{table['rows']:,}",
            f"{table['deleted_rows']:,}",
            bytes_text(table["memory_bytes"]),
            table["row_bytes"],
            per_row,
        ]
        rows.append([table["project"], table["view"], *counts, table["shards"], table["generation"]])
    numbers = ["rows", "deleted", "memory", "row bytes", "memory bytes a row", "shards", "generation"]
    print_table(["project", "view", *numbers], rows, numbers=numbers)


def _print_entity(described: Entry) -> None:
    entity = described["entity"]
    _print_head("entity", entity)
    _print_line("join keys", _join_keys(entity["join_keys"]))
    _print_line("views", ", ".join(described["feature_views"]) or "(none)")


def _print_view(described: Entry) -> None:
    view, table = described["feature_view"], described.get("table") or {}
    _print_head("feature view", view)
    _print_line("entity", view["entity"])
    _print_line("ttl", _duration(view["ttl"]))
    _print_line("retention", _duration(view["retention"]))
    if view.get("source"):
        _print_line("source", f"{view['source']['path']} (event time in {view['source']['timestamp_column']})")
    _print_line("services", ", ".join(described["feature_services"]) or "(none)")
    _print_line("rows", f"{table.get('rows', 0):,}")
    _print_line("memory", bytes_text(table.get("memory_bytes", 0)))
    _print_line("version", version_text(described["version"], rows=table.get("rows", 0)))
    for number, version in enumerate(described["kept"]):
        _print_line("" if number else "kept", version_text(version))
    typer.echo()
    print_table(["feature", "type", "description"], [[f["name"], f["type"], f["description"]] for f in view["features"]])


def _print_service(described: Entry) -> None:
    service, schema = described["feature_service"], described.get("schema") or {}
    _print_head("feature service", service)
    _print_line("keys", _join_keys(schema.get("join_keys", [])))
    typer.echo()
    types = {feature["name"]: feature["type"] for feature in schema.get("features", [])}
    rows = []
    for feature in service["features"]:
        renamed = ", ".join(f"{key}={column}" for key, column in feature["join_keys"].items())
        rows.append([feature["name"], types.get(feature["name"], ""), f"{feature['view']}:{feature['feature']}", renamed])
    headers = ["feature", "type", "from", "by keys"]
    if not any(row[3] for row in rows):
        headers, rows = headers[:3], [row[:3] for row in rows]
    print_table(headers, rows)


def _print_head(kind: str, entry: Entry) -> None:
    typer.secho(f"{kind} {entry['project']}.{entry['name']}", bold=True)
    for field in ("description", "owner"):
        if entry[field]:
            _print_line(field, entry[field])
    if entry["tags"]:
        _print_line("tags", ", ".join(f"{tag}={value}" for tag, value in sorted(entry["tags"].items())))


def _print_line(name: str, value: str) -> None:
    typer.echo(f"  {name:<12} {value}")


def _join_keys(keys: Sequence[Entry]) -> str:
    return ", ".join(f"{key['name']} {key['type']}" for key in keys)


def _duration(text: str | None) -> str:
    from featurestore.model import parse_duration
    from featurestore.registry import duration_text

    value = parse_duration(text or None)
    return duration_text(value) if value else "-"
