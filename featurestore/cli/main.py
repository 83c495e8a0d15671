"""The ``featurestore`` command: one module a subcommand, and one place where errors become sentences.

Invariant: what a user can cause is answered by a sentence on stderr and exit code 1 (a wrong command line: 2, an interrupt:
130), never by a traceback. A traceback is a defect of ours, and is shown whole. Heavy imports stay inside the commands, so that
``featurestore --help`` is quick.
"""

import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from featurestore.cli.importing import held_back_collector

# Command -> the module that defines it, in the order in which --help lists them.
_COMMANDS = {
    "apply": "featurestore.cli.apply:apply",
    "list": "featurestore.cli.inspect:list_definitions",
    "describe": "featurestore.cli.inspect:describe",
    "get": "featurestore.cli.get:get",
    "ingest": "featurestore.cli.ingest:ingest",
    "rollback": "featurestore.cli.versions:rollback",
    "serve": "featurestore.cli.serve:serve",
    "status": "featurestore.cli.status:status",
    "export": "featurestore.cli.export:export",
    "snapshot": "featurestore.cli.snapshot:snapshot",
    "backup": "featurestore.cli.backup:backup",
    "restore": "featurestore.cli.backup:restore",
    "verify": "featurestore.cli.verify:verify",
    "doctor": "featurestore.cli.doctor:doctor",
    "size": "featurestore.cli.size:size",
    "config": "featurestore.cli.config:config",
}


def _version(wanted: bool) -> None:
    if wanted:
        from featurestore import __version__

        typer.echo(f"featurestore {__version__}")
        raise typer.Exit


def application(only: str | None = None) -> typer.Typer:
    """The command line: every command, or with the name of one that one alone, without importing the others."""
    app = typer.Typer(
        name="featurestore",
        help="An online feature store: define features, load them, serve them, fetch them by key in well under a millisecond.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.callback()(_root)
    for name, place in _COMMANDS.items():
        if only in _COMMANDS and name != only:
            continue
        module_name, _, function = place.partition(":")
        app.command(name)(getattr(import_module(module_name), function))
    return app


def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line. Exits with 0, 1 (an error, told in a sentence), 2 (wrong usage) or 130 (interrupted)."""
    # pydantic would read what every installed package says of itself, to see whether one is a plugin of its.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        with held_back_collector():
            app = application(only=sys.argv[1] if len(sys.argv) > 1 else None)
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
    from featurestore.errors import FeatureStoreError

    if isinstance(error, FeatureStoreError):
        return error.message
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    return None
