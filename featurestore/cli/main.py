"""The ``featurestore`` command: one module a subcommand, and one place where errors become sentences.

Invariant: what a user can cause is answered by a sentence on stderr and exit code 1 (a wrong command line: 2, an interrupt:
130), never by a traceback. A traceback is a defect of ours, and is shown whole. Heavy imports stay inside the commands, so that
``featurestore --help`` is quick.
"""

import sys
from importlib import import_module

import typer

app = typer.Typer(
    name="featurestore",
    help="An online feature store: define features, load them, serve them, fetch them by key in well under a millisecond.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

# Command -> the module that defines it, in the order in which --help lists them.
_COMMANDS = {
    "apply": "featurestore.cli.apply:apply",
    "list": "featurestore.cli.inspect:list_definitions",
    "describe": "featurestore.cli.inspect:describe",
    "get": "featurestore.cli.get:get",
    "ingest": "featurestore.cli.ingest:ingest",
    "serve": "featurestore.cli.serve:serve",
    "config": "featurestore.cli.config:config",
}


def _version(wanted: bool) -> None:
    if wanted:
        from featurestore import __version__  # noqa: PLC0415

        typer.echo(f"featurestore {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def _register() -> None:
    for name, place in _COMMANDS.items():
        module_name, _, function = place.partition(":")
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name != module_name:
                raise
            continue  # not there yet
        app.command(name)(getattr(module, function))


_register()


def main() -> None:
    """Runs the command line. Exits with 0, 1 (an error, told in a sentence), 2 (wrong usage) or 130 (interrupted)."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        typer.echo(f"error: {sentence}", err=True)
        sys.exit(1)


def sentence_of(error: Exception) -> str | None:
    """What to tell the user; None for an error that is a defect of ours."""
    from featurestore.errors import FeatureStoreError  # noqa: PLC0415

    if isinstance(error, FeatureStoreError):
        return error.message
    # Looked up, not imported: had no client been used, the error would be none of its.
    client_errors = sys.modules.get("featurestore_client.errors")
    if client_errors is not None and isinstance(error, client_errors.FeatureStoreError):
        return str(error)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    return None
