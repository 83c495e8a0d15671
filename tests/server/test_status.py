"""The board that the processes of a server share."""

import time
from pathlib import Path

import pytest

from featurestore.errors import NotFoundError
from featurestore.server.status import SILENT_S, Counts, Role, State, StatusBoard


def test_another_process_sees_what_is_written(tmp_path: Path) -> None:
    board = StatusBoard.create(2, tmp_path)
    with pytest.raises(NotFoundError, match="status is not there"):
        StatusBoard.attach(tmp_path)
    board.publish()
    reader = board.slots[1].name(Role.READER, 1)
    board.slots[0].name(Role.OWNER).started(1)
    seen = StatusBoard.attach(tmp_path)
    reader.started(77)
    reader.counts = lambda: Counts(3, 12, 2)
    reader.beat()
    reader.turn(State.SERVING)
    status = seen.read()[1]
    assert (status.role, status.number, status.state, status.pid) == ("reader", 1, "serving", 77)
    assert (status.connections, status.requests, status.refused, status.restarts) == (3, 12, 2, 0)
    assert status.resident_bytes > status.shared_bytes > 0
    reader.turn(State.GONE)
    reader.count_restart()
    assert (seen.read()[1].state, seen.read()[1].restarts, seen.read()[1].uptime_s) == ("gone", 1, 0)
    reader.started(78)
    assert (seen.read()[1].state, seen.read()[1].requests, seen.read()[1].refused) == ("starting", 0, 0)
    board.remove()
    with pytest.raises(NotFoundError):
        StatusBoard.attach(tmp_path)


def test_who_says_nothing_is_silent(tmp_path: Path) -> None:
    board = StatusBoard.create(1)
    slot = board.slots[0].name(Role.SERVER)
    slot.started(1)
    now_us = time.time_ns() // 1_000
    assert slot.read(now_us).state == "starting"
    assert slot.read(now_us + int((SILENT_S + 1) * 1e6)).state == "silent"


@pytest.mark.parametrize("content", [b"", b"x", bytes(4096), b"FSSTATUS" + b"\xff" * 200])
def test_what_is_no_board_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "status").write_bytes(content)
    with pytest.raises(NotFoundError):
        StatusBoard.attach(tmp_path)
