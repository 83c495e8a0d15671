"""A server's ``--max-memory``, and that its tables take what it says they take."""

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from featurestore_client import Client, ResourceExhaustedError, connect

ENTITIES = [{"name": "user", "join_keys": [{"name": "user", "type": "int64"}]}]
ROWS = 20_000


def definitions(**features: str) -> dict[str, Any]:
    fields = [{"name": name, "type": kind} for name, kind in features.items()]
    return {"entities": ENTITIES, "feature_views": [{"name": "v", "entity": "user", "features": fields}]}


def write(client: Client, first: int, rows: int) -> Any:
    vectors, texts = np.ones((rows, 50), np.float32), [f"text {number}" for number in range(rows)]
    columns = {"user": np.arange(first, first + rows), "vector": vectors, "text": texts}
    return client.write("v", columns, event_timestamps=1)


def mapped_bytes(pid: int, segments: Path) -> int:
    """Of the segments' pages, those that the process has mapped."""
    total, ours = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = str(segments) in line and "(deleted)" not in line
        elif ours and line.startswith("Rss:"):
            total += int(line.split()[1]) << 10
    return total


def check_reported(client: Client, server: Any) -> None:
    reported = sum(table["memory_bytes"] for table in client.list_tables())
    segments = server.directory / "segments"
    backed = sum(path.stat().st_blocks * 512 for path in segments.glob("*.*/*"))
    assert abs(backed / reported - 1) < 0.05
    assert abs(mapped_bytes(server.process.pid, segments) / reported - 1) < 0.05


def test_what_is_reported_is_what_the_kernel_maps(start_server: Any) -> None:
    server = start_server()
    with connect(server.url) as client:
        client.apply(definitions(vector="float32[50]", text="string"))
        check_reported(client, server)
        for first in range(0, 3 * ROWS, ROWS):
            write(client, first, ROWS)
        check_reported(client, server)
        client.apply(definitions(vector="float32[50]", text="string", more="int64[10]"))
        check_reported(client, server)
        client.delete("v", {"user": np.arange(ROWS)}, event_timestamps=2)
        write(client, 0, 100)
        check_reported(client, server)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_at_max_memory_new_rows_are_refused_and_the_rest_goes_on(start_server: Any, workers: str) -> None:
    limit = 30_000_000
    server = start_server("--max-memory", "30MB", "--workers", workers)
    with connect(server.url) as client:
        client.apply(definitions(vector="float32[50]", text="string"))
        refused: ResourceExhaustedError | None = None
        written = 0
        while refused is None:
            try:
                written += write(client, written, 2_000).rows
            except ResourceExhaustedError as error:
                refused = error
        assert re.fullmatch(
            r"max_memory: the tables take \d+ bytes of memory, \d+ more were needed, at most 30000000 are allowed; nothing was "
            r"written. Reads, and writes to rows that are there, go on. Set a retention, drop views, or raise --max-memory.*",
            refused.message,
        )
        assert (
            sum(path.stat().st_blocks * 512 for path in (server.directory / "segments").glob("*.*/*")) <= limit + 8_192
        )  # schema.json
        assert write(client, 0, 2_000).equal == 2_000
        assert client.get(["v:text"], {"user": [written - 1, written]})["text"].tolist() == ["text 1999", ""]
        with pytest.raises(ResourceExhaustedError, match="max_memory"):
            client.apply(definitions(vector="float32[50]", text="string", more="float64[50]"))
        assert write(client, 0, 10).equal == 10


def test_a_feature_that_there_was_no_memory_to_drop_does_not_come_back_with_its_values(start_server: Any) -> None:
    server = start_server("--max-memory", "30MB")
    without, again = definitions(vector="float32[50]"), definitions(vector="float32[50]", text="string")
    with connect(server.url) as client:
        client.apply({**again, "feature_views": [*again["feature_views"], {**again["feature_views"][0], "name": "other"}]})
        client.write("other", {"user": np.arange(2 * ROWS), "vector": np.ones((2 * ROWS, 50), np.float32)}, event_timestamps=1)
        with suppress(ResourceExhaustedError):
            for first in range(0, 10 * ROWS, 2_000):
                write(client, first, 2_000)
        client.apply(without)
        with pytest.raises(ResourceExhaustedError, match="max_memory"):
            client.apply(again)
        time.sleep(0.6)  # it is tried again meanwhile
        assert server.log.count("dropped features or tables still hold memory") == 1
        assert "Traceback" not in server.log
        client.apply(without, prune=True)  # makes room
        client.apply(again)
        assert client.get(["v:vector", "v:text"], {"user": [1]}).to_dict()["text"] == [None]
        assert client.get(["v:vector"], {"user": [1]}).to_dict()["vector"][0][0] == 1


def test_what_is_no_size_is_told_at_the_start(start_server: Any) -> None:
    server = start_server("--max-memory", "lots", ready=False)
    assert server.wait() != 0
    assert "--max-memory: got 'lots', expected bytes such as 8GB or 512MiB, or a share of this machine's memory" in server.log
