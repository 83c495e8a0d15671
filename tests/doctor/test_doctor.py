"""What the doctor says of directories and machines that have something wrong with them, and that it changes nothing."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from featurestore_client import connect

import featurestore
from featurestore.doctor import Finding, Place, Verdict, examine, examine_status, machine
from featurestore.durability import Journal, Kind, Message
from featurestore.server.status import Role, State, StatusBoard
from featurestore.settings import load_settings
from tests.conftest import StartServer, new_directory

DEFINITIONS = {
    "entities": [{"name": "user", "join_keys": [{"name": "user", "type": "int64"}]}],
    "feature_views": [{"name": "users", "entity": "user", "features": [{"name": "a", "type": "float32[200]"}]}],
}


def place_of(directory: Path, root: Path = Path("/"), **flags: object) -> Place:
    return Place(load_settings({"directory": directory, "segments": directory / "segments", **flags})[0], root)


def finding(place: Place, check: str) -> Finding:
    """What that check says; every check speaks, and each says what to change where something is."""
    findings = {each.check: each for each in examine(place)}
    assert len(findings) == 21
    for each in findings.values():
        assert bool(each.change) == (each.verdict is not Verdict.OK)
    return findings[check]


def contents(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All that can be told of the files of a directory, less what a living server moves."""
    found = {}
    for path in sorted(directory.rglob("*")):
        stat = path.lstat()
        data = path.read_bytes() if path.is_file() and stat.st_size < 1 << 20 else b""
        found[str(path)] = (stat.st_mode, stat.st_size, stat.st_mtime_ns, data)
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Of a store with one table and a few rows, which nobody holds."""
    directory = tmp_path / "data"
    with featurestore.open(directory, segments=directory / "segments") as client:
        client.apply(DEFINITIONS)
        client.write("users", {"user": [*range(100)], "a": [[1.0] * 200] * 100})
    return directory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """In place of ``/``: a machine in whose system files a test writes what it likes."""
    root = tmp_path / "root"
    write_system(root, "proc/sys/kernel/osrelease", "6.1.0-13-amd64\n")
    write_system(root, "proc/meminfo", f"MemTotal: {16 << 20} kB\nSwapTotal: 0 kB\n")
    write_system(root, "sys/kernel/mm/transparent_hugepage/shmem_enabled", "always [advise] never\n")
    return root


def write_system(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.fixture
def small_memory(tmp_path: Path) -> Iterator[Path]:
    """As much shared memory as a container gets."""
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(mount)], check=False).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


# -------------------------------------------------------------------------------------------------------------- directory


def test_it_changes_nothing(directory: Path):
    before = contents(directory)
    assert not [each for each in examine(place_of(directory)) if each.verdict is Verdict.PROBLEM]
    assert contents(directory) == before


def test_of_a_directory_that_is_not_there_it_says_what_is_known_and_makes_none(tmp_path: Path):
    assert not [each for each in examine(place_of(tmp_path / "none" / "at all")) if each.verdict is Verdict.PROBLEM]
    assert not (tmp_path / "none").exists()


def test_a_newer_or_damaged_file_is_a_problem_in_the_words_of_a_start(directory: Path):
    registry = directory / "registry.json"
    kept = registry.read_text()
    registry.write_text(json.dumps({**json.loads(kept), "format": 99}))
    assert "a newer featurestore wrote it" in finding(place_of(directory), "formats").found
    registry.write_text(kept)
    file = next((directory / "journal").glob("*.journal"))
    data = file.read_bytes()
    file.write_bytes(b"\0" + data[1:])
    assert finding(place_of(directory), "formats")[:2] == ("formats", Verdict.PROBLEM)
    assert f"{file}: got damage at byte 0" in finding(place_of(directory), "formats").found
    file.write_bytes(data)
    arena = directory / "segments" / "default.users" / "control"
    data = arena.read_bytes()
    arena.write_bytes(data[:8] + b"\x63" + data[9:])
    assert "has format 99, this version reads" in finding(place_of(directory), "formats").found
    arena.write_bytes(data)
    assert finding(place_of(directory), "formats").verdict is Verdict.OK


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    """Of a store with a snapshot, a former version, and several files in each journal."""
    directory = tmp_path / "rich"
    with featurestore.open(directory, segments=directory / "segments") as client:
        client.apply(DEFINITIONS)
        client.write("users", {"user": [*range(100)], "a": [[1.0] * 200] * 100})
        client.replace("users", {"user": [*range(50)], "a": [[2.0] * 200] * 50})
        client.take_snapshot()
        client.write("users", {"user": [1], "a": [[3.0] * 200]})
    assert finding(place_of(directory), "files").verdict is Verdict.OK
    return directory


def test_it_says_that_verify_reads_more(rich: Path):
    found = finding(place_of(rich), "files").found
    assert found == (
        f"those that a start reads are there, by their beginnings and ends; featurestore verify {rich} reads everything"
    )


def remove_registry(directory: Path) -> None:
    (directory / "registry.json").unlink()


def remove_journal(directory: Path) -> None:
    shutil.rmtree(directory / "journal")


def remove_snapshot(directory: Path) -> None:
    shutil.rmtree(next(directory.glob("journal/snapshot-*")))


def remove_file_of_snapshot(directory: Path) -> None:
    next(directory.glob("journal/snapshot-*/*")).unlink()


def flip_last_byte_of_snapshot(directory: Path) -> None:
    path = next(directory.glob("journal/snapshot-*/*"))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def cut_former_version(directory: Path) -> None:
    path = next(directory.glob("journal/versions/default.users/1-*/*"))
    os.truncate(path, path.stat().st_size - 8)


def remove_former_version(directory: Path) -> None:
    shutil.rmtree(next(directory.glob("journal/versions/default.users/1-*")))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (remove_registry, "/registry.json is not there, and without it nobody knows the views of the rows in "),
        (remove_journal, "/journal is not there, and what was written to 1 views is in it"),
        (remove_snapshot, "/journal: got a first file that begins with record 2, expected 1 in it, or a snapshot in its place"),
        (remove_file_of_snapshot, ": got no file, expected "),
        (flip_last_byte_of_snapshot, " at its end: it is damaged, or files behind it are missing"),
        (cut_former_version, " at its end: it is damaged, or files behind it are missing"),
        (remove_former_version, "/versions/default.users: version 1 of that view's rows is not there"),
    ],
)
def test_what_a_start_or_a_rollback_would_miss_is_a_problem(rich: Path, damage: Callable[[Path], None], expected: str):
    damage(rich)
    found = finding(place_of(rich), "files")
    assert found.verdict is Verdict.PROBLEM
    assert expected in found.found
    assert found.change.endswith(f"or restore one; featurestore verify {rich} says what can be recovered")


def test_a_gap_in_the_journal_is_a_problem(directory: Path):
    shutil.rmtree(directory / "journal")
    (directory / "journal").mkdir(mode=0o700)
    journal = Journal(directory / "journal", 7, 0, fsync="never", fsync_interval_s=1, file_bytes=150)
    for _ in range(20):
        journal.applied(journal.append(Message(Kind.WRITE, b"", 1), "default", "users", 1))
    journal.close()
    assert finding(place_of(directory), "files").verdict is Verdict.OK
    paths = sorted((directory / "journal").glob("*.journal"))
    paths[2].unlink()
    found = finding(place_of(directory), "files")
    assert found.verdict is Verdict.PROBLEM
    assert found.found.startswith(f"{paths[1]}: got no whole record {int(paths[3].stem) - 1} at its end")


def test_a_disk_that_is_mounted_read_only_is_a_problem(directory: Path, small_memory: Path):
    place = place_of(small_memory, segments=directory / "segments")
    assert finding(place, "disk").verdict is Verdict.WARNING  # it is memory
    subprocess.run(["mount", "-o", "remount,ro", str(small_memory)], check=True)
    found = finding(place, "disk")
    assert found.verdict is Verdict.PROBLEM
    assert "mounted read-only: writes are refused" in found.found


def test_a_clock_that_was_set_back_is_told_by_the_newest_record(directory: Path):
    journal_directory = directory / "journal"
    shutil.rmtree(journal_directory)
    journal_directory.mkdir(mode=0o700)
    journal = Journal(journal_directory, 7, 0, fsync="never", fsync_interval_s=1)
    tomorrow_us = time.time_ns() // 1_000 + 86_400_000_000
    for at_us in (tomorrow_us, tomorrow_us - 5):
        journal.applied(journal.append(Message(Kind.WRITE, b"", at_us), "default", "users", 1))
    journal.close()
    found = finding(place_of(directory), "clock and journal")
    assert found.verdict is Verdict.PROBLEM
    assert found.found.startswith("the clock is 86,")


@pytest.mark.parametrize(
    ("path", "mode", "verdict", "change"),
    [
        ("registry.json", 0o646, Verdict.PROBLEM, "chmod o-w "),
        ("journal", 0o500, Verdict.PROBLEM, "chmod u+rwX "),
        ("journal", 0o755, Verdict.WARNING, "chmod 700 "),
        ("segments/LOCK", 0o400, Verdict.PROBLEM, "chmod u+rwX "),
    ],
)
def test_permissions_that_are_in_the_way(directory: Path, path: str, mode: int, verdict: Verdict, change: str):
    (directory / path).chmod(mode)
    found = finding(place_of(directory), "permissions")
    assert (found.verdict, found.change) == (verdict, f"{change}{directory / path}")


def test_a_file_of_another_user_is_a_problem(directory: Path):
    if os.geteuid():
        pytest.skip("needs the right to give a file away")
    os.chown(directory / "registry.json", 12_345, 0)
    found = finding(place_of(directory), "permissions")
    assert found.found == f"{directory / 'registry.json'} belongs to 12345, the directory to root"
    assert found.change == f"chown -R root {directory} {directory / 'segments'}"


def test_what_killed_processes_left_is_told(directory: Path):
    (directory / "journal" / "snapshot.x.new").mkdir()
    (directory / "segments" / "dropped-default.old").mkdir()
    assert finding(place_of(directory), "leftovers").found.startswith("2 of a process that was killed")
    with new_directory() as memory:
        for name in ("featurestore-0-ours", "featurestore-0-others"):
            with featurestore.open(directory / name, segments=memory / name):
                pass
        found = finding(place_of(directory, segments=memory / "featurestore-0-ours"), "leftovers")
        assert found.verdict is Verdict.WARNING
        assert str(memory / "featurestore-0-others") in found.found
        assert str(memory / "featurestore-0-ours") not in found.found


def test_who_holds_the_directory_and_what_is_silent(directory: Path):
    assert finding(place_of(directory), "holder").found == "nobody"
    with featurestore.open(directory, segments=directory / "segments"):
        assert finding(place_of(directory), "holder").found == f"process {os.getpid()}, without a server"
        board = StatusBoard.create(2, directory / "segments")
        for number, slot in enumerate(board.slots, start=1):
            slot.name(Role.READER, number).started(1_000 + number)
            slot.turn(State.SERVING)
        board.publish()
        assert finding(place_of(directory), "holder").found == f"process {os.getpid()}, a server"
        assert finding(place_of(directory), "processes")[1:3] == (Verdict.OK, "2 serving")
        board.slots[1].count_restart()
        assert finding(place_of(directory), "processes")[1:3] == (Verdict.WARNING, "2 serving, restarted 1 times")
        board.slots[0]._words[10] -= 10_000_000  # heard of ten seconds ago
        found = finding(place_of(directory), "processes")
        assert found[1:3] == (Verdict.PROBLEM, "not heard of for 5 s: reader 1 (pid 1001)")
    found = finding(place_of(directory), "holder")
    assert found.found == "nobody: its server was killed; the next start takes over what it left"
    assert finding(place_of(directory), "processes").found == "none"


# ------------------------------------------------------------------------------------------------------------------ space


def test_shared_memory_of_a_containers_size_is_a_problem(directory: Path, small_memory: Path):
    found = finding(place_of(directory, segments=small_memory / "segments"), "segments space")
    assert found.verdict is Verdict.PROBLEM
    assert "what a container gets unless told" in found.found
    assert f"mount -o remount,size=1G {small_memory}" in found.change


def test_a_table_that_is_there_once_has_to_fit_twice(directory: Path, small_memory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "SHM_OF_A_CONTAINER", 1 << 20)
    segments = small_memory / "segments"
    with featurestore.open(directory, segments=segments) as client:
        client.write("users", {"user": [*range(42_000)], "a": [[1.0] * 200] * 42_000})
    found = finding(place_of(directory, segments=segments), "segments space")
    assert found.verdict is Verdict.WARNING
    assert "view users takes " in found.found
    (small_memory / "filler").write_bytes(bytes(15 << 20))
    assert finding(place_of(directory, segments=segments), "segments space").verdict is Verdict.PROBLEM


def test_a_disk_without_room_for_the_journal(directory: Path, small_memory: Path):
    place = place_of(small_memory / "data", segments=directory / "segments")
    assert finding(place, "disk space").verdict is Verdict.WARNING
    (small_memory / "filler").write_bytes(bytes(4 << 20))
    assert finding(place, "disk space").verdict is Verdict.PROBLEM
    assert finding(place, "disk")[1:3] == (
        Verdict.WARNING,
        f"{small_memory / 'data'} lies in memory (tmpfs): a reboot takes it",
    )
    enough = place_of(small_memory / "data", segments=directory / "segments", snapshot_bytes_min=1)
    assert finding(enough, "disk space").verdict is Verdict.OK


# ---------------------------------------------------------------------------------------------------------------- machine


@pytest.mark.parametrize(
    ("check", "path", "text", "verdict", "change"),
    [
        ("huge pages", "sys/kernel/mm/transparent_hugepage/shmem_enabled", "always [deny]", Verdict.WARNING, "echo advise >"),
        ("huge pages", "sys/kernel/mm/transparent_hugepage/shmem_enabled", "", Verdict.WARNING, "use another kernel"),
        ("huge pages", "proc/sys/kernel/osrelease", "5.10.0\n", Verdict.WARNING, "mount -o remount,huge=advise"),
        ("memory mappings", "proc/sys/vm/max_map_count", "1000\n", Verdict.PROBLEM, "sysctl -w vm.max_map_count="),
        ("swap", "proc/meminfo", f"MemTotal: {16 << 20} kB\nSwapTotal: 2048 kB\n", Verdict.WARNING, "swapoff -a"),
        ("memory limit", "proc/meminfo", f"MemTotal: {100 << 10} kB\n", Verdict.PROBLEM, "raise it"),
        ("memory limit", "proc/meminfo", f"MemTotal: {900 << 10} kB\n", Verdict.WARNING, "raise it"),
        ("cores", "sys/fs/cgroup/cpu.max", "100000 100000\n", Verdict.WARNING, "--workers 0"),
    ],
)
def test_a_machine_that_lacks_something(
    directory: Path, root: Path, check: str, path: str, text: str, verdict: Verdict, change: str
):
    healthy = place_of(directory, root)
    assert finding(healthy, check).verdict is Verdict.OK
    write_system(root, path, text)
    found = finding(place_of(directory, root, workers=1), check)
    assert found.verdict is verdict
    assert found.change.startswith(change)


@pytest.mark.parametrize(
    ("cgroup", "file"),
    [
        ("0::/system.slice/featurestore.service\n", "sys/fs/cgroup/system.slice/memory.max"),
        ("0::/\n", "sys/fs/cgroup/memory.max"),
        ("4:memory:/a\n0::/\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes"),
    ],
)
def test_the_limit_of_a_control_group_counts(directory: Path, root: Path, cgroup: str, file: str):
    write_system(root, "proc/self/cgroup", cgroup)
    write_system(root, file, f"{128 << 20}\n")
    found = finding(place_of(directory, root), "memory limit")
    assert found.verdict is Verdict.PROBLEM
    assert found.found.startswith("the control group allows 128.0 MiB")
    write_system(root, file, "max\n")
    assert finding(place_of(directory, root), "memory limit").found.startswith("the machine has 16.0 GiB")


def test_a_clock_that_nobody_sets_is_a_warning(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "clock_status", lambda: 0x40)
    assert finding(place_of(directory), "clock").verdict is Verdict.WARNING
    monkeypatch.setattr(machine, "clock_status", lambda: 0x2001)
    assert finding(place_of(directory), "clock")[1:3] == (Verdict.OK, "synchronized")


# ---------------------------------------------------------------------------------------------------------------- command


def test_the_command_ends_with_1_where_there_is_a_problem_and_prints_json(directory: Path):
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, 1_024))
        resource.setrlimit(resource.RLIMIT_AS, (20 << 30, 20 << 30))

    command = [sys.executable, "-m", "featurestore", "doctor", "--directory", directory, "--segments", directory / "segments"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEATURESTORE_")}
    run = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout)["problems"] == 0
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, preexec_fn=limited)
    assert (run.returncode, run.stderr) == (1, "")
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines if " open files " in line] == ["warning"]
    assert [line.split()[0] for line in lines if " address space   " in line] == ["problem"]
    assert any(line.strip() == "-> ulimit -v unlimited" for line in lines)
    assert "cannot reserve " in run.stdout, "the check of formats maps the tables"
    assert "21 checks, 2 problems, " in lines[-1]


def test_a_server_is_looked_at_while_it_serves_and_by_what_it_tells(start_server: StartServer):
    server = start_server("--workers", "1")
    with connect(server.url) as client:
        client.apply(DEFINITIONS)
        client.write("users", {"user": [1], "a": [[1.0] * 200]})
        place = place_of(server.directory)
        assert finding(place, "processes").found == "3 serving"
        assert place.holder == next(each.pid for each in place.processes if each.role == "owner")
        assert finding(place, "permissions").verdict is Verdict.OK
        assert finding(place, "formats").found.endswith("journal: 1 files, 1 tables")
        status = client.status()
        assert [each.verdict for each in examine_status(status)] == [Verdict.OK, Verdict.OK]
        assert examine_status({**status, "version": "0.0.1"})[0].verdict is Verdict.WARNING
        client.write("users", {"user": [2], "a": [[1.0] * 200]})
    command = [sys.executable, "-m", "featurestore", "doctor"]
    environment = {**os.environ, "FEATURESTORE_SERVER": server.url}
    for asked in ([*command, "--server", server.url], command):
        run = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stdout.splitlines()[-1]) == (0, "2 checks, 0 problems, 0 warnings")
    here = [*command, "--directory", server.directory, "--segments", server.directory / "segments"]
    run = subprocess.run(here, env=environment, capture_output=True, text=True, check=False)
    assert "21 checks, " in run.stdout.splitlines()[-1]
