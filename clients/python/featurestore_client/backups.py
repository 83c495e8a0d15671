"""What comes over the stream of a backup: for ``Client.backup``. Where it is kept is for others (``featurestore backup``)."""

from collections.abc import Iterable
from typing import NamedTuple

from featurestore_client.wire import featurestore_raw_pb2 as wire


class BackupFile(NamedTuple):
    """A file of a store, known by its content."""

    name: str
    """Its path in the store's directory."""
    bytes: int
    checksum: int


class BackupState(NamedTuple):
    """The instant of which a backup is."""

    version: str
    """Of the server's featurestore."""
    created_us: int
    journal: int
    """The journal's own number: that of another store is another one."""
    base: int
    """The snapshot stands for the journal up to this record; 0: there is none."""
    last: int
    """The last record of the journal."""
    files: tuple[tuple[str, int], ...]
    """(name, bytes) of each file that belongs to it, in the order in which they come."""


BackupPart = BackupState | bytes | BackupFile
"""First the state; then for each file its content in pieces, where it is not known, and the file."""


def backup_request(known: Iterable[BackupFile]) -> bytes:
    """A BackupRequest."""
    request = wire.BackupRequest(known=[wire.BackupFile(**file._asdict()) for file in known])
    return request.SerializeToString()


def backup_part(encoded: bytes) -> BackupPart:
    """Reads a BackupResponse."""
    response = wire.BackupResponse.FromString(encoded)
    if response.HasField("state"):
        state = response.state
        files = tuple((file.name, file.bytes) for file in state.files)
        return BackupState(state.version, state.created_us, state.journal, state.base, state.last, files)
    if response.HasField("file"):
        return BackupFile(response.file.name, response.file.bytes, response.file.checksum)
    return response.data
