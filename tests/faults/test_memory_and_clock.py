"""Shared memory that is too small, clocks that are set back, and event times from the far past and future."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from featurestore_client.errors import ResourceExhaustedError

from tests.faults.oracle import connect
from tests.faults.servers import Servers, servers

HOUR_US = 3_600_000_000
FIRST_US, LAST_US = -(1 << 63), (1 << 63) - 1
"""The earliest event time, which NumPy shows as NaT, and the latest: some 292,000 years from now."""


def definitions(**view: object) -> dict[str, object]:
    entity = {"name": "e", "join_keys": [{"name": "k", "type": "int64"}]}
    return {"entities": [entity], "feature_views": [{"name": "v", "entity": "e", **view}]}


WIDE = definitions(features=[{"name": "a", "type": "float32[500]"}])
PLAIN = definitions(features=[{"name": "a", "type": "int64"}])


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Servers]:
    """A server whose segments lie in a file system of four megabytes."""
    with servers(tmp_path, shards="1") as server:
        server.segments.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(server.segments)], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
        try:
            yield server
        finally:
            server.close()
            subprocess.run(["umount", "--lazy", str(server.segments)], check=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Servers]:
    with servers(tmp_path) as each:
        yield each


# ----------------------------------------------------------------------------------------------------------------- memory


def test_full_shared_memory_refuses_writes_reads_go_on_and_more_of_it_is_all_it_takes(small: Servers):
    small.start()
    with connect(small.url) as client:
        client.apply(WIDE)
        written, sentence = 0, ""
        while not sentence:
            try:
                client.write("v", {"k": [*range(written, written + 100)], "a": [[float(written)] * 500] * 100})
                written += 100
            except ResourceExhaustedError as error:
                sentence = error.message
        assert sentence.startswith(f"memory for segments is full: {small.segments}/default.v has ")
        assert "docker run --shm-size" in sentence
        assert written > 500
        values = client.get(["v:a"], {"k": [*range(written)]}).to_numpy()
        assert values[:, 0].tolist() == [key // 100 * 100 for key in range(written)]
        client.write("v", {"k": [*range(written)], "a": [[-1.0] * 500] * written})  # in place
        subprocess.run(["mount", "-o", "remount,size=16m", str(small.segments)], check=True)
        client.write("v", {"k": [written], "a": [[7.0] * 500]})
        assert client.get(["v:a"], {"k": [written]}).to_numpy()[0, 0] == 7
    small.stop()


def test_a_start_that_shared_memory_is_too_small_for_is_refused_in_a_sentence(small: Servers):
    subprocess.run(["mount", "-o", "remount,size=16m", str(small.segments)], check=True)
    small.start()
    with connect(small.url) as client:
        client.apply(WIDE)
        for start in range(0, 3_000, 100):
            client.write("v", {"k": [*range(start, start + 100)], "a": [[1.0] * 500] * 100})
    small.stop()
    for each in small.segments.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small.segments)], check=True)
    sentence = small.refused()
    assert "cannot be applied again: memory for segments is full: " in sentence
    assert "docker run --shm-size" in sentence
    assert "Traceback" not in "".join(small.lines)
    subprocess.run(["mount", "-o", "remount,size=16m", str(small.segments)], check=True)
    small.start()
    with connect(small.url) as client:
        assert client.get(["v:a"], {"k": [*range(3_000)]}).to_numpy().sum() == 3_000 * 500
    small.stop()


# ------------------------------------------------------------------------------------------------------------------ clock


def test_a_write_after_the_clock_was_set_back_loses_and_is_counted_as_older(server: Servers):
    """With the event time that the clock gave before, an hour ahead: as if it had been set back meanwhile."""
    server.start()
    with connect(server.url) as client:
        client.apply(PLAIN)
        ahead_us = time.time_ns() // 1_000 + HOUR_US
        client.write("v", {"k": [1], "a": [1]}, event_timestamps=ahead_us)
        counts = client.write("v", {"k": [1, 2], "a": [2, 2]})
        assert (counts.older, counts.inserted) == (1, 1)
        assert client.delete("v", {"k": [1]}).older == 1
        assert client.get(["v:a"], {"k": [1, 2]}).to_dict() == {"a": [1, 2]}
        assert client.write("v", {"k": [1], "a": [3]}, event_timestamps=ahead_us + 1).updated == 1
    server.kill()
    server.lose_memory()
    server.start()
    with connect(server.url) as client:
        assert client.get(["v:a"], {"k": [1, 2]}).to_dict() == {"a": [3, 2]}


def test_event_times_are_taken_as_they_are_to_both_ends(server: Servers):
    server.start()
    times = [FIRST_US, FIRST_US + 1, -1, 0, 1, LAST_US - 1, LAST_US]
    keys = [*range(len(times))]
    with connect(server.url) as client:
        client.apply(definitions(features=[{"name": "a", "type": "int64"}], ttl="1h"))
        client.write("v", {"k": keys, "a": keys}, event_timestamps=times)
        # At one key: each later time wins, none that is earlier does.
        for time_us in times:
            assert client.write("v", {"k": [100], "a": [time_us // 2]}, event_timestamps=time_us).older == 0
        for time_us in times[:-1]:
            assert client.write("v", {"k": [100], "a": [5]}, event_timestamps=time_us).older == 1
        before = client.get(["v:a"], {"k": [*keys, 100]}, event_timestamps=True)
        assert before.event_timestamps is not None
        assert before.to_dict()["a"] == [None, None, None, None, None, 5, 6, LAST_US // 2]
        assert [int(status) for status in before.statuses.ravel()] == [3, 3, 3, 3, 3, 0, 0, 0]  # EXPIRED: the far past
        assert before.event_timestamps.ravel().astype("int64").tolist() == [*times, LAST_US]
    server.kill()
    server.lose_memory()
    server.start()
    with connect(server.url) as client:
        after = client.get(["v:a"], {"k": [*keys, 100]}, event_timestamps=True)
        assert after.event_timestamps is not None
        assert after.event_timestamps.astype("int64").tolist() == before.event_timestamps.astype("int64").tolist()
        assert after.to_dict() == before.to_dict()


def test_retention_takes_the_far_past_and_never_the_future(server: Servers):
    server.start()
    with connect(server.url) as client:
        client.apply(definitions(features=[{"name": "a", "type": "int64"}], retention="1h"))
        future_us = time.time_ns() // 1_000 + 24 * HOUR_US
        client.write("v", {"k": [1, 2, 3], "a": [1, 2, 3]}, event_timestamps=[FIRST_US, future_us, LAST_US])
        while client.list_tables()[0]["rows"] > 2:  # in the background, four times a second
            time.sleep(0.05)
        assert client.get(["v:a"], {"k": [1, 2, 3]}).to_dict() == {"a": [None, 2, 3]}


def test_a_delete_of_the_far_future_keeps_later_writes_out_until_its_window_has_passed(server: Servers):
    server.start(delete_window_s="1")
    with connect(server.url) as client:
        client.apply(PLAIN)
        client.write("v", {"k": [1], "a": [1]}, event_timestamps=LAST_US)
        assert client.delete("v", {"k": [1]}, event_timestamps=LAST_US).deleted == 1
        assert client.write("v", {"k": [1], "a": [2]}).older == 1
        while client.list_tables()[0]["deleted_rows"]:
            time.sleep(0.05)
        assert client.write("v", {"k": [1], "a": [3]}).inserted == 1
        assert client.get(["v:a"], {"k": [1]}).to_dict() == {"a": [3]}
