"""JSON with a checksum of its own content, so that a changed letter is told from what was written; and files of it, which are
whole at every instant."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from featurestore.durability.checksum import checksum

_FIELD = "checksum"


def sealed(document: Mapping[str, Any]) -> str:
    """The text of a file: the document, and its checksum."""
    return json.dumps({**document, _FIELD: _seal(document)}, indent=1, ensure_ascii=False) + "\n"


def unsealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document that was read, without its checksum. Raises ValueError where that is not the one of its content."""
    content = {name: value for name, value in document.items() if name != _FIELD}
    if document.get(_FIELD) != _seal(content):
        raise ValueError("its checksum is not that of its content")
    return content


def put_in_place(path: Path, text: str) -> None:
    """Makes that the text of a file, at one instant: written aside, synced, and renamed over it. (The name is synced with the
    directory.) Raises OSError: the file is as it was then."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise


def _seal(document: Mapping[str, Any]) -> str:
    return f"{checksum(json.dumps(document, sort_keys=True).encode()):016x}"
