"""Where a journal ended when it was closed, in a file beside it: all up to there was on the disk then.

A loss of power may take records, and files, that nothing else says have been there. What was closed in good order it cannot
take: where the journal ends before that later on, somebody has taken files away, or the disk has. Invariant: what is noted was
synced.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from featurestore.durability.sealed import put_in_place, sealed, unsealed
from featurestore.errors import FailedPreconditionError, InternalError

FILE_NAME = "end.json"
_MAGIC = "featurestore journal end"
_FORMAT = 1


class NotedEnd(NamedTuple):
    """What is noted; zeros where nothing is."""

    journal: int
    """The journal's own number."""
    last: int
    """Its last record."""


def note_end(directory: Path, end: NotedEnd) -> None:
    """Notes it, unless that cannot be written: what was noted before holds too."""
    with suppress(OSError):
        if noted_end(directory) == end:
            return
        text = sealed({"magic": _MAGIC, "format": _FORMAT, "journal": f"{end.journal:016x}", "last": end.last})
        put_in_place(directory / FILE_NAME, text)  # if the disk does not take the name, it has the former one


def noted_end(directory: Path) -> NotedEnd:
    """What is noted there. InternalError where that is damaged, FailedPreconditionError where it is of a newer format."""
    path = directory / FILE_NAME
    try:
        document: Any = json.loads(path.read_bytes())
        if document["format"] > _FORMAT:
            raise FailedPreconditionError(
                f"{path}: got format {document['format']}, expected at most {_FORMAT}: a newer featurestore wrote it; start "
                "that one"
            )
        document = unsealed(document)
        return NotedEnd(int(document["journal"], 16), int(document["last"]))
    except FileNotFoundError:
        return NotedEnd(0, 0)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InternalError(
            f"{path}: got a damaged file, expected where the journal ended when it was closed: put a copy of it back, or take "
            "it away; without it nobody knows whether files are missing"
        ) from None
