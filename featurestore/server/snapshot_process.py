"""Writes a snapshot from a process of its own: it maps the tables as any reader does, so that their owner does not notice.

    python -m featurestore.server.snapshot_process SEGMENTS TARGET JOURNAL DEFINITIONS

A snapshot is a journal: the shortest one, of messages from which the same rows come. It is synced and read back before the
number of its records is printed. Invariant: what an owner is told of has been seen whole.
"""

import os
import sys
import threading
from pathlib import Path

from featurestore_client.tables.table import ReadLimits, TableReader

from featurestore.durability import Journal, JournalReader
from featurestore.errors import FeatureStoreError, NotFoundError
from featurestore.server.write_encoding import messages_of
from featurestore.service.online_store import now_us

ANY_KEYS = ReadLimits(key_bytes_max=(1 << 31) - 1)
"""Whatever the server's limits are, or were: they are in the table."""


def write_snapshot(segments: Path, target: Path, journal_number: int, definitions: int) -> int:
    """Writes all tables into an empty directory; returns how many records that took."""
    journal = Journal(target, journal_number, 0, fsync="interval", fsync_interval_s=1.0)
    try:
        for control in sorted(segments.glob("*.*/control")):
            try:
                table = TableReader.attach(control.parent, limits=ANY_KEYS)
            except (NotFoundError, FileNotFoundError):
                continue  # dropped meanwhile
            for message in messages_of(table, now_us()):
                journal.applied(journal.append(message, table.view.project, table.view.view, definitions))
    finally:
        journal.close()
    reader = JournalReader(target)
    for _ in reader:
        pass
    reader.expect_end(journal.last)
    return journal.last


def _end_with_owner() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> int:
    """The command; a sentence on standard error where it fails."""
    segments, target, journal_number, definitions = sys.argv[1:]
    threading.Thread(target=_end_with_owner, daemon=True).start()
    try:
        print(write_snapshot(Path(segments), Path(target), int(journal_number), int(definitions)))
    except (FeatureStoreError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
