"""Rows that were not loaded: where each stood and what was wrong, on record and within the limit that the load allows.

Invariant: the file holds whole entries in the order of the rows, and ``size_bytes`` is where the next one goes, so that a load
that is taken up again cuts off what it will find anew.
"""

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from featurestore.errors import InvalidArgumentError, shorten

PERCENT_ROWS_MIN = 10_000
"""A percentage is of the rows read so far, and holds from this many on (and at the end)."""
_COLUMNS = ("file", "line_or_row", "column", "value", "reason")


@dataclass(frozen=True, slots=True)
class Reject:
    """One row that was refused, by the first of its columns that was wrong."""

    file: str
    unit: str
    """What ``number`` counts: ``line`` or ``row``."""
    number: int
    column: str
    """Empty where the whole record could not be read."""
    value: str | None
    reason: str

    def __str__(self) -> str:
        column = f", column {self.column!r}" if self.column else ""
        return f"{self.file} {self.unit} {self.number}{column}: got {shorten(self.value)}, {self.reason}"


@dataclass(frozen=True, slots=True)
class RejectLimit:
    """How many rows may be refused: a number, or a share of the rows read."""

    rows: int | None = 0
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> "RejectLimit":
        """Reads ``100`` or ``0.5%``. Raises InvalidArgumentError."""
        match = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)%", text.strip())
        if match is None or (match[2] and float(match[2]) > 100):
            raise InvalidArgumentError.of("--max-rejects", text, "a number of rows such as 100, or a percentage such as 0.5%")
        return cls(int(match[1])) if match[1] else cls(None, float(match[2]) / 100)

    def is_passed(self, rejected: int, read: int, *, at_end: bool) -> bool:
        """Whether too many rows have been refused."""
        if self.rows is not None:
            return rejected > self.rows
        assert self.share is not None
        return rejected > self.share * read and (at_end or read >= PERCENT_ROWS_MIN)

    def __str__(self) -> str:
        return f"{self.rows}" if self.rows is not None else f"{(self.share or 0) * 100:g}%"


class RejectFile:
    """The file of ``--rejects``: CSV, or JSON lines where its name ends so."""

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        """Opens the file, keeping its first ``keep_bytes``: those that an interrupted load had settled."""
        self._is_json = path.suffix.lower() in (".jsonl", ".ndjson", ".json")
        try:
            self._file: BinaryIO = path.open("r+b" if keep_bytes and path.exists() else "wb")
        except OSError as error:
            raise InvalidArgumentError.of("--rejects", str(path), f"a file that can be written: {error.strerror}") from error
        if self._file.seek(0, io.SEEK_END) < keep_bytes:
            raise InvalidArgumentError.of(
                "--rejects", str(path), f"the {keep_bytes} bytes that the interrupted load had written"
            )
        self._file.seek(keep_bytes)
        self._file.truncate()
        self.size_bytes = keep_bytes
        if not keep_bytes and not self._is_json:
            self._append(_csv_line(_COLUMNS))

    def write(self, rejects: Iterable[Reject]) -> None:
        """Appends entries, which have reached the file when this returns."""
        if self._is_json:
            lines = [json.dumps(_entry(reject), ensure_ascii=False) + "\n" for reject in rejects]
        else:
            lines = [_csv_line(tuple(_entry(reject).values())) for reject in rejects]
        if lines:
            self._append("".join(lines))

    def _append(self, text: str) -> None:
        self.size_bytes += self._file.write(text.encode(errors="surrogateescape"))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _entry(reject: Reject) -> dict[str, object]:
    fields = asdict(reject)
    return {"file": fields["file"], reject.unit: reject.number} | {name: fields[name] for name in ("column", "value", "reason")}


def _csv_line(values: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
