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
    segments: Path | None = None
    """Where the rows of the directory are mapped, if not in its usual place."""
    api_key: str | None = None
    ca_certificate: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    is_server_given: bool = False
    """On the command line, and not only by default or the environment."""
    is_server_named: bool = False
    """On the command line or by the environment."""

    def open(self, *, makes_store: bool = False) -> "Client":
        """A client of the server or the directory; to be used as a context manager.

        NotFoundError where the directory holds no store: a mistyped name is not to become one. With ``makes_store`` it does.
        """
        if self.directory is not None:
            import featurestore

            if not makes_store:
                self.require_store(self.directory)
            return featurestore.open(self.directory, segments=self.segments)
        if self.segments is not None:
            raise typer.BadParameter(f"got --segments {self.segments} for a server, expected --directory DIR with it")
        from featurestore_client import connect

        return connect(
            self.server,
            api_key=self.api_key,
            ca_certificate=self.ca_certificate,
            client_certificate=self.client_certificate,
            client_key=self.client_key,
        )

    @staticmethod
    def require_store(directory: Path) -> None:
        """Raises NotFoundError where that holds no store."""
        from featurestore.errors import NotFoundError
        from featurestore.registry.registry import FILE_NAME
        from featurestore.service.recovery import DIRECTORY_NAME

        if not (directory / FILE_NAME).exists() and not (directory / DIRECTORY_NAME).exists():
            expected = (
                f"expected {FILE_NAME} or {DIRECTORY_NAME}/ in it; `featurestore apply` and `featurestore serve` make one"
            )
            raise NotFoundError(f"--directory: {directory} holds no store: {expected}")

    def __str__(self) -> str:
        return self.server if self.directory is None else str(self.directory)


_OPTIONS: dict[str, Any] = {
    "server": Annotated[
        str,
        typer.Option(
            "--server", "-s", envvar="FEATURESTORE_SERVER", help="The server; grpcs://HOST:PORT for TLS.", metavar="URL"
        ),
    ],
    "directory": Path | None,  # its help is the command's
    "segments": Annotated[
        Path | None,
        typer.Option(
            "--segments",
            help="With --directory: where its server maps the rows, if that was told to. [env var: FEATURESTORE_SEGMENTS]",
            metavar="DIR",
            show_default=False,
        ),
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


def with_connection(
    command: Callable[..., None], directory_help: str = "Work on this directory itself, while no server runs on it."
) -> Callable[..., None]:
    """Gives ``command`` the options of a connection; it is called with them as ``connection: Connection``."""

    def call(context: typer.Context, **options: Any) -> None:
        given = context.get_parameter_source("server")
        is_given = given is not None and given.name == "COMMANDLINE"
        is_named = is_given or (given is not None and given.name == "ENVIRONMENT")
        values = {name: options.pop(name) for name in _OPTIONS}
        connection = Connection(**values, is_server_given=is_given, is_server_named=is_named)
        if connection.directory is not None and is_given:
            raise typer.BadParameter(f"got --server {connection.server} and --directory {connection}, expected one of the two")
        command(connection=connection, **options)

    own = [parameter for name, parameter in inspect.signature(command).parameters.items() if name != "connection"]
    defaults = Connection()
    directory = typer.Option("--directory", "-d", help=directory_help, metavar="DIR")
    made = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(defaults, name), annotation=annotation)
        for name, annotation in {**_OPTIONS, "directory": Annotated[Path | None, directory]}.items()
    ]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    call.__signature__ = inspect.Signature([context, *own, *made])  # type: ignore[attr-defined]
    call.__name__, call.__doc__ = command.__name__, command.__doc__
    return call
