"""The layout of a table's rows: where each feature lies in the packed bytes that ``segment.pxd`` draws.

Plain arithmetic over definitions; the kernel takes the numbers. Invariant: a layout never changes. A schema change makes a new
one, and the rows are copied over (the server's ``store/rebuild.pyx``).
"""

import struct
from dataclasses import dataclass
from functools import cached_property

from featurestore_client.types import DataType, ViewSchema

ROW_HEAD_BYTES = 20
HEAP_REFERENCE_BYTES = 8
_NAN = {"float32": struct.pack("<f", float("nan")), "float64": struct.pack("<d", float("nan"))}


@dataclass(frozen=True, slots=True)
class Slot:
    """One feature's place: ``bit`` in the null bitmap, ``offset`` of its bytes in a row or ``part`` of its heap block."""

    name: str
    type: DataType
    bit: int
    offset: int
    part: int


@dataclass(frozen=True)
class RowLayout:
    """Where everything in a row is. Offsets and sizes in bytes."""

    slots: tuple[Slot, ...]
    key_scalars: tuple[str, ...]
    key_in_heap: bool
    key_offset: int
    key_bytes: int
    bitmap_offset: int
    bitmap_words: int
    values_offset: int
    values_bytes: int
    ends_offset: int
    parts: int
    row_bytes: int

    @classmethod
    def of(cls, view: ViewSchema) -> "RowLayout":
        """Lays the view's features out in their order: fixed-width values packed, strings as parts of the row's heap block."""
        key_scalars = tuple(each.scalar for each in view.join_keys.values())
        key_in_heap = "string" in key_scalars
        has_heap = key_in_heap or any(each.is_variable for each in view.features.values())
        key_offset = ROW_HEAD_BYTES + (HEAP_REFERENCE_BYTES if has_heap else 0)
        key_bytes = 0 if key_in_heap else 8 * len(key_scalars)
        bitmap_offset = key_offset + key_bytes
        bitmap_words = (len(view.features) + 1 + 31) // 32
        values_offset = offset = bitmap_offset + 4 * bitmap_words
        part = 1 if key_in_heap else 0
        slots = []
        for bit, (name, data_type) in enumerate(view.features.items(), start=1):
            variable = data_type.is_variable
            slots.append(Slot(name, data_type, bit, 0 if variable else offset, part if variable else -1))
            offset += data_type.width_bytes
            part += variable
        return cls(
            slots=tuple(slots),
            key_scalars=key_scalars,
            key_in_heap=key_in_heap,
            key_offset=key_offset,
            key_bytes=key_bytes,
            bitmap_offset=bitmap_offset,
            bitmap_words=bitmap_words,
            values_offset=values_offset,
            values_bytes=offset - values_offset,
            ends_offset=offset,
            parts=part,
            row_bytes=(offset + 4 * part + 3) // 4 * 4,
        )

    @cached_property
    def slot_of(self) -> dict[str, Slot]:
        """Slots by feature name."""
        return {slot.name: slot for slot in self.slots}

    @cached_property
    def empty_row(self) -> bytes:
        """A row of nothing but nulls: NaN for floats, zeros otherwise. An absent row reads as it, a new one starts from."""
        row = bytearray(self.row_bytes)
        bits = sum(1 << slot.bit for slot in self.slots)
        row[self.bitmap_offset : self.values_offset] = bits.to_bytes(4 * self.bitmap_words, "little")
        for slot in self.slots:
            if slot.type.scalar in _NAN:
                row[slot.offset : slot.offset + slot.type.width_bytes] = _NAN[slot.type.scalar] * (slot.type.length or 1)
        return bytes(row)
