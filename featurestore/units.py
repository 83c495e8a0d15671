"""Numbers as people read them."""

_BYTE_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def bytes_text(number: int) -> str:
    """``1.5 GiB``."""
    for unit_bytes, unit in _BYTE_UNITS:
        if number >= unit_bytes:
            return f"{number / unit_bytes:.1f} {unit}"
    return f"{number} B"
