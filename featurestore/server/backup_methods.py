"""TakeSnapshot and Backup. Only translates: which files, and of which instant, is the service's to say."""

import time
from collections.abc import AsyncIterator
from functools import partial

from featurestore import __version__
from featurestore.durability import ContentChecksum, HeldFile, pieces_of
from featurestore.errors import InternalError
from featurestore.server.context import CallContext
from featurestore.server.messages import one_request, parse
from featurestore.server.wire import featurestore_raw_pb2 as wire
from featurestore.service import OnlineStore

_Identity = tuple[int, int, int]


class BackupMethods:
    """The handlers, over the store's owner."""

    def __init__(self, service: OnlineStore) -> None:
        self._service = service
        self._checksums: dict[_Identity, int] = {}
        """Of the files of the last backup, by (inode, time of the last change, bytes)."""

    async def take_snapshot(self, data: bytes, context: CallContext) -> bytes:
        """TakeSnapshot."""
        parse(wire.TakeSnapshotRequest, data)
        taken = await self._service.take_snapshot()
        return wire.TakeSnapshotResponse(**taken._asdict()).SerializeToString()

    async def backup(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        """Backup."""
        request = await one_request(wire.BackupRequest, requests)
        known = {(file.name, file.bytes, file.checksum) for file in request.known}
        sizes = {(name, size) for name, size, _ in known}
        checksums: dict[_Identity, int] = {}
        async with self._service.held_files() as held:
            files = [wire.BackupFile(name=file.name, bytes=file.bytes) for file in held.files]
            state = wire.BackupState(
                version=__version__,
                created_us=time.time_ns() // 1_000,
                journal=held.journal,
                base=held.base,
                last=held.last,
                files=files,
            )
            yield wire.BackupResponse(state=state).SerializeToString()
            for file, told in zip(held.files, files, strict=True):
                identity = _identity(file)
                checksum = self._checksums.get(identity)
                if checksum is None and (file.name, file.bytes) in sizes:
                    checksum = await self._service.beside_the_loop(partial(_checksum, file))
                if checksum is None or (file.name, file.bytes, checksum) not in known:
                    content, pieces = ContentChecksum(), pieces_of(file.path, file.bytes)
                    while piece := await self._service.beside_the_loop(partial(next, pieces, b"")):
                        yield wire.BackupResponse(data=content.add(piece)).SerializeToString()
                    checksum = _checked(file, content)
                checksums[identity] = told.checksum = checksum
                yield wire.BackupResponse(file=told).SerializeToString()
        self._checksums = checksums


def _identity(file: HeldFile) -> _Identity:
    status = file.path.stat()
    return status.st_ino, status.st_mtime_ns, file.bytes


def _checksum(file: HeldFile) -> int:
    content = ContentChecksum()
    for piece in pieces_of(file.path, file.bytes):
        content.add(piece)
    return _checked(file, content)


def _checked(file: HeldFile, content: ContentChecksum) -> int:
    if content.bytes != file.bytes:
        raise InternalError(f"{file.name}: got {content.bytes} bytes, expected {file.bytes}: the file has been cut meanwhile")
    return content.value
