"""What survives the process: the journal, and how much of it the tables in memory hold. Knows no table and no network."""

from featurestore.durability.journal import FILE_BYTES, Fsync, Journal
from featurestore.durability.mark import Mark
from featurestore.durability.reading import End, JournalReader, journal_number
from featurestore.durability.record import Entry, Kind, Message, Record

__all__ = [
    "FILE_BYTES",
    "End",
    "Entry",
    "Fsync",
    "Journal",
    "JournalReader",
    "Kind",
    "Mark",
    "Message",
    "Record",
    "journal_number",
]
