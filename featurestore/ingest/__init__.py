"""Bulk ingestion: files of many kinds, checked and converted by the batch, sent over a client's stream.

``find_sources`` says what there is to load, ``Load`` loads it. Everything else here serves these two.
"""

from featurestore.ingest.load import Load, LoadOptions, LoadState, Summary, TooManyRejectsError
from featurestore.ingest.mapping import Naming, naming_of
from featurestore.ingest.rejects import RejectLimit
from featurestore.ingest.sources import Format, find_sources
from featurestore.ingest.times import TimeFormat

__all__ = [
    "Format",
    "Load",
    "LoadOptions",
    "LoadState",
    "Naming",
    "RejectLimit",
    "Summary",
    "TimeFormat",
    "TooManyRejectsError",
    "find_sources",
    "naming_of",
]
