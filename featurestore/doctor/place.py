"""What the checks look at: a directory, its segments, and the machine. Opens for reading alone, and takes no lock.

``root`` stands for ``/`` where the system's own files are read, so that tests can put others in their place.
"""

import os
import resource
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from featurestore_client.tables.table import TableReader

from featurestore.errors import FeatureStoreError, NotFoundError
from featurestore.lock import FILE_NAME
from featurestore.memory_size import machine_bytes, meminfo_bytes, system_text
from featurestore.server.status import ProcessStatus, StatusBoard
from featurestore.service.recovery import DIRECTORY_NAME
from featurestore.settings import Settings


class Space:
    """A file system, as far as a path of it tells; of a path that is not there yet, its nearest parent that is."""

    def __init__(self, path: Path) -> None:
        path = path.absolute()
        self.path = next(each for each in (path, *path.parents) if each.exists())
        found = os.statvfs(self.path)
        self.bytes = found.f_blocks * found.f_frsize
        self.free_bytes = found.f_bavail * found.f_frsize
        self.is_read_only = bool(found.f_flag & os.ST_RDONLY)


@dataclass(frozen=True)
class Place:
    """One store's directory on this machine."""

    settings: Settings
    root: Path = Path("/")

    @property
    def directory(self) -> Path:
        """Definitions and journal."""
        return self.settings.directory

    @property
    def journal(self) -> Path:
        """Of that directory."""
        return self.directory / DIRECTORY_NAME

    @property
    def segments(self) -> Path:
        """Where the tables lie."""
        return self.settings.segments_directory

    def system(self, path: str) -> str:
        """The text of one of the system's files; empty where it is not there."""
        return system_text(self.root, path)

    @cached_property
    def tables(self) -> list[TableReader]:
        """Those that can be mapped."""
        found = []
        for control in sorted(self.segments.glob("*.*/control")):
            try:
                found.append(TableReader.attach(control.parent))
            except (FeatureStoreError, OSError):
                continue  # the check of formats says why; or it was dropped meanwhile
        return found

    @cached_property
    def table_bytes(self) -> list[int]:
        """Memory of each table."""
        return [table.stats().memory_bytes for table in self.tables]

    @cached_property
    def holder(self) -> int | None:
        """The process that has the directory; 0: one that cannot be seen from here; None: nobody has."""
        locks = self.system("proc/locks")
        holders = (holder_of(place / FILE_NAME, locks) for place in (self.segments, self.directory))
        return next((holder for holder in holders if holder is not None), None)

    @cached_property
    def processes(self) -> list[ProcessStatus]:
        """Of the server that holds the directory; none where there is no server."""
        try:
            return StatusBoard.attach(self.segments).read() if self.holder is not None else []
        except NotFoundError:
            return []

    def limit(self, name: str, own: int) -> int | None:
        """Of the process that has the directory, as ``/proc/PID/limits`` calls it; else this one's. None: there is no limit."""
        for line in self.system(f"proc/{self.holder}/limits").splitlines() if self.holder else ():
            if line.startswith(name):
                hard = line[len(name) :].split()[1]
                return None if hard == "unlimited" else int(hard)
        hard_limit = resource.getrlimit(own)[1]
        return None if hard_limit == resource.RLIM_INFINITY else hard_limit

    def file_system(self, path: Path) -> str:
        """The type of the file system that a path lies on."""
        target, best, kind = Space(path).path.resolve(), -1, ""
        for line in self.system("proc/mounts").splitlines():
            _, mounted, found, *_ = line.split()
            if target.is_relative_to(mounted) and len(mounted) >= best:
                best, kind = len(mounted), found
        return kind

    def memory_bytes(self) -> tuple[int, str]:
        """What the machine has, or the control group allows, and which of them it is."""
        found = machine_bytes(self.root)
        return found, "the machine has" if found == self.meminfo_bytes("MemTotal") else "the control group allows"

    def meminfo_bytes(self, name: str) -> int:
        """A line of ``/proc/meminfo``; 0 where there is none."""
        return meminfo_bytes(self.root, name)


def holder_of(lock: Path, locks: str) -> int | None:
    """Who has a lock on that file, by the system's list of locks; 0: somebody that cannot be seen from here."""
    try:
        found = lock.stat()
    except OSError:
        return None
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in locks.splitlines():
        words = line.split()
        if "FLOCK" in words and wanted in words and "->" not in words:
            return max(0, int(words[words.index(wanted) - 1]))
    return None


def bytes_below(directory: Path) -> int:
    """What the files of a directory take on disk or in memory."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:  # gone meanwhile
            continue
    return total
