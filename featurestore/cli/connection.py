"""Which store a command talks to: a server, or a directory of this machine. Either way through the same client.

``with_connection`` gives a command the options for it, so that they are the same everywhere.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from featurestore_client import Client

DEFAULT_SERVER = "featurestore://127.0.0.1:7400"

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Project = Annotated[str, typer.Option("--project", "-p", help="The project of the names.", metavar="NAME")]


@dataclass(frozen=True)
class Connection:
    """What the options say. Certificates are PEM files."""

    server: str = DEFAULT_SERVER
    directory: Path | None = None
    api_key: str | None = None
    ca_certificate: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    is_server_given: bool = False
    """On the command line, and not only by default or the environment."""

    def open(self) -> "Client":
        """A client of the server or the directory; to be used as a context manager."""
        if self.directory is not None:
            import featurestore

            return featurestore.open(self.directory)
        from featurestore_client import connect

        return connect(
            self.server,
            api_key=self.api_key,
            ca_certificate=self.ca_certificate,
            client_certificate=self.client_certificate,
            client_key=self.client_key,
        )

    def __str__(self) -> str:
        return self.server if self.directory is None else str(self.directory)


_OPTIONS: dict[str, Any] = {
    "server": Annotated[
        str,
        typer.Option(
            "--server", "-s", envvar="FEATURESTORE_SERVER", help="The server; grpcs://HOST:PORT for TLS.", metavar="URL"
        ),
    ],
    "directory": Annotated[
        Path | None,
        typer.Option("--directory", "-d", help="Work on this directory itself, while no server runs on it.", metavar="DIR"),
    ],
    "api_key": Annotated[
        str | None,
        typer.Option("--api-key", envvar="FEATURESTORE_API_KEY", help="The key that the server asks for.", metavar="KEY"),
    ],
    "ca_certificate": Annotated[
        Path | None,
        typer.Option("--ca-certificate", help="Trust this authority instead of the system's (PEM).", metavar="FILE"),
    ],
    "client_certificate": Annotated[
        Path | None, typer.Option("--client-certificate", help="Show this certificate to the server (PEM).", metavar="FILE")
    ],
    "client_key": Annotated[Path | None, typer.Option("--client-key", help="The private key of that (PEM).", metavar="FILE")],
}


def with_connection(command: Callable[..., None]) -> Callable[..., None]:
    """Gives ``command`` the options of a connection; it is called with them as ``connection: Connection``."""

    def call(context: typer.Context, **options: Any) -> None:
        is_server_given = _is_given(context, "server")
        connection = Connection(**{name: options.pop(name) for name in _OPTIONS}, is_server_given=is_server_given)
        if connection.directory is not None and is_server_given:
            raise typer.BadParameter(f"got --server {connection.server} and --directory {connection}, expected one of the two")
        command(connection=connection, **options)

    own = [parameter for name, parameter in inspect.signature(command).parameters.items() if name != "connection"]
    defaults = Connection()
    made = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(defaults, name), annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    call.__signature__ = inspect.Signature([context, *own, *made])  # type: ignore[attr-defined]
    call.__name__, call.__doc__ = command.__name__, command.__doc__
    return call


def _is_given(context: typer.Context, option: str) -> bool:
    """Whether an option stood on the command line, and not only in the environment."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"
