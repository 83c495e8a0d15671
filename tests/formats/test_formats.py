"""Files of each released format are read by the featurestore of today; those of a newer one are refused with a sentence."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from featurestore_client import Client

import featurestore
from featurestore.backup import open_destination, restore, verify
from featurestore.backup.manifest import FORMAT as BACKUP_FORMAT
from featurestore.durability.reading import journal_files
from featurestore.durability.record import FILE_HEAD, FORMAT, seal
from featurestore.durability.sealed import sealed
from featurestore.errors import FailedPreconditionError
from featurestore.registry.registry import FORMAT as REGISTRY_FORMAT
from featurestore.server.write_decoding import message_problem
from tests.formats.make import EVENTS_US, FEATURES, KEYS, VALUES

RELEASED = Path(__file__).parent / "released"
WITH_ROWS = sorted(path.name for path in RELEASED.iterdir() if (path / "backup").is_dir())


@pytest.fixture
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of a released store."""
    name = getattr(request, "param", WITH_ROWS[-1])
    shutil.copytree(RELEASED / name / "store", tmp_path / "store")
    return tmp_path / "store"


def open_store(directory: Path) -> Client:
    return featurestore.open(directory, segments=directory.with_name("segments"))


def check_rows(directory: Path) -> None:
    with open_store(directory) as client:
        for view, keys in KEYS.items():
            batch = client.get([f"{view}:{feature['name']}" for feature in FEATURES], keys, event_timestamps=True)
            found: dict[str, Any] = batch.to_dict()
            found["f5"] = [None if each is None else round(each.timestamp() * 1e6) for each in found["f5"]]
            assert [*found.values()] == VALUES
            assert batch.event_timestamps is not None
            assert batch.event_timestamps[:, 0].astype("int64").tolist() == EVENTS_US
        assert client.get(["users:f1"], {"user": [4]}).to_dict() == {"f1": [None]}


@pytest.mark.parametrize("store", WITH_ROWS, indirect=True)
def test_a_store_of_each_format_has_its_rows(store: Path):
    assert verify(open_destination(str(store)), message_problem).is_whole
    check_rows(store)


@pytest.mark.parametrize("name", WITH_ROWS)
def test_a_backup_of_each_format_is_restored(name: str, tmp_path: Path):
    place = open_destination(str(RELEASED / name / "backup"))
    assert verify(place, message_problem).is_whole
    restore(place, tmp_path / "store")
    check_rows(tmp_path / "store")


@pytest.mark.parametrize("store", ["registry_1"], indirect=True)
def test_definitions_of_the_first_format_are_taken_up_and_kept_in_the_newest(store: Path):
    with open_store(store) as client:
        assert [view["name"] for view in client.list_feature_views()] == ["users", "visits"]
        client.write("users", {"user": [1], "f1": [5]})
        client.apply({"projects": [{"name": "another"}]})
    assert json.loads((store / "registry.json").read_text())["format"] == REGISTRY_FORMAT
    shutil.rmtree(store.with_name("segments"))
    with open_store(store) as client:
        assert client.get(["users:f1"], {"user": [1]}).to_dict() == {"f1": [5]}


def test_each_format_that_was_released_is_kept_here():
    assert f"registry_{REGISTRY_FORMAT}_journal_{FORMAT}_backup_{BACKUP_FORMAT}" in WITH_ROWS, (
        "a format was raised: keep its files, by python -m tests.formats.make tests/formats/released"
    )


def test_a_journal_of_a_newer_format_is_refused(store: Path):
    for file in journal_files(store / "journal"):
        content = file.path.read_bytes()
        magic, _, zero, number, first = FILE_HEAD.unpack_from(content)
        head = FILE_HEAD.pack(magic, FORMAT + 1, zero, number, first)
        file.path.write_bytes(head + seal(head) + content[FILE_HEAD.size + 8 :])
    expected = f"got format {FORMAT + 1}, expected at most {FORMAT}: a newer featurestore wrote it; start that one"
    with pytest.raises(FailedPreconditionError, match=f"{store}/journal/.*: {expected}"):
        open_store(store)


def test_definitions_of_a_newer_format_are_refused(store: Path):
    path = store / "registry.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": REGISTRY_FORMAT + 1}))
    expected = (
        f"got format {REGISTRY_FORMAT + 1}, expected at most {REGISTRY_FORMAT}: a newer featurestore wrote it; start that one"
    )
    with pytest.raises(FailedPreconditionError, match=f"{path}: {expected}"):
        open_store(store)


def test_a_backup_of_a_newer_format_is_refused(tmp_path: Path):
    shutil.copytree(RELEASED / WITH_ROWS[-1] / "backup", tmp_path / "backup")
    path = tmp_path / "backup" / "backup.json"
    document = {**json.loads(path.read_text()), "format": BACKUP_FORMAT + 1}
    del document["checksum"]
    path.write_text(sealed(document))
    expected = f"got format {BACKUP_FORMAT + 1}, expected at most {BACKUP_FORMAT}: a newer featurestore wrote it; use that one"
    with pytest.raises(FailedPreconditionError, match=f"{path}: {expected}"):
        restore(open_destination(str(tmp_path / "backup")), tmp_path / "store")


def of_another_format(store: Path) -> int:
    """Has a table of the store another format; returns the one it had."""
    control = next(store.with_name("segments").glob("*/control"))
    content = bytearray(control.read_bytes())
    (known,) = struct.unpack_from("<I", content, 8)
    struct.pack_into("<I", content, 8, known + 1)
    control.write_bytes(content)
    return int(known)


def test_tables_of_another_format_are_made_anew_from_the_journal(store: Path, caplog: pytest.LogCaptureFixture):
    check_rows(store)
    known = of_another_format(store)
    caplog.clear()
    check_rows(store)
    [unreadable] = [record for record in caplog.records if record.message == "table unreadable"]
    assert f"has format {known + 1}, this version reads {known}" in unreadable.__dict__["fields"]["reason"]
    caplog.clear()
    check_rows(store)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_damaged_table_is_made_anew_from_the_journal(store: Path):
    check_rows(store)
    for control in store.with_name("segments").glob("*/control"):
        control.write_bytes(bytes(control.stat().st_size))
    check_rows(store)


def test_tables_of_another_format_are_refused_where_there_is_no_journal(store: Path):
    check_rows(store)
    known = of_another_format(store)
    shutil.rmtree(store / "journal")
    with pytest.raises(
        FailedPreconditionError, match=f"has format {known + 1}, this version reads {known}: use the version that"
    ):
        open_store(store)
