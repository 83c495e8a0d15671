"""featurestore: an online feature store. Definitions are made of the names exported here; ``open`` is the store without a
server."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featurestore_client import Client

    from featurestore.model import (
        BatchSource,
        DataType,
        Entity,
        FeatureReference,
        FeatureService,
        FeatureView,
        Field,
        JoinKey,
        Project,
    )

__all__ = [
    "BatchSource",
    "DataType",
    "Entity",
    "FeatureReference",
    "FeatureService",
    "FeatureView",
    "Field",
    "JoinKey",
    "Project",
    "open",
]
__version__ = "0.1.0"


def open(  # noqa: A001  as io.open
    directory: str | PathLike[str], *, segments: str | PathLike[str] | None = None, read_only: bool = False
) -> "Client":
    """The store of a directory in this process, without a server: a ``featurestore_client.Client``, to be closed at the end.

    ``segments`` is where rows are mapped, as for ``featurestore serve``; the environment (``FEATURESTORE_...``) sets the rest.
    The directory is made where it is missing. Raises FailedPreconditionError, naming the process, where another one has it
    open; a process that was killed does not stand in the way. With ``read_only``, the store may be another process's, or
    nobody's: its rows are mapped and read, what its owner changes is followed, and writes raise FailedPreconditionError.

    >>> with featurestore.open("features") as store:
    ...     store.apply(definitions)
    ...     store.get("delay_model_v1", {"carrier": ["UA"], "dest": ["ORD"]}).to_numpy()
    """
    from featurestore.embedded import open_directory  # noqa: PLC0415  definitions are read without it

    return open_directory(Path(directory), segments=None if segments is None else Path(segments), read_only=read_only)


def __getattr__(name: str) -> Any:
    # pydantic, which definitions are made of, takes longer to load than most commands take that need none.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from featurestore import model  # noqa: PLC0415

    return getattr(model, name)
