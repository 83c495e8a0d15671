"""GetSharedMemory: tells a client of this machine where the tables lie, which it may then map and read by itself.

What it may map is decided by the mode of that directory, not here: this is only where to look.
"""

from collections.abc import Callable
from pathlib import Path

from featurestore_client.tables.catalog import Catalog

from featurestore.errors import FailedPreconditionError
from featurestore.server.context import CallContext
from featurestore.server.messages import parse
from featurestore.server.wire import featurestore_pb2 as public


class SharedMemory:
    """The handler over the tables of a directory. ``catalog`` gives that of its owner: each one makes another."""

    def __init__(self, directory: Path, catalog: Callable[[], Catalog], *, is_shared: bool) -> None:
        self._directory = str(directory.resolve())
        self._catalog = catalog
        self._is_shared = is_shared

    def get(self, data: bytes, context: CallContext) -> bytes:
        """GetSharedMemory."""
        parse(public.GetSharedMemoryRequest, data)
        if not self._is_shared:
            raise FailedPreconditionError(
                "the server does not share its memory: start it with --shared-memory group, or use grpc://"
            )
        response = public.GetSharedMemoryResponse(directory=self._directory, instance=self._catalog().instance)
        return response.SerializeToString()
