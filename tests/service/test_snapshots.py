"""The process that writes a snapshot, and what it gives way to."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from featurestore.service import snapshots
from featurestore.service.snapshots import SnapshotWriter

WRITER = """
import os, pathlib, sys
target, begun = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[1], "begun")
assert not [*target.iterdir()], "expected an empty directory"
(target / "a-part").write_text("")
if begun.is_fifo():  # the first one, which never comes to its end, as where every core is wanted
    while os.sched_getscheduler(0) != os.SCHED_IDLE:
        os.sched_yield()
    begun.write_text("")
    sys.stdin.read()
print(os.sched_getscheduler(0))
"""


def test_one_that_gives_way_and_is_overdue_begins_again_and_takes_its_share(tmp_path: Path) -> None:
    target, begun = tmp_path / "target", tmp_path / "begun"
    target.mkdir()
    os.mkfifo(begun)
    writer = SnapshotWriter([sys.executable, "-c", WRITER], lambda *_: 0, 1)
    with ThreadPoolExecutor(1) as thread:
        written = thread.submit(writer.write, tmp_path, target, 1, gives_way=True)
        begun.read_text()  # returns once the process gives way
        begun.unlink()
        writer.hurry()
        assert written.result(20) == os.SCHED_OTHER


STARVING = """
import os
while os.sched_getscheduler(0) == os.SCHED_IDLE:
    _, waited_ns, _ = map(int, open("/proc/self/schedstat").read().split())
    if waited_ns > 2e9:
        break
print(os.sched_getscheduler(0))
"""


@pytest.fixture
def busy_core() -> Iterator[None]:
    """This thread, and what it starts, have one core, which a program wants throughout."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            yield
        finally:
            busy.kill()
            os.sched_setaffinity(0, cores)


@pytest.mark.parametrize(("is_waited_for", "policy"), [(True, os.SCHED_OTHER), (False, os.SCHED_IDLE)])
def test_one_that_starves_takes_its_share_where_somebody_waits_for_it(
    is_waited_for: bool, policy: int, busy_core: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "PATIENCE_S", 0.5)
    writer = SnapshotWriter([sys.executable, "-ISc", STARVING], lambda *_: 0, 1)
    target = tmp_path / "target"
    target.mkdir()
    with writer.waited_for() if is_waited_for else nullcontext():
        assert writer.write(tmp_path, target, 1, gives_way=True) == policy
