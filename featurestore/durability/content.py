"""The checksum of a whole file, made piece by piece: of the checksums of its pieces, so that a file can be sent, and looked at,
without holding it.
"""

from collections.abc import Iterator
from pathlib import Path
from struct import Struct

from featurestore.durability.checksum import checksum

PIECE_BYTES = 256 << 10
"""Part of the format: other pieces have other checksums."""
_WORD = Struct("<Q")


class ContentChecksum:
    """Of the pieces that were added; all but the last one are of ``PIECE_BYTES``."""

    def __init__(self) -> None:
        self._pieces = bytearray()
        self.bytes = 0

    def add(self, piece: bytes) -> bytes:
        """The next piece, which is given back."""
        self._pieces += _WORD.pack(checksum(piece))
        self.bytes += len(piece)
        return piece

    @property
    def value(self) -> int:
        """The checksum of all."""
        return int(checksum(self._pieces))


def pieces_of(path: Path, bytes_max: int) -> Iterator[bytes]:
    """The first ``bytes_max`` bytes of a file."""
    with path.open("rb", buffering=0) as file:
        while bytes_max > 0 and (piece := file.read(min(PIECE_BYTES, bytes_max))):
            bytes_max -= len(piece)
            yield piece
