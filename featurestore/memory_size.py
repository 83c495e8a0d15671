"""Sizes of memory as people write them, and how much of it there is."""

import re
from pathlib import Path

_UNITS = {"": 1} | {
    f"{prefix}{unit}": base**power
    for power, prefix in enumerate("KMGT", start=1)
    for unit, base in (("B", 1_000), ("IB", 1_024))
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*|%)", re.IGNORECASE)
_EXPECTED = "expected bytes such as 8GB or 512MiB, or a share of this machine's memory such as 80%"


def bytes_of(text: str) -> int:
    """How many bytes ``8GB``, ``512MiB``, ``1000000`` or ``80%`` are. ValueError, with what is expected, for anything else."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(_EXPECTED)
    number, unit = float(found[1]), found[2].upper()
    if unit == "%":
        if not 0 < number <= 100:
            raise ValueError(_EXPECTED)
        return int(machine_bytes() * number / 100)
    if unit not in _UNITS:
        raise ValueError(_EXPECTED)
    return int(number * _UNITS[unit])


def machine_bytes() -> int:
    """The memory that this machine has, or the container that the process is in, if that is less."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemTotal:"))
    return min([total, *_container_limits()])


def _container_limits() -> list[int]:
    limits = []
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue  # not this kind of control group, or none
        if text.isdecimal():  # not "max"
            limits.append(int(text))
    return limits
