"""The checkpoint: how far a load has been acknowledged, kept on disk as the acknowledgements come.

    line 1   what the load is bound to: store, view, options, and every file with its size and time of change
    line 2   a position with its checksum, padded to a fixed length
    line 3   another; the two are overwritten in turn, so that one of them is whole whatever happens

Writing a position is one small write in place, cheap enough for every acknowledgement. It is not forced to the disk: what is
lost with the machine's power is loaded again, which changes nothing, since an equal event time writes the same values.
Invariant: a position is written only after all rows before it are acknowledged and their rejects are in their file.
"""

import json
import os
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from featurestore.errors import FailedPreconditionError, InvalidArgumentError
from featurestore.ingest.readers import Token
from featurestore.ingest.sources import Source
from featurestore.model import FeatureView

FORMAT_VERSION = 1
_SLOT_BYTES = 1_024


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the sources: all before it is done."""

    source: int = 0
    token: Token = field(default_factory=dict)
    """Of the part; empty: the start of the source."""
    records: int = 0
    """Of the part that are done."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What has become of the rows so far. read = filtered + rejected + written + older."""

    read: int = 0
    filtered: int = 0
    """Left out by ``--where``."""
    rejected: int = 0
    written: int = 0
    older: int = 0
    """Older than the stored row, which stays as it was."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(mine + theirs for mine, theirs in zip(asdict(self).values(), asdict(other).values(), strict=True)))


@dataclass(frozen=True, slots=True)
class Progress:
    """What a checkpoint remembers."""

    position: Position
    sequence: int
    counts: Counts
    rejects_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Binding:
    """What a checkpoint is good for, and nothing else."""

    store: str
    project: str
    view: str
    options: dict[str, Any]
    files: list[list[Any]]
    started_us: int
    """The event time of rows that have none of their own; not compared."""

    @classmethod
    def of(cls, store: str, view: FeatureView, *, options: dict[str, Any], sources: list[Source], started_us: int) -> "Binding":
        """The binding of a load."""
        files = [[source.name, source.size_bytes, source.modified] for source in sources]
        return cls(store, view.project, view.name, json.loads(json.dumps(options)), files, started_us)

    def difference(self, other: "Binding") -> str | None:
        """What of this load is not as it was in ``other``, as a sentence; None where they are the same."""
        for name in ("store", "project", "view"):
            if (was := getattr(other, name)) != (now := getattr(self, name)):
                return f"{name} was {was!r}, is {now!r}"
        for name in sorted({*self.options, *other.options}):
            if (was := other.options.get(name)) != (now := self.options.get(name)):
                return f"{name} was {was!r}, is {now!r}"
        if len(self.files) != len(other.files):
            return f"there were {len(other.files)} files, there are {len(self.files)}"
        for mine, theirs in zip(self.files, other.files, strict=True):
            if mine[0] != theirs[0]:
                return f"a file was {theirs[0]!r}, is {mine[0]!r}"
            if mine[1] != theirs[1]:
                return f"file {mine[0]!r} had {theirs[1]} bytes, has {mine[1]}"
            if mine[2] != theirs[2]:
                return f"file {mine[0]!r} has been changed since"
        return None


class Checkpoint:
    """The file of a load under way."""

    def __init__(self, path: Path, binding: Binding, progress: Progress | None = None) -> None:
        """Starts the file anew. Raises InvalidArgumentError where it cannot be written."""
        self.path = path
        self._serial = 0
        first = json.dumps({"format_version": FORMAT_VERSION, **asdict(binding)}).encode() + b"\n"
        self._slots_offset = len(first)
        # In one step, so that an interruption here does not take the old checkpoint along.
        new = path.with_name(path.name + ".new")
        try:
            with new.open("wb") as file:
                file.write(first + b" " * (2 * _SLOT_BYTES))
                if progress is not None:
                    file.seek(self._slots_offset)
                    file.write(self._slot(progress))
            new.replace(path)
            self._descriptor = os.open(path, os.O_WRONLY)
        except OSError as error:
            raise InvalidArgumentError.of("--checkpoint", str(path), f"a file that can be written: {error.strerror}") from error

    def _slot(self, progress: Progress) -> bytes:
        text = json.dumps({"serial": self._serial, **asdict(progress)})
        line = f"{zlib.crc32(text.encode()):08x} {text}".encode()
        assert len(line) < _SLOT_BYTES, "a position is a few small numbers"
        return line.ljust(_SLOT_BYTES - 1) + b"\n"

    def write(self, progress: Progress) -> None:
        """Remembers how far the load has come."""
        self._serial += 1
        os.pwrite(self._descriptor, self._slot(progress), self._slots_offset + self._serial % 2 * _SLOT_BYTES)

    def close(self, *, done: bool) -> None:
        """Ends it; a load that is done needs no checkpoint."""
        os.close(self._descriptor)
        if done:
            self.path.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> tuple[Binding, Progress | None] | None:
    """What the file remembers; None where there is none. Raises FailedPreconditionError for one that cannot be used."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidArgumentError.of("--checkpoint", str(path), f"a file that can be read: {error.strerror}") from error
    try:
        head = json.loads(lines[0])
        if head.pop("format_version") != FORMAT_VERSION:
            raise ValueError("another version")
        binding = Binding(**head)
        found = [slot for line in lines[1:3] if (slot := _read_slot(line.strip())) is not None]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FailedPreconditionError(
            f"--checkpoint {str(path)!r} is not a checkpoint that this version can read ({error}): "
            "start over without --resume, which loads all rows again and changes none that are there"
        ) from error
    if not found:
        return binding, None
    newest = max(found, key=lambda slot: int(slot["serial"]))
    return binding, Progress(
        Position(**newest["position"]),
        newest["sequence"],
        Counts(**newest["counts"]),
        newest["rejects_bytes"],
        newest["seconds"],
    )


def _read_slot(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    if not text or f"{zlib.crc32(text):08x}".encode() != checksum:
        return None
    slot: dict[str, Any] = json.loads(text)
    return slot
