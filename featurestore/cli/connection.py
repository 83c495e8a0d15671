"""Which store a command talks to: a server, or a directory of this machine. Either way through the same client."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from featurestore_client import Client

DEFAULT_SERVER = "grpc://127.0.0.1:7400"

Server = Annotated[
    str | None,
    typer.Option(
        "--server", "-s", envvar="FEATURESTORE_SERVER", help=f"Server to talk to [default: {DEFAULT_SERVER}]", metavar="URL"
    ),
]
Directory = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        "-d",
        help="Work on this store directory itself, without a server (none may be running on it).",
        metavar="DIR",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar="FEATURESTORE_API_KEY", help="The key that the server asks for.", metavar="KEY"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Project = Annotated[str, typer.Option("--project", "-p", help="The project of the names.", metavar="NAME")]


def open_client(context: typer.Context, server: str | None, directory: Path | None, api_key: str | None = None) -> "Client":
    """A client of the server or the directory; to be used as a context manager.

    The directory wins over a server that is only in the environment.
    """
    if directory is None:
        from featurestore_client import connect  # noqa: PLC0415  commands that fail earlier do without

        return connect(server or DEFAULT_SERVER, api_key=api_key)
    source = context.get_parameter_source("server")
    if server is not None and source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter(f"got --server {server} and --directory {directory}, expected one of the two")
    from featurestore.server.in_process import InProcessTransport  # noqa: PLC0415
    from featurestore_client import Client  # noqa: PLC0415

    return Client(InProcessTransport(directory))
