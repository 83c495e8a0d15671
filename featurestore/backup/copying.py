"""From a store to a backup, and back.

Only what the backup does not have yet is copied: a closed file of the journal and a snapshot never change. Invariant: whenever
this ends, by whatever, the backup that was there before is whole until the new one is; and a directory that was being restored
holds no store until all of it is there.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from featurestore_client import Client
from featurestore_client.backups import BackupFile, BackupPart, BackupState

from featurestore.backup.destination import Destination, sync_tree
from featurestore.backup.manifest import (
    FILE_NAME,
    RUN_PREFIX,
    Manifest,
    StoredFile,
    check_name,
    manifest_bytes,
    read_manifest,
)
from featurestore.durability import ContentChecksum
from featurestore.durability.content import PIECE_BYTES
from featurestore.errors import FailedPreconditionError, InternalError, NotFoundError, ResourceExhaustedError

Progress = Callable[[int, int], None]
"""Called with the bytes that are done, and those of all."""


class Copied(NamedTuple):
    """A backup, and what of it this run copied."""

    manifest: Manifest
    files: int
    bytes: int


def back_up(client: Client, place: Destination, progress: Progress = lambda done, total: None) -> Copied:
    """Makes what lies there a backup of the store as it is now. The one before it counts until this one is whole.

    Raises FailedPreconditionError where something else lies there, or the backup of another store.
    """
    former, sizes = read_manifest(place), place.sizes()
    if former is None:
        _refuse_others(place, sizes)
    stored = {
        BackupFile(file.name, file.bytes, file.checksum): file
        for file in (former.files if former is not None else ())
        if sizes.get(file.place) == file.bytes
    }
    parts = client.backup(stored)
    state = next(parts)
    assert isinstance(state, BackupState), "the state comes first"
    if former is not None and former.last and former.journal != state.journal:  # without a record it has no number to keep
        raise FailedPreconditionError(
            f"{place} holds the backup of another store (journal {former.journal:016x}; this one's is {state.journal:016x}): "
            "choose another place, or move that backup away"
        )
    run = f"{RUN_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    try:
        return _copy(place, run, state, stored, parts, progress)
    except BaseException:
        _forget(place, run)
        raise


def _copy(
    place: Destination,
    run: str,
    state: BackupState,
    stored: Mapping[BackupFile, StoredFile],
    parts: Iterator[BackupPart],
    progress: Progress,
) -> Copied:
    """Copies what is not stored yet, and then has the backup count."""
    total, done = sum(size for _, size in state.files), 0
    files = []
    for name, _ in state.files:
        target = f"{run}/{check_name(name, 'the server')}"
        file, is_copied = _receive(place, target, parts, lambda count, done=done: progress(done + count, total))  # type: ignore[misc]
        known = stored.get(file)
        if file.name != name or (known is None) == (not is_copied):
            raise InternalError(f"{file.name}: got a file that was not announced so, expected {name} or its content")
        files.append(known or StoredFile(*file, target))
        done += file.bytes
        progress(done, total)
    created = datetime.fromtimestamp(state.created_us / 1e6, UTC).isoformat(timespec="milliseconds")
    manifest = Manifest(state.version, created, state.journal, state.base, state.last, tuple(files))
    sizes = place.sizes()
    if any(sizes.get(file.place) != file.bytes for file in files):
        raise FailedPreconditionError(
            f"{place}: files of this backup are gone: another one into the same place ended meanwhile, and counts; take one at "
            "a time"
        )
    with _named(f"{place}/{FILE_NAME}"):
        place.replace(FILE_NAME, manifest_bytes(manifest))
    needed = {file.place for file in files}
    place.remove([name for name in place.sizes() if name.startswith(RUN_PREFIX) and name not in needed])
    copied = [file for file in files if file.place.startswith(run)]
    return Copied(manifest, len(copied), sum(file.bytes for file in copied))


def _forget(place: Destination, run: str) -> None:
    """Takes away what a run has written that counts for nothing, if the place still lets us."""
    with suppress(Exception):
        manifest = read_manifest(place)
        needed = {file.place for file in manifest.files} if manifest is not None else set()
        place.remove([name for name in place.sizes() if name.startswith(f"{run}/") and name not in needed])


@contextmanager
def _named(path: object) -> Iterator[None]:
    """Gives an error of the system the path, where it has none: that of a write does not."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _refuse_others(place: Destination, sizes: dict[str, int]) -> None:
    of_a_run = (RUN_PREFIX, f".{FILE_NAME}.")  # of a first one that was cut short
    others = sorted(name for name in sizes if not name.startswith(of_a_run))
    if others:
        raise FailedPreconditionError(
            f"{place} holds {others[0]!r} and no {FILE_NAME}, so it is no backup: choose an empty place, or one of its own"
        )


def _receive(
    place: Destination, target: str, parts: Iterator[BackupPart], progress: Callable[[int], None]
) -> tuple[BackupFile, bool]:
    """Writes the pieces of one file, if there are any. Returns what the server says of it, and whether there were."""
    content = ContentChecksum()
    part = next(parts)
    if isinstance(part, bytes):
        with _named(f"{place}/{target}"), place.open_to_write(target) as file:
            while isinstance(part, bytes):
                file.write(content.add(part))
                progress(content.bytes)
                part = next(parts)
    assert isinstance(part, BackupFile), "a file ends with what it is"
    if content.bytes and (content.bytes, content.value) != (part.bytes, part.checksum):
        raise InternalError(
            f"{part.name}: got {content.bytes} bytes with checksum {content.value:016x}, expected {part.bytes} bytes with "
            f"{part.checksum:016x}: they changed on the way; take the backup again"
        )
    return part, content.bytes > 0


def restore(place: Destination, directory: Path, progress: Progress = lambda done, total: None) -> Manifest:
    """Makes a store of a backup, in a directory that is empty or not there. Each file is held against the manifest.

    Raises NotFoundError where there is no backup, FailedPreconditionError where the directory holds something, InternalError
    for damage, ResourceExhaustedError where the disk is too small.
    """
    manifest = existing_manifest(place)
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        _restore(place, manifest, directory, progress)
    except BaseException:
        with suppress(OSError):
            for path in made:
                path.rmdir()
        raise
    return manifest


def _restore(place: Destination, manifest: Manifest, directory: Path, progress: Progress) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    held = next((path.name for path in directory.iterdir() if path.name != "lost+found"), None)  # a volume's own
    if held is not None:
        raise FailedPreconditionError(
            f"{directory} holds {held!r}: restore into an empty directory, and start a server on that one when it is there"
        )
    space = os.statvfs(directory)
    if space.f_bavail * space.f_frsize < manifest.bytes:
        raise ResourceExhaustedError(
            f"{directory}: got {space.f_bavail * space.f_frsize} bytes of space, expected at least {manifest.bytes}"
        )
    beside = directory / ".restoring"
    done = 0
    try:
        beside.mkdir(mode=0o700)  # there may be no file at all
        for file in manifest.files:
            path = beside / file.name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _named(path), path.open("xb") as target:
                for piece in content_of(place, file):
                    target.write(piece)
                    done += len(piece)
                    progress(done, manifest.bytes)
                target.flush()
                os.fsync(target.fileno())
        for path in sorted(beside.iterdir()):  # the journal, which is nothing without the definitions, before them
            path.rename(directory / path.name)
        beside.rmdir()
        sync_tree(directory)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def existing_manifest(place: Destination) -> Manifest:
    """The backup there. NotFoundError where there is none."""
    manifest = read_manifest(place)
    if manifest is None:
        raise NotFoundError(f"{place} holds no backup: expected a {FILE_NAME} there, as `featurestore backup` writes it last")
    return manifest


def content_of(place: Destination, file: StoredFile) -> Iterator[bytes]:
    """The pieces of a file. InternalError, once all were given, where they are not what the manifest says."""
    content = ContentChecksum()
    where = f"{place}/{file.place}"
    try:
        with place.open_to_read(file.place) as source:
            while piece := source.read(PIECE_BYTES):
                yield content.add(piece)
    except FileNotFoundError:
        raise InternalError(f"{where} is not there, and the backup needs it: put a copy back, or use another backup") from None
    if (content.bytes, content.value) != (file.bytes, file.checksum):
        raise InternalError(
            f"{where}: got {content.bytes} bytes with checksum {content.value:016x}, expected {file.bytes} bytes with "
            f"{file.checksum:016x}: it has been changed; put a copy of it back, or use another backup"
        )
