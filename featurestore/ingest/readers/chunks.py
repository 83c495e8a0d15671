"""What every reader yields: parts of a source, each of which becomes one bounded record batch that knows where its rows stood.

A part is cheap to make and is read later, perhaps in another thread. Invariant: reading on from the place behind some records
yields exactly the records that followed them the first time; resuming rests on that.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Token = dict[str, int]
"""Where a part starts, in its reader's terms. Goes into the checkpoint."""

CHUNK_BYTES = 5 << 19
"""About what one batch takes in memory, decoded: as much as goes into a message, and is still in the processor's cache then."""


class Malformed(NamedTuple):
    """A record that could not be taken apart into columns at all."""

    record: int
    value: str
    reason: str


@dataclass(slots=True)
class Chunk:
    """The rows of one part, columns named and typed as in the file (text formats: as was asked for, or text)."""

    batch: pa.RecordBatch
    records: int
    """How many records stood in the part, malformed ones included."""
    row_records: npt.NDArray[np.int64] | None = None
    """The record (counted from 0 in the part) that each row came from; None where row i is record i."""
    malformed: list[Malformed] = field(default_factory=list)


class Part(Protocol):
    """A piece of a source that becomes one chunk."""

    def place_behind(self, records: int) -> tuple[Token, int]:
        """Where to go on once that many records are done: a token, and how many records of the part there are done."""

    @property
    def fraction(self) -> float | None:
        """How much of the source has been read at the end of this part, from 0 to 1; None where it is not known."""

    def read(self) -> Chunk:
        """The rows. May be called in another thread."""

    def position_of(self, record: int) -> int:
        """The line (text formats) or row (others) of a record, counted from 1."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be read of a source."""

    columns: Mapping[str, pa.DataType | None]
    """By name in the file, and the type that it is to become where the format itself has none; None: whatever it looks like."""
    late: Mapping[str, pa.DataType] = field(default_factory=dict)
    """Columns that were not seen so far but may turn up further on (JSON lines)."""
    null_values: tuple[str, ...] = ()
    """Texts that stand for null, besides an empty field."""


class Reader(Protocol):
    """A source of one format, opened."""

    position_unit: str
    """What ``Part.position_of`` counts: ``line`` or ``row``."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of the source. Text formats: those of the header or of the first records, of type null where unknown."""

    def parts(self, wanted: Wanted, start: Token | None = None) -> Iterator[Part]:
        """The parts, from the one of token ``start`` on."""

    def close(self) -> None: ...


def has_infinity(array: pa.Array) -> bool:
    """Whether an array of floats just parsed from text holds an infinity (or may: what lies behind a null counts)."""
    values = np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype()) if len(array) else np.empty(0)
    return bool(np.isinf(values).any())
