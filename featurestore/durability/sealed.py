"""JSON with a checksum of its own content, so that a changed letter is told from what was written."""

import json
from collections.abc import Mapping
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


def _seal(document: Mapping[str, Any]) -> str:
    return f"{checksum(json.dumps(document, sort_keys=True).encode()):016x}"
