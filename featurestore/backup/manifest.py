"""What makes files a backup: the manifest beside them, which is written last and replaced at one instant.

    DEST/backup.json                      names each file, where it lies, its bytes and checksum; and has a checksum itself
    DEST/data-<time>-<random>/<name>      what one run copied; later manifests name files of earlier runs

Invariant: all that a manifest names is there, whole, as long as the manifest is.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from featurestore.backup.destination import Destination
from featurestore.durability.sealed import sealed, unsealed
from featurestore.errors import FailedPreconditionError, InternalError

FILE_NAME = "backup.json"
MAGIC = "featurestore backup"
FORMAT = 1
"""Rises when an older featurestore could misread the manifest."""
RUN_PREFIX = "data-"

_NAME = re.compile(
    r"registry\.json|journal/(snapshot-[0-9]{20}-[0-9]+(-[0-9]+)?/|versions/\w+\.\w+/[0-9]+-[0-9]+/)?[0-9]{20}\.journal"
)


@dataclass(frozen=True)
class StoredFile:
    """A file of the store, and where its content lies."""

    name: str
    bytes: int
    checksum: int
    place: str


@dataclass(frozen=True)
class Manifest:
    """A backup."""

    version: str
    """Of the featurestore whose files they are."""
    created: str
    """When, by the clock of the server: ISO 8601, UTC."""
    journal: int
    base: int
    """Of the snapshot; 0: there is none."""
    last: int
    """The last record of the journal."""
    files: tuple[StoredFile, ...]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files)


def check_name(name: str, where: object) -> str:
    """A name that a store's file may have; whatever else a server or a manifest says is not written anywhere."""
    if not _NAME.fullmatch(name):
        raise InternalError(f"{where}: got a file named {name!r}, expected registry.json or a file of the journal")
    return name


def manifest_bytes(manifest: Manifest) -> bytes:
    """As it is written."""
    files = [
        {"name": file.name, "bytes": file.bytes, "checksum": f"{file.checksum:016x}", "place": file.place}
        for file in manifest.files
    ]
    document = {
        "magic": MAGIC,
        "format": FORMAT,
        "version": manifest.version,
        "created": manifest.created,
        "journal": f"{manifest.journal:016x}",
        "base": manifest.base,
        "last": manifest.last,
        "files": files,
    }
    return sealed(document).encode()


def read_manifest(place: Destination) -> Manifest | None:
    """The backup there; None where there is none.

    Raises InternalError for damage, and FailedPreconditionError for a newer format.
    """
    content = place.read(FILE_NAME)
    if content is None:
        return None
    try:
        document: Any = json.loads(content)
        if document["magic"] != MAGIC:
            raise ValueError("it is no manifest of a backup")
        document = unsealed(document)
        format_version = int(document["format"])
        if format_version > FORMAT:
            raise FailedPreconditionError(
                f"{place}/{FILE_NAME}: got format {format_version}, expected at most {FORMAT}: a newer featurestore wrote it; "
                "use that one"
            )
        files = tuple(
            StoredFile(check_name(file["name"], place), file["bytes"], int(file["checksum"], 16), file["place"])
            for file in document["files"]
        )
        journal = int(document["journal"], 16)
        return Manifest(document["version"], document["created"], journal, document["base"], document["last"], files)
    except (ValueError, KeyError, TypeError) as error:
        raise InternalError(
            f"{place}/{FILE_NAME}: got a damaged manifest ({error}), expected that of a backup: put a copy of it back, or take "
            "another backup elsewhere"
        ) from None
