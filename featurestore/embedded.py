"""The store in this process: no server, the client's own API, and reads that are a function call.

For edge devices, notebooks, tests and commands. Invariant: one process at a time owns a directory, by a lock that goes with it;
a process that opens it read-only takes no lock, and changes nothing.
"""

from pathlib import Path

from featurestore_client import Client
from featurestore_client.shared_reads import SharedMemory

from featurestore.errors import FailedPreconditionError
from featurestore.server.in_process import InProcessTransport
from featurestore.server.methods import own_methods, read_only_methods
from featurestore.server.opening import open_reader, open_service
from featurestore.server.status import StatusBoard
from featurestore.settings import Settings, load_settings


def open_directory(directory: Path, *, segments: Path | None = None, read_only: bool = False) -> Client:
    """A client of the directory's store. See ``featurestore.open``."""
    settings, _ = load_settings({"directory": directory, "segments": segments})
    return _read_only(settings) if read_only else _owned(settings)


def _owned(settings: Settings) -> Client:
    service = open_service(settings)
    board = StatusBoard.of_this_process()
    board.note_recovered(service.recovered)
    transport = InProcessTransport(
        own_methods(service, board, board.slots[0]), service.close, lambda: service.maintain(settings.reclaim_rows_per_s)
    )
    return Client(transport, shared=SharedMemory.own(lambda: (service.catalog, service.table)))


def _read_only(settings: Settings) -> Client:
    try:
        reader = open_reader(settings)
    except FileNotFoundError:
        raise FailedPreconditionError(
            f"{settings.directory}: no store was opened here yet, so that there is nothing to read: open it for writing "
            "first, or start its server"
        ) from None
    board = StatusBoard.of_this_process()
    transport = InProcessTransport(read_only_methods(reader, board, board.slots[0]), reader.close)
    return Client(transport, shared=SharedMemory.own(lambda: (reader.catalog, reader.table)))
