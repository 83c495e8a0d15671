"""A second process that maps a table and checks every row it reads: run by test_concurrency.py.

    python -m tests.store.watcher DIRECTORY SECONDS KEYS PRESENT

A row is whole when its string and its vector follow from feature ``a`` and its checksum from ``a`` and ``b``; and it is never
older than what was read of the same key before. Goes on for longer until it has met PRESENT rows and four schemas. Prints
what it read as JSON.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from featurestore.store import TableReader

FEATURES = ["a", "b", "text", "vector", "checksum"]


def main() -> None:
    directory, seconds, keys, present_min = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    table = TableReader.attach(directory)
    rng = np.random.default_rng(1)
    newest = np.zeros(keys, np.int64)
    layouts, generations = set(), set()
    rows = present = 0
    print("ready", flush=True)

    def seen_enough() -> bool:
        return present > present_min and len(layouts) > 3 and len(generations) > 3

    started = time.monotonic()
    while (elapsed := time.monotonic() - started) < seconds or (not seen_enough() and elapsed < 10 * seconds):
        numbers = rng.integers(0, keys, 500)
        projection = table.projection(FEATURES, columnar=False)
        batch = table.read([numbers], projection, now_us=0, event_timestamps=True)
        layouts.add(table._snapshot.schema_id)
        generations.add(table.stats().generation)
        found = np.frombuffer(batch.statuses or bytes(500), np.uint8) == 0
        cells = np.frombuffer(batch.values, np.dtype([("a", "<i8"), ("b", "<i8"), ("vector", "<f8", 20), ("checksum", "<i8")]))
        assert batch.nulls is None
        a, b = cells["a"][found], cells["b"][found]
        assert (cells["checksum"][found] == a * 31 + b * 17 + numbers[found]).all(), "torn row: checksum"
        assert (cells["vector"][found] == a[:, None] + np.arange(20)).all(), "torn row: vector"
        data, raw_offsets = batch.var[0]
        offsets = np.frombuffer(raw_offsets, np.int32)
        for i in np.flatnonzero(found):
            value = int(cells["a"][i])
            assert data[offsets[i] : offsets[i + 1]] == str(value).encode() * (value % 23), "torn row: string"
        events = np.frombuffer(batch.event_timestamps_us or b"", np.int64)[found]
        assert (events >= newest[numbers[found]]).all(), "an older row came back"
        np.maximum.at(newest, numbers[found], events)
        rows += 500
        present += int(found.sum())
    print(json.dumps({"rows": rows, "present": present, "schemas": len(layouts), "generations": len(generations)}), flush=True)


main()
