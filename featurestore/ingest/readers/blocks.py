"""Text cut into blocks of whole records, so that each can be parsed, refused and taken up again on its own.

A library that reads the whole stream can say neither which line was wrong nor where to go on; so the cutting is ours and the
parsing is the library's. Invariant: a block starts where a record starts, and its offset and line are exact.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from featurestore.errors import InvalidArgumentError
from featurestore.ingest.readers.chunks import Token
from featurestore.ingest.sources import OpenText

BLOCK_BYTES = 4 << 20
RECORD_BYTES_MAX = 64 << 20
_NEWLINE, _QUOTE = 0x0A, 0x22


class Block(NamedTuple):
    """Whole records, and where the first of them stands."""

    data: bytes
    offset: int
    """In the decompressed bytes of the source."""
    line: int
    """Counted from 1."""
    fraction: float | None

    @property
    def token(self) -> Token:
        return {"offset": self.offset, "line": self.line}


def blocks(stream: OpenText, name: str, token: Token, last_cut: Callable[[bytes], int]) -> Iterator[Block]:
    """Blocks of about ``BLOCK_BYTES`` from where the stream stands, which is at ``token``, to its end.

    ``last_cut`` says how many bytes of a buffer that starts with a record are whole records.
    """
    offset, line = token["offset"], token["line"]
    kept = b""
    ended = False
    while not ended:
        # Up to a multiple of the size from the block's own start, so that where a block ends depends on nothing before it.
        size = BLOCK_BYTES - len(kept) % BLOCK_BYTES
        read = stream.read(size)
        ended = len(read) < size
        data = kept + read
        size = len(data) if ended else last_cut(data)
        if not size and len(data) > RECORD_BYTES_MAX:
            raise InvalidArgumentError.of(
                f"{name} line {line}",
                f"a record of more than {RECORD_BYTES_MAX >> 20} MB",
                "shorter ones; is a quote not closed, or is this another format?",
            )
        if size:
            block = data[:size]
            yield Block(block, offset, line, 1.0 if ended else stream.fraction)
            offset += size
            line += int(np.count_nonzero(np.frombuffer(block, np.uint8) == _NEWLINE))
        kept = data[size:]


def last_line_end(data: bytes) -> int:
    """``last_cut`` for text in which every newline ends a record."""
    return data.rfind(b"\n") + 1


def last_record_end(data: bytes, delimiter: bytes) -> int:
    """``last_cut`` for CSV, where a newline within quotes ends nothing."""
    if b'"' not in data:
        return last_line_end(data)
    ends = record_ends(data, delimiter)
    return int(ends[-1]) + 1 if len(ends) else 0


def record_ends(data: bytes, delimiter: bytes) -> npt.NDArray[np.int64]:
    """Where the newlines are that end a record of CSV."""
    array = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(array == _NEWLINE)
    quotes = np.flatnonzero(array == _QUOTE)
    if not len(quotes):
        return newlines
    toggles = quotes if _all_structural(array, quotes, delimiter[0]) else _structural(data, quotes, delimiter)
    unquoted: npt.NDArray[np.int64] = newlines[np.searchsorted(toggles, newlines) % 2 == 0]
    return unquoted


def _all_structural(array: npt.NDArray[np.uint8], quotes: npt.NDArray[np.int64], delimiter: int) -> bool:
    """Whether each quote opens, closes or is one of a doubled pair, which makes counting them enough."""
    before = np.concatenate(([np.uint8(_NEWLINE)], array))[quotes[0::2]]
    after = np.concatenate((array, [np.uint8(_NEWLINE)]))[quotes[1::2] + 1]
    opens = (before == delimiter) | (before == _NEWLINE) | (before == 0x0D) | (before == _QUOTE)
    closes = (after == delimiter) | (after == _NEWLINE) | (after == 0x0D) | (after == _QUOTE)
    return bool(opens.all() and closes.all())


def _structural(data: bytes, quotes: npt.NDArray[np.int64], delimiter: bytes) -> npt.NDArray[np.int64]:
    """The quotes that open or close a field: one within an unquoted field (5" pipe) is a character like any other."""
    toggles: list[int] = []
    quoted, skipped = False, -1
    for position in quotes.tolist():
        if position == skipped:
            continue
        if quoted:
            if data[position + 1 : position + 2] == b'"':
                skipped = position + 1
                continue
            quoted = False
        elif position == 0 or data[position - 1 : position] in (delimiter, b"\n", b"\r"):
            quoted = True
        else:
            continue
        toggles.append(position)
    return np.array(toggles, np.int64)


def record_lines(data: bytes, ends: npt.NDArray[np.int64], first_line: int) -> npt.NDArray[np.int64]:
    """The line on which each record that is not blank starts, given where all records end."""
    starts = np.concatenate(([0], ends + 1))
    stops = np.concatenate((ends, [len(data)]))
    array = np.frombuffer(data, np.uint8)
    # Blank is a record without a character, a carriage return aside: that is what the parsers pass over.
    only_return = (stops - starts == 1) & (array[np.minimum(starts, len(array) - 1)] == 0x0D)
    blank = (stops == starts) | only_return
    newlines = np.flatnonzero(array == _NEWLINE)
    lines: npt.NDArray[np.int64] = first_line + np.searchsorted(newlines, starts[~blank])
    return lines
