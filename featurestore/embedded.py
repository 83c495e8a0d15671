"""The store in this process: no server, the client's own API, and reads that are a function call.

For edge devices, notebooks, tests and commands. Invariant: one process at a time owns a directory, by a lock that goes with it.
"""

from pathlib import Path

from featurestore_client import Client
from featurestore_client.shared_reads import SharedMemory

from featurestore.server.in_process import InProcessTransport
from featurestore.server.opening import open_service
from featurestore.settings import load_settings


def open_directory(directory: Path, *, segments: Path | None = None) -> Client:
    """A client of the directory's store, which is this process's until the client is closed. See ``featurestore.open``."""
    settings, _ = load_settings({"directory": directory, "segments": segments})
    service = open_service(settings)
    transport = InProcessTransport(service, settings.reclaim_rows_per_s)
    return Client(transport, shared=SharedMemory.own(service.catalog, service.store.table))
