"""What survives the process: the journal, and how much of it the tables in memory hold. Knows no table and no network."""

from featurestore.durability.content import ContentChecksum, pieces_of
from featurestore.durability.held_files import Held, HeldFile, hold_files, let_go
from featurestore.durability.journal import FILE_BYTES, Fsync, Journal, Position
from featurestore.durability.mark import Mark
from featurestore.durability.reading import End, JournalReader, journal_bytes, journal_number, sync_journal
from featurestore.durability.record import Entry, Kind, Message, Record
from featurestore.durability.snapshot import Snapshot, begin_snapshot, finish_snapshot, latest_snapshot
from featurestore.durability.unsynced import Unsynced
from featurestore.durability.version import (
    VersionFiles,
    begin_version,
    find_version,
    finish_version,
    keep_versions,
    version_files,
)

__all__ = [
    "FILE_BYTES",
    "ContentChecksum",
    "End",
    "Entry",
    "Fsync",
    "Held",
    "HeldFile",
    "Journal",
    "JournalReader",
    "Kind",
    "Mark",
    "Message",
    "Position",
    "Record",
    "Snapshot",
    "Unsynced",
    "VersionFiles",
    "begin_snapshot",
    "begin_version",
    "find_version",
    "finish_snapshot",
    "finish_version",
    "hold_files",
    "journal_bytes",
    "journal_number",
    "keep_versions",
    "latest_snapshot",
    "let_go",
    "pieces_of",
    "sync_journal",
    "version_files",
]
