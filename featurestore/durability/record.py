"""What a journal's file holds: a head, then records one after the other, each at a multiple of eight bytes, little-endian.
Records are written by ``record_writer.pyx``, and read here.

    file     | magic 8 | format 4 | 0 4 | journal 8 | first sequence 8 | checksum of these 8 |
    record   | checksum 8 | message's checksum 8 | message bytes 4 | kind 1 | project bytes 1 | view bytes 1 | sum 1 |
             | sequence 8 | synced 8 | definitions 8 | clock us 8 | project | view | message | zeros to a multiple of eight |

The first checksum covers the rest of the head and the names; it is mixed with the journal's own number, which is random, so
that no message can hold what would pass for a record. ``message`` is a request of the contract as it came, so the contract is
the format: what could be read from a client can be read from here. ``synced``: all records up to that sequence were on the
disk when this one was written, which is how damage is told from a tail that the disk never got. ``sum``: how the message's
checksum was made. (Format 1 had one way, the first.)
"""

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from featurestore.durability.checksum import checksum, message_checksum

MAGIC = b"FTRJRNL\0"
FORMAT = 2
FILE_HEAD = Struct("<8sIIQQ")
FILE_HEAD_BYTES = FILE_HEAD.size + 8
_CHECKSUM = Struct("<Q")
_HEAD = Struct("<QIBBBBQQQq")  # behind the checksum of the head itself
HEAD_BYTES = _CHECKSUM.size + _HEAD.size
SEQUENCE_WORD = 3
"""Where the sequence stands in a record, in words of eight bytes."""
_ALIGNMENT = 8


class Kind(IntEnum):
    """Which message of the contract a record holds."""

    WRITE = 1
    """WriteFeaturesRequest"""
    INGEST = 2
    """IngestFeaturesRequest"""
    DELETE = 3
    """DeleteFeaturesRequest"""


class Sum(IntEnum):
    """How a message is summed."""

    WORDS = 0
    LANES = 1


_SUMS = {int(Sum.WORDS): checksum, int(Sum.LANES): message_checksum}


class Message(NamedTuple):
    """A write as it came."""

    kind: Kind
    data: bytes
    now_us: int
    """The server's clock by which it was decoded."""


class Entry(NamedTuple):
    """What is to be kept of one write: the message, where it goes, and by which definitions."""

    message: Message
    project: str
    view: str
    definitions: int
    """The version of the registry by which the message was taken."""


class Record(NamedTuple):
    """An entry in its place in the journal."""

    entry: Entry
    sequence: int
    synced: int
    record_bytes: int


def file_head(journal: int, first_sequence: int, written_format: int = FORMAT) -> bytes:
    """The head of a file."""
    head = FILE_HEAD.pack(MAGIC, written_format, 0, journal, first_sequence)
    return head + seal(head)


def seal(head: bytes | memoryview) -> bytes:
    """The checksum that stands behind the head of a file."""
    return _CHECKSUM.pack(checksum(head))


def unpack(data: memoryview, offset: int, journal: int) -> Record | None:
    """The record at that offset of a file of that journal; None where none is whole."""
    if offset + HEAD_BYTES > len(data):
        return None
    found, message_bytes, kind, project_bytes, view_bytes, way, sequence, synced, definitions, now_us = _HEAD.unpack_from(
        data, offset + _CHECKSUM.size
    )
    names = offset + HEAD_BYTES
    start = names + project_bytes + view_bytes
    end = start + message_bytes
    padded = end + -(end - offset) % _ALIGNMENT
    if padded > len(data):
        return None
    if _CHECKSUM.unpack_from(data, offset)[0] != checksum(data[offset + _CHECKSUM.size : start]) ^ journal:
        return None
    if found != _SUMS[way](data[start:end]) or any(data[end:padded]):
        return None
    project, view = bytes(data[names : names + project_bytes]).decode(), bytes(data[names + project_bytes : start]).decode()
    entry = Entry(Message(Kind(kind), bytes(data[start:end]), now_us), project, view, definitions)
    return Record(entry, sequence, synced, padded - offset)
