"""GetSharedMemory: tells a client of this machine where the tables lie, which it may then map and read by itself.

What it may map is decided by the mode of that directory, not here: this is only where to look.
"""

from featurestore.errors import FailedPreconditionError
from featurestore.server.context import CallContext
from featurestore.server.messages import parse
from featurestore.server.wire import featurestore_pb2 as public
from featurestore.service import OnlineStore


class SharedMemory:
    """The handler over one service."""

    def __init__(self, service: OnlineStore) -> None:
        self._service = service

    def get(self, data: bytes, context: CallContext) -> bytes:
        """GetSharedMemory."""
        parse(public.GetSharedMemoryRequest, data)
        if not self._service.shares_memory:
            raise FailedPreconditionError(
                "the server does not share its memory: start it with --shared-memory group, or use grpc://"
            )
        response = public.GetSharedMemoryResponse(
            directory=str(self._service.store.segments.resolve()), instance=self._service.catalog.instance
        )
        return response.SerializeToString()
