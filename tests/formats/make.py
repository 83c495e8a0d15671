"""Makes the files of a store as the featurestore of today writes them, small enough to be kept:

    python -m tests.formats.make DIRECTORY

One directory is kept for each combination of formats that was ever released; none is made again, or changed, once it is here.
``test_formats.py`` reads them. Its name says the formats: of the registry, of the journal and of backups.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import featurestore
from featurestore.backup import back_up, open_destination
from featurestore.backup.manifest import FORMAT as BACKUP_FORMAT
from featurestore.durability.record import FORMAT as JOURNAL_FORMAT
from featurestore.registry.registry import FORMAT as REGISTRY_FORMAT

TYPES = ("bool", "int32", "int64", "float32", "float64", "timestamp", "string", "bytes", "float32[2]", "float64[2]", "int64[2]")
FEATURES = [{"name": f"f{number}", "type": text} for number, text in enumerate(TYPES)]
DEFINITIONS: dict[str, Any] = {
    "entities": [
        {"name": "user", "join_keys": [{"name": "user", "type": "int64"}]},
        {"name": "visit", "join_keys": [{"name": "user", "type": "int64"}, {"name": "page", "type": "string"}]},
    ],
    "feature_views": [
        {"name": "users", "entity": "user", "features": FEATURES},
        {"name": "visits", "entity": "visit", "features": FEATURES},
    ],
}
KEYS: dict[str, dict[str, list[Any]]] = {
    "users": {"user": [1, 2, 3]},
    "visits": {"user": [1, 2, 3], "page": ["a", "", "grüße"]},
}
VALUES: list[list[Any]] = [
    [True, None, False],
    [1, -2, None],
    [None, 2**40, -1],
    [0.5, None, -1.5],
    [0.1, 1e300, None],
    [5_000_000, None, 7_000_000],
    ["text", "", None],
    [b"\0\xff", None, b""],
    [[1.0, 2.0], None, [3.0, 4.0]],
    [[0.1, 0.2], None, [0.3, 0.4]],
    [[1, 2], None, [3, 4]],
]
EVENTS_US = [1_700_000_000_000_000, 1_700_000_000_000_001, 1_700_000_000_000_002]


def columns() -> dict[str, list[Any]]:
    """What is written last to each row of both views."""
    return {feature["name"]: values for feature, values in zip(FEATURES, VALUES, strict=True)}


def make(directory: Path, segments: Path) -> None:
    """A store with a snapshot, records of each kind behind it, a feature that was dropped, and a backup of it all."""
    with featurestore.open(directory / "store", segments=segments) as client:
        client.apply({"entities": DEFINITIONS["entities"]})
        narrow = [
            {**view, "features": [*FEATURES, {"name": "dropped", "type": "int32"}]} for view in DEFINITIONS["feature_views"]
        ]
        client.apply({"feature_views": narrow})
        for view, keys in KEYS.items():
            client.write(view, {**keys, "dropped": [1, 2, 3]}, event_timestamps=1)
        client.apply(DEFINITIONS, prune=True)
        client.take_snapshot()
        for view, keys in KEYS.items():
            client.write(view, {**keys, **columns()}, event_timestamps=EVENTS_US)
        client.ingest("users", {"user": [4], "f1": [4], "event_timestamp": [EVENTS_US[0]]})
        client.delete("users", {"user": [4]}, event_timestamps=EVENTS_US[0])
        back_up(client, open_destination(str(directory / "backup")))


def main() -> None:
    """The command."""
    name = f"registry_{REGISTRY_FORMAT}_journal_{JOURNAL_FORMAT}_backup_{BACKUP_FORMAT}"
    directory = Path(sys.argv[1]) / name
    with tempfile.TemporaryDirectory() as folder:
        make(directory, Path(folder) / "segments")
        made = sorted(path for path in directory.rglob("*") if path.is_file())
    shutil.rmtree(directory / "store" / "segments", ignore_errors=True)
    print(f"{directory}: {len(made)} files, {sum(path.stat().st_size for path in made)} bytes")


if __name__ == "__main__":
    main()
