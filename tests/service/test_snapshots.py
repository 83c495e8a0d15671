"""The process that writes a snapshot, and what it gives way to."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
