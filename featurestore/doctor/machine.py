"""Checks of the machine: whether it has what a server on this directory needs."""

import ctypes
import math
import os
import platform
import resource
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from featurestore.doctor.finding import Finding, ok, problem, warning
from featurestore.doctor.place import Place, Space, bytes_below
from featurestore.units import bytes_text

PACKAGES = ("featurestore", "featurestore-client", "numpy", "protobuf", "grpcio", "uvloop", "pydantic")
SHM_OF_A_CONTAINER = 64 << 20
SPARE_BYTES = 16 << 20
PROCESS_BYTES = 1 << 30
"""Of what is no row: the processes, and what requests hold for a while (docs/container.md)."""
ARENA_BYTES = 2 << 30
"""Of address space that a shard reserves, rows and strings (``store/memory.pyx``)."""
IN_MEMORY = ("tmpfs", "ramfs", "hugetlbfs")
_STATUS_OFFSET, _TIMEX_BYTES, _UNSYNCHRONIZED = 40, 256, 0x40
"""Of ``struct timex`` (``adjtimex(2)``)."""


def segments_space(place: Place) -> Finding:
    """Rows have to fit, and a table whose schema changes twice."""
    name, space, largest = "segments space", Space(place.segments), max(place.table_bytes, default=0)
    wanted = math.ceil((bytes_below(place.segments) + 2 * largest + space.bytes // 4) / (1 << 30))
    found = f"{space.path} has {bytes_text(space.free_bytes)} free of {bytes_text(space.bytes)}"
    larger = f"docker run --shm-size={wanted}g, or mount -o remount,size={wanted}G {_mounted_at(place, space.path)}"
    if place.file_system(place.segments) not in IN_MEMORY:
        larger = "make room there, or put segments elsewhere (--segments)"
    if space.bytes <= SHM_OF_A_CONTAINER:
        return problem(name, f"{found}: what a container gets unless told", larger)
    if space.free_bytes < SPARE_BYTES:
        return problem(name, f"{found}: tables cannot grow, writes are refused", larger)
    if space.free_bytes < largest:
        view = place.tables[place.table_bytes.index(largest)].view.view
        more = f"view {view} takes {bytes_text(largest)}, and as much again while its schema changes"
        return warning(name, f"{found}; {more}", larger)
    return ok(name, f"{found}; tables take {bytes_text(sum(place.table_bytes))}")


def segments_memory(place: Place) -> Finding:
    """Rows belong into memory."""
    name, kind = "segments memory", place.file_system(place.segments)
    if kind in IN_MEMORY:
        return ok(name, f"{place.segments} lies in memory ({kind})")
    return warning(name, f"{place.segments} lies on {kind or 'a disk'}: rows are read at its pace", "--segments /dev/shm/NAME")


def huge_pages(place: Place) -> Finding:
    """A large table is bound by TLB misses; the store asks for huge pages once a load is over."""
    name = "huge pages"
    mode = place.system("sys/kernel/mm/transparent_hugepage/shmem_enabled").partition("[")[2].partition("]")[0]
    if not mode:
        return warning(name, "this kernel has none for shared memory: large tables are read more slowly", "use another kernel")
    file = "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
    if mode == "deny":
        return warning(name, "shmem_enabled is deny: large tables are read more slowly", f"echo advise > {file}")
    if _kernel(place) < (6, 1) and mode != "force" and "huge=" not in _mount_options(place):
        change = f"mount -o remount,huge=advise {_mounted_at(place, Space(place.segments).path)}"
        return warning(name, "before Linux 6.1 they are had by a mount's option alone, and it is not set", change)
    huge = bytes_text(place.meminfo_bytes("ShmemHugePages"))
    return ok(name, f"shmem_enabled is {mode}; {huge} of shared memory are in such pages")


def open_files(place: Place) -> Finding:
    """A connection is a file; segments are mapped, and their files closed again."""
    name, limit = "open files", place.limit("Max open files", resource.RLIMIT_NOFILE)
    if limit is None:
        return ok(name, "any number a process")
    try:
        from featurestore.server.grpc_connection import ConnectionLimits  # noqa: PLC0415  may not be built
        from featurestore.server.grpc_native import FILES_KEPT  # noqa: PLC0415
    except ImportError:
        return ok(name, f"{limit:,} a process")
    connections = ConnectionLimits().connections_max
    wanted = connections + FILES_KEPT
    change = f"ulimit -n {2 * wanted}; systemd: LimitNOFILE={2 * wanted}; docker run --ulimit nofile={2 * wanted}"
    if limit >= wanted:
        return ok(name, f"{limit:,} a process, {wanted:,} are needed for all connections")
    if limit <= FILES_KEPT:
        return problem(name, f"{limit:,} a process: too few for any connection", change)
    return warning(name, f"{limit:,} a process: {limit - FILES_KEPT:,} connections, not {connections:,}", change)


def mappings(place: Place) -> Finding:
    """Each process maps two files a shard, and the next ones beside them while a table changes."""
    name, limit = "memory mappings", int(place.system("proc/sys/vm/max_map_count") or 0)
    wanted = 1_000 + 4 * sum(table.stats().shards for table in place.tables)
    if not limit or wanted <= limit:
        return ok(name, f"{limit:,} a process, at most {wanted:,} are needed")
    change = f"sysctl -w vm.max_map_count={2 * wanted}; or fewer shards (--shards) of new tables"
    return problem(name, f"{limit:,} a process, up to {wanted:,} are needed for {len(place.tables)} tables", change)


def memory_limit(place: Place) -> Finding:
    """What lies in shared memory counts against the control group's limit."""
    name, rows = "memory limit", sum(place.table_bytes)
    limit, whose = place.memory_bytes()
    found = f"{whose} {bytes_text(limit)}; tables take {bytes_text(rows)}"
    change = "raise it (docker run --memory, MemoryMax=, resources.limits.memory) to the rows, the largest table and a GiB more"
    if limit < rows + PROCESS_BYTES // 4:
        return problem(name, f"{found}: processes will be killed for it", change)
    if limit < rows + max(place.table_bytes, default=0) + PROCESS_BYTES:
        return warning(name, f"{found}: too little to change the schema of the largest", change)
    return ok(name, found)


def address_space(place: Place) -> Finding:
    """Segments are sparse, and reserve much more than they take."""
    name, limit = "address space", place.limit("Max address space", resource.RLIMIT_AS)
    mapped = sum(path.stat().st_size for path in place.segments.glob("*.*/arena-*"))
    wanted = max(mapped, ARENA_BYTES * place.settings.shards)
    if limit is None:
        return ok(name, "not limited")
    found = f"limited to {bytes_text(limit)}; tables map {bytes_text(wanted)}, most of it never used"
    return problem(name, found, "ulimit -v unlimited") if limit < wanted else ok(name, found)


def swap(place: Place) -> Finding:
    """Rows that were swapped out are read from a disk."""
    name, swap_bytes = "swap", place.meminfo_bytes("SwapTotal")
    if not swap_bytes:
        return ok(name, "none")
    used = swap_bytes - place.meminfo_bytes("SwapFree")
    change = "swapoff -a; or MemorySwapMax=0 of the service, docker run --memory-swap as large as --memory"
    return warning(name, f"{bytes_text(swap_bytes)}, {bytes_text(used)} in use: rows may be swapped out", change)


def clock(_: Place) -> Finding:
    """Rows expire by it, and writes without an event time are given its time."""
    name = "clock"
    state = clock_status()
    if state is None:
        return ok(name, "whether it is synchronized cannot be told here")
    if state & _UNSYNCHRONIZED:
        change = "timedatectl set-ntp true, or start chronyd; in a guest, its host's clock"
        return warning(name, "it is not synchronized with any other", change)
    return ok(name, "synchronized")


def clock_status() -> int | None:
    """The status bits of ``adjtimex``, which reads without any right; None where it may not be called."""
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    if ctypes.CDLL(None, use_errno=True).adjtimex(buffer) < 0:
        return None
    return ctypes.c_int.from_buffer(buffer, _STATUS_OFFSET).value


def cores(place: Place) -> Finding:
    """Each reader wants one, and the owner while it writes."""
    name, count = "cores", float(len(os.sched_getaffinity(0)))
    quota, _, period = place.system("sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdecimal():
        count = min(count, int(quota) / int(period))
    workers = sum(process.role == "reader" for process in place.processes) or place.settings.workers
    if workers + 1 > count and workers:
        return warning(name, f"{count:g} for an owner and {workers} readers", f"--workers {max(0, int(count) - 1)}")
    return ok(name, f"{count:g}, {workers} readers beside the owner" if workers else f"{count:g}, one process")


def engine(_: Place) -> Finding:
    """The native engine answers several times as many requests as grpcio."""
    name = "gRPC engine"
    try:
        from featurestore.server import grpc_native  # noqa: F401, PLC0415  whether it can be
    except ImportError as error:
        change = "apt-get install libnghttp2-dev pkg-config gcc, then install featurestore-client again; or take its wheel"
        return warning(name, f"grpcio alone, the native one cannot be loaded ({error})", change)
    return ok(name, f"native, libnghttp2 {_nghttp2_version() or 'of an unknown version'}")


def versions(place: Place) -> Finding:
    """Server and client are released together."""
    name, found = "versions", {package: _version(package) for package in PACKAGES}
    kernel = place.system("proc/sys/kernel/osrelease").strip() or platform.release()
    packages = [f"{package} {number}" for package, number in found.items() if number]
    text = ", ".join([f"python {platform.python_version()}", f"linux {kernel}", *packages])
    if found["featurestore"] != found["featurestore-client"]:
        return warning(name, text, f"pip install featurestore-client=={found['featurestore']}")
    return ok(name, text)


CHECKS = (
    segments_space,
    segments_memory,
    huge_pages,
    memory_limit,
    address_space,
    mappings,
    swap,
    open_files,
    cores,
    clock,
    engine,
    versions,
)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _kernel(place: Place) -> tuple[int, int]:
    major, minor, *_ = place.system("proc/sys/kernel/osrelease").split(".")
    return int(major), int(minor)


def _mounted_at(place: Place, path: Path) -> str:
    mounted = [line.split()[1] for line in place.system("proc/mounts").splitlines()]
    return max((each for each in mounted if path.resolve().is_relative_to(each)), key=len, default="/dev/shm")  # noqa: S108  read only


def _mount_options(place: Place) -> str:
    at = _mounted_at(place, Space(place.segments).path)
    return next((line.split()[3] for line in reversed(place.system("proc/mounts").splitlines()) if line.split()[1] == at), "")


def _nghttp2_version() -> str:
    """Of the library that the session was loaded with."""

    class Info(ctypes.Structure):
        _fields_ = (("age", ctypes.c_int), ("number", ctypes.c_int), ("text", ctypes.c_char_p))

    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split()[-1]
        if "libnghttp2" in path:
            ask = ctypes.CDLL(path).nghttp2_version
            ask.restype = ctypes.POINTER(Info)
            return str(ask(0).contents.text.decode())
    return ""
