"""What a file of definitions gave, whichever language it is written in."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from featurestore.errors import Violation
from featurestore.registry.definitions import Definition, ObjectKey


class Origin(NamedTuple):
    """Where a definition was written."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Source:
    """The valid definitions of one file with their origins, the mistakes, and the names of the objects that have some."""

    definitions: list[tuple[Definition, Origin]] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    broken: list[ObjectKey] = field(default_factory=list)
