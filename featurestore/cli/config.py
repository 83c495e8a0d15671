"""``featurestore config``: prints the settings that a server would run with, and where each comes from."""

import json
from typing import Annotated, Any

import typer

from featurestore.cli.settings_options import ConfigOption, with_settings


@with_settings
def config(
    *,
    flags: dict[str, Any],
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
) -> None:
    """Print the settings that `featurestore serve` would have with these flags, environment and file.

    \b
    featurestore config
    FEATURESTORE_LISTEN=127.0.0.1:7401 featurestore config --config featurestore.toml --json
    """
    from featurestore.settings import Settings, load_settings

    settings, sources = load_settings(flags, config)
    values = settings.model_dump(mode="json")  # keys of the API come out as asterisks
    values["segments"] = str(settings.segments_directory)
    rows = [
        {"name": name, "value": values[name], "source": sources[name], "meaning": field.description}
        for name, field in Settings.model_fields.items()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    shown = [[str(row["name"]), _text(row["value"]), str(row["source"]), str(row["meaning"])] for row in rows]
    widths = [max(len(cells[column]) for cells in shown) for column in range(3)]
    for cells in shown:
        typer.echo("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), cells[3]]))


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(str(item) for item in value) or "-"
    return str(value)
