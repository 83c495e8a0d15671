"""What a write brings, checked against the layout of its table: names, types, shapes and lengths."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from featurestore_client.tables.columns import Column, Values, VarColumn
from featurestore_client.tables.keys import check_strings
from featurestore_client.tables.layout import RowLayout, Slot

from featurestore.errors import InvalidArgumentError, NotFoundError


def checked_events(event_timestamps_us: npt.NDArray[np.int64], rows: int) -> npt.NDArray[np.int64]:
    """The event times, contiguous. Raises InvalidArgumentError unless they are int64, one for each row or one for all."""
    if event_timestamps_us.dtype != np.int64 or event_timestamps_us.ndim != 1:
        raise InvalidArgumentError.of("event_timestamps_us", str(event_timestamps_us.dtype), "int64 microseconds")
    if len(event_timestamps_us) not in (1, rows):
        raise InvalidArgumentError.of(
            "event_timestamps_us", f"{len(event_timestamps_us)} values", f"{rows}, one for each key, or 1 for all"
        )
    return np.ascontiguousarray(event_timestamps_us)


def check_columns(view: str, layout: RowLayout, columns: Mapping[str, Column], rows: int, value_bytes_max: int) -> None:
    """Raises NotFoundError for a feature that the layout does not have, InvalidArgumentError for values that do not fit it."""
    for name, (values, validity) in columns.items():
        slot = layout.slot_of.get(name)
        if slot is None:
            raise NotFoundError.of(f"feature of view {view!r}", name, layout.slot_of)
        if slot.type.is_variable:
            check_strings(name, values, value_bytes_max)
            assert isinstance(values, VarColumn)
            found = len(values.offsets) - 1
        else:
            _check_fixed(slot, values)
            found = len(values)
        if found != rows:
            raise InvalidArgumentError.of(name, f"{found} values", f"{rows}, one for each key")
        if validity is not None and (validity.dtype != np.uint8 or len(validity) < (rows + 7) // 8):
            raise InvalidArgumentError.of(
                f"{name}.validity", f"{len(validity)} bytes of {validity.dtype}", f"{(rows + 7) // 8} bytes of bits"
            )


def _check_fixed(slot: Slot, values: Values) -> None:
    shape = () if slot.type.length is None else (slot.type.length,)
    if not isinstance(values, np.ndarray):
        raise InvalidArgumentError.of(slot.name, type(values).__name__, f"an array of {slot.type}")
    bool_bytes = slot.type.scalar == "bool" and values.dtype == np.uint8
    if (values.dtype != slot.type.stored and not bool_bytes) or values.shape[1:] != shape or not values.flags.c_contiguous:
        raise InvalidArgumentError.of(
            slot.name, f"{values.dtype} of shape {values.shape}", f"a contiguous array of {slot.type}, a row each"
        )
