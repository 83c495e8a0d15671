"""Backups of a store's files: kept in a directory or at a URL, made into a store again, and read over as a store itself is."""

from featurestore.backup.copying import Copied, back_up, restore
from featurestore.backup.destination import open_destination
from featurestore.backup.manifest import Manifest, read_manifest
from featurestore.backup.verifying import FileFinding, Verification, verify

__all__ = [
    "Copied",
    "FileFinding",
    "Manifest",
    "Verification",
    "back_up",
    "open_destination",
    "read_manifest",
    "restore",
    "verify",
]
