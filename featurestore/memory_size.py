"""Sizes of memory as people write them, and how much of it there is."""

import re
from collections.abc import Iterator
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


def machine_bytes(root: Path = Path("/")) -> int:
    """The memory that this machine has, or that the control group of this process may have, if that is less.

    ``root``: where the system's own files are.
    """
    return min([meminfo_bytes(root, "MemTotal"), *_group_limits(root)])


def meminfo_bytes(root: Path, name: str) -> int:
    """A line of ``/proc/meminfo``; 0 where there is none."""
    for line in system_text(root, "proc/meminfo").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0


def system_text(root: Path, path: str) -> str:
    """The text of one of the system's files; empty where it is not there."""
    try:
        return (root / path).read_text()
    except OSError:
        return ""


def _group_limits(root: Path) -> Iterator[int]:
    """Of the process's control group, and of those around it."""
    for line in system_text(root, "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        base, name = {"": ("", "memory.max"), "memory": ("memory", "memory.limit_in_bytes")}.get(controllers, ("", ""))
        for group in (Path(path), *Path(path).parents) if name else ():
            limit = system_text(root, f"sys/fs/cgroup/{base}{group}/{name}").strip()
            if limit.isdecimal():  # not "max"
                yield int(limit)
