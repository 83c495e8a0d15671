"""Checks of a store's directory: what lies there, whose it is, and who is at work on it."""

import pwd
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from featurestore_client.tables.table import TableReader

from featurestore.doctor.files import files
from featurestore.doctor.finding import Finding, ok, problem, warning
from featurestore.doctor.machine import IN_MEMORY
from featurestore.doctor.place import Place, Space, bytes_below, holder_of
from featurestore.durability import FILE_BYTES, JournalReader, journal_number, latest_snapshot
from featurestore.durability.reading import journal_files
from featurestore.errors import FeatureStoreError
from featurestore.registry import Registry
from featurestore.server.status import SILENT_S
from featurestore.service.snapshots import disk_bytes_max
from featurestore.units import bytes_text

BEHIND_US = 1_000_000
_REMOTE = ("nfs", "cifs", "smb", "9p", "fuse", "ceph", "glusterfs")


def disk_space(place: Place) -> Finding:
    """Journal, snapshot and the next snapshot: three times the rows."""
    name, space = "disk space", Space(place.directory)
    rows, there = sum(place.table_bytes), bytes_below(place.journal)
    may_come = max(0, disk_bytes_max(rows, rows, place.settings.snapshot_bytes_min) - there)
    found = (
        f"{space.path} has {bytes_text(space.free_bytes)} free; {bytes_text(there)} are there, {bytes_text(may_come)} may come"
    )
    change = f"make {bytes_text(may_come - space.free_bytes)} of room there, or move the directory to a larger disk"
    if space.free_bytes < min(FILE_BYTES, may_come):
        return problem(name, f"{found}: writes will be refused", change)
    if space.free_bytes < may_come:
        return warning(name, found, change)
    return ok(name, found)


def disk(place: Place) -> Finding:
    """What a reboot or a container's end takes, and whether a sync means what it says."""
    name, kind, space = "disk", place.file_system(place.directory), Space(place.directory)
    if space.is_read_only:
        found = f"{place.directory} lies on a file system that is mounted read-only: writes are refused"
        return problem(name, found, f"see dmesg for why, then mount -o remount,rw the file system of {space.path}")
    if kind in IN_MEMORY:
        return warning(name, f"{place.directory} lies in memory ({kind}): a reboot takes it", "--directory on a disk")
    if kind == "overlay":
        return warning(name, f"{place.directory} lies in a container's own layer, and goes with it", "mount a volume there")
    if kind.startswith(_REMOTE):
        return warning(
            name, f"{place.directory} lies on {kind}: each sync waits for the network", "--directory on a local disk"
        )
    return ok(name, f"{place.directory} lies on {kind or 'a disk'}")


def formats(place: Place) -> Finding:
    """Whether this version reads what lies there. ``featurestore verify`` reads all of it."""
    name, found = "formats", []
    try:
        registry = Registry.open(place.directory)
        views = len(registry.current.feature_views)
        found.append(f"definitions: version {registry.version}, {views} views")
        snapshot = latest_snapshot(place.journal)
        if snapshot is not None:
            journal_number(snapshot.directory)
            found.append(f"snapshot up to record {snapshot.base}")
        files = journal_files(place.journal)
        journal_number(place.journal)
        found.append(f"journal: {len(files)} files")
        for control in sorted(place.segments.glob("*.*/control")):
            TableReader.attach(control.parent)
        found.append(f"{len(place.tables)} tables")
    except FeatureStoreError as error:
        return problem(name, error.message, "see docs/operations.md, 'A start is refused'")
    return ok(name, ", ".join(found))


def clock_and_journal(place: Place) -> Finding:
    """A clock that was set back gives writes without an event time an earlier one than rows have: they lose."""
    name, files = "clock and journal", journal_files(place.journal)
    newest_us = 0
    try:
        for record in JournalReader(place.journal, files[-1].first_sequence - 1) if files else ():
            newest_us = max(newest_us, record.entry.message.now_us)
    except FeatureStoreError as error:
        return problem(name, error.message, "see docs/operations.md, 'A start is refused'")
    behind_us = newest_us - time.time_ns() // 1_000
    if behind_us > BEHIND_US:
        found = f"the clock is {behind_us / 1e6:,.0f} s behind the newest record of the journal"
        return problem(
            name, found, "set the clock; until then writes without an event time lose against the rows that are there"
        )
    return ok(name, "the clock is ahead of all that was written" if newest_us else "nothing was written yet")


def holder(place: Place) -> Finding:
    """Who has the directory."""
    name = "holder"
    if place.holder is None:
        killed = (place.segments / "status").exists()
        return ok(name, "nobody" + (": its server was killed; the next start takes over what it left" if killed else ""))
    whose = f"process {place.holder}" if place.holder else "a process of another container or namespace"
    return ok(name, f"{whose}, {'a server' if place.processes else 'without a server'}")


def processes(place: Place) -> Finding:
    """Whether each process of the server is at work."""
    return processes_finding([process._asdict() for process in place.processes])


def processes_finding(found: list[dict[str, object]]) -> Finding:
    """The same, of what ``GetStatus`` tells."""
    name = "processes"
    if not found:
        return ok(name, "none")
    silent = [f"{_named(each)} (pid {each['pid']})" for each in found if each["state"] == "silent"]
    if silent:
        change = "look at it (py-spy dump --pid PID); then kill -9 PID: a reader or owner is started again, a server is to be"
        return problem(name, f"not heard of for {SILENT_S:g} s: {', '.join(silent)}", change)
    others = [f"{_named(each)} is {each['state']}" for each in found if each["state"] != "serving"]
    if others:
        return warning(name, ", ".join(others), "wait, and look again")
    restarts = sum(int(str(each["restarts"])) for each in found)
    if restarts:
        return warning(name, f"{len(found)} serving, restarted {restarts} times", "look for 'process ended' in the log")
    return ok(name, f"{len(found)} serving")


def _named(process: dict[str, object]) -> str:
    return f"{process['role']} {process['number'] or ''}".rstrip()


def permissions(place: Place) -> Finding:
    """One user owns it all; nobody else writes any of it, and the journal is nobody else's to read."""
    name = "permissions"
    if not place.directory.exists():
        return ok(name, f"{place.directory} is not there yet: the server makes it")
    owner = place.directory.stat().st_uid
    user = _user(owner)
    for path in _files(place):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if found.st_uid != owner:
            change = f"chown -R {user} {place.directory} {place.segments}"
            return problem(name, f"{path} belongs to {_user(found.st_uid)}, the directory to {user}", change)
        wanted = stat.S_IRWXU if path.is_dir() else stat.S_IRUSR | stat.S_IWUSR
        if found.st_mode & wanted != wanted:
            return problem(name, f"{user} may not read and write {path}", f"chmod u+rwX {path}")
        if found.st_mode & stat.S_IWOTH and not path.is_socket():
            return problem(name, f"everybody may write {path}", f"chmod o-w {path}")
    if place.journal.exists() and place.journal.stat().st_mode & 0o077:
        return warning(name, f"others may read {place.journal}, which holds what was written", f"chmod 700 {place.journal}")
    return ok(name, f"all of it belongs to {user}")


def leftovers(place: Place) -> Finding:
    """What killed processes left. The next start takes its own away."""
    name = "leftovers"
    ours = place.segments.resolve()
    locks = place.system("proc/locks")
    unheld = [
        each
        for each in sorted(ours.parent.glob("featurestore-*"))
        if each.is_dir() and each != ours and (each / "LOCK").exists() and holder_of(each / "LOCK", locks) is None
    ]
    if unheld:
        sizes = ", ".join(f"{each} ({bytes_text(bytes_below(each))})" for each in unheld)
        return warning(
            name, f"tables that no server has: {sizes}", f"rm -r {unheld[0]}, if its directory is not to be started again"
        )
    left = [*place.journal.glob("snapshot.*.new"), *place.journal.glob("*.new"), *place.segments.glob("dropped-*")]
    count = len(set(left))
    if count and place.holder is None:
        return ok(name, f"{count} of a process that was killed: the next start takes them away")
    return ok(name, "none")


def _files(place: Place) -> Iterator[Path]:
    for directory in (place.directory, place.segments):
        if directory.exists():
            yield directory
            yield from directory.rglob("*")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


CHECKS = (disk_space, disk, formats, files, clock_and_journal, holder, processes, permissions, leftovers)
