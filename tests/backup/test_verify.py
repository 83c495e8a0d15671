"""Verify: each damage is found and named with file and byte, nothing is changed, and what it says can be recovered can be."""

import json
import os
import shutil
from pathlib import Path

import pytest
from featurestore_client.errors import InternalError, NotFoundError

import featurestore
from featurestore.backup import Verification, back_up, open_destination, verify
from featurestore.durability import Journal, latest_snapshot
from featurestore.durability.reading import journal_files
from featurestore.durability.record import FILE_HEAD_BYTES, Kind, Message, unpack
from featurestore.registry.registry import FORMAT
from featurestore.server.write_decoding import message_problem
from tests.backup.conftest import DEFINITIONS, read, write
from tests.cli.commands import run_command
from tests.durability.conftest import NUMBER, append, entry
from tests.faults.oracle import connect
from tests.faults.servers import Servers


def check(place: object) -> Verification:
    return verify(open_destination(str(place)), message_problem)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(hosts: tuple[Servers, Servers], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Definitions, a snapshot and two files of the journal behind it, whose later records say that those before were synced."""
    server = hosts[0]
    server.move(tmp_path_factory.mktemp("made"))
    for values in (range(1, 6), range(6, 8)):
        server.start()
        with connect(server.url) as client:
            client.apply(DEFINITIONS)
            for value in values:
                write(client, value, range(20))
                if value == 1:
                    client.take_snapshot()
        server.stop()
    return server.data


@pytest.fixture
def store(made: Path, server: Servers) -> Path:
    """A copy of it, for one test; its server is not started."""
    shutil.copytree(made, server.data)
    return server.data


def new_journal(directory: Path, **options: int) -> Journal:
    return Journal(directory, NUMBER, 0, fsync="never", fsync_interval_s=1, **options)


def journal_of(directory: Path) -> Path:
    """What was written there becomes the journal of a store without definitions."""
    (directory / "journal").mkdir()
    for file in journal_files(directory):
        file.path.rename(directory / "journal" / file.path.name)
    (directory / "registry.json").write_text('{"format": 2, "version": 1, "definitions": {}, "births": {}}')
    return directory / "journal"


def test_a_store_is_whole_while_a_server_writes_to_it(store: Path, server: Servers):
    server.start()
    with connect(server.url) as client:
        for value in range(8, 12):
            write(client, value)
            found = check(store)
            assert found.is_whole
            assert (found.base, found.last, found.behind) == (1, value, 0)
            records = sum(file.records for file in found.files if "snapshot" not in file.name)
            assert records == value - found.base  # what is in the snapshot is in no other file


def test_any_flipped_bit_is_found_with_its_file_and_nothing_is_changed(store: Path):
    whole = check(store)
    for file in whole.files:
        path = store / file.name
        content = path.read_bytes()
        if path.name == "registry.json":
            continue  # of each of its letters: tests/registry
        last = path == journal_files(store / "journal")[-1].path
        ends = _ends(path)
        for place in range(0, len(content), 29):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
            before = contents(store)
            found = check(store)
            assert contents(store) == before
            (wrong,) = [each for each in found.files if each.problem or each.tail_bytes][:1]
            assert wrong.name == file.name
            if last and place >= ends[-2]:  # as a write that did not end
                assert (wrong.problem, found.last, found.behind) == ("", whole.last - 1, 0)
                continue
            assert not found.is_whole
            assert str(path) in wrong.problem
            begin = max([end for end in ends if end <= place], default=0)
            assert f"byte {begin}" in wrong.problem
            assert found.behind > 0
        path.write_bytes(content)
    assert check(store) == whole


def _ends(path: Path) -> list[int]:
    data = memoryview(path.read_bytes())
    journal = int.from_bytes(data[16:24], "little")
    ends = [FILE_HEAD_BYTES]
    while (record := unpack(data, ends[-1], journal)) is not None:
        ends.append(ends[-1] + record.record_bytes)
    return ends


def test_what_it_says_can_be_recovered_is_what_a_start_recovers(store: Path, server: Servers):
    path = journal_files(store / "journal")[-1].path
    os.truncate(path, path.stat().st_size - 3)
    (store / "journal" / "end.json").unlink()  # as of a server that was killed
    found = check(store)
    assert found.is_whole
    (torn,) = [file for file in found.files if file.tail_bytes]
    assert torn.name == f"journal/{path.name}"
    assert server.start()["cut_bytes"] == torn.tail_bytes
    assert check(store).last == found.last == 6


def test_the_last_file_is_missed_where_a_server_closed_it(store: Path, server: Servers):
    path = journal_files(store / "journal")[-1].path
    path.unlink()
    found = check(store)
    (missing,) = [file for file in found.files if file.problem]
    assert missing.problem.startswith("journal/: got 5 as its last record, expected 7, which it had when it was closed")
    assert "ends with record 5, expected record 7 as its last one, as when it was closed" in server.refused()


def test_missing_files_are_named(store: Path, tmp_path: Path):
    shutil.copytree(store, tmp_path / "copy")
    copy = tmp_path / "copy"
    snapshot = latest_snapshot(copy / "journal")
    assert snapshot is not None
    of_snapshot = journal_files(snapshot.directory)[0].path
    of_snapshot.rename(tmp_path / "kept")
    found = check(copy)
    assert not found.is_whole
    (tmp_path / "kept").rename(of_snapshot)
    (copy / "registry.json").unlink()
    found = check(copy)
    assert [file.problem for file in found.files if file.problem] == [
        "registry.json is not there, and without it nobody knows the views of the rows"
    ]
    with pytest.raises(NotFoundError, match=r"holds neither a store nor a backup: expected registry\.json and journal, or"):
        check(tmp_path / "nothing")


def damage(path: Path, place: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_former_version_that_is_damaged_costs_a_rollback_alone(
    tmp_path: Path, is_missing: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FEATURESTORE_SEGMENTS", str(tmp_path / "segments"))
    data = tmp_path / "data"
    with featurestore.open(data) as client:
        client.apply(DEFINITIONS)
        write(client, 1, range(20))
        client.replace("v", {"k": [*range(30)], "a": [2] * 30, "b": [2] * 30})
        write(client, 3, range(5))
    (former,) = data.glob("journal/versions/default.v/1-*/*.journal")
    if is_missing:
        shutil.rmtree(former.parent)
    else:
        damage(former, former.stat().st_size - 20)
    found = check(data)
    assert (found.is_whole, found.last, found.behind) == (False, 2, 0)
    assert found.versions_lost == ("default.v version 1",)
    told = run_command(("verify", data), capsys, monkeypatch)
    assert told.code == 1
    assert told.out.endswith(
        "only a rollback of default.v to version 1 fails, and a start does without it: put a copy of its files back, or "
        "restore a backup\neverything up to record 2 can be recovered\n"
    )
    with featurestore.open(data) as client:
        assert len([a for a, _ in read(client, range(30)) if a is not None]) == 30
        with pytest.raises(InternalError) as refused:
            client.rollback("v")
    assert is_missing or f"{former}: got damage at byte " in str(refused.value)
    assert is_missing or "Put a copy of the file back, or restore a backup" in str(refused.value)


def test_the_version_that_serves_is_needed_by_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FEATURESTORE_SEGMENTS", str(tmp_path / "segments"))
    with featurestore.open(tmp_path / "data") as client:
        client.apply(DEFINITIONS)
        client.replace("v", {"k": [*range(30)], "a": [2] * 30, "b": [2] * 30})
    (current,) = (tmp_path / "data").glob("journal/versions/default.v/2-*/*.journal")
    damage(current, current.stat().st_size - 20)
    found = check(tmp_path / "data")
    assert (found.last, found.versions_lost) == (0, ())
    shutil.rmtree(tmp_path / "segments")
    with pytest.raises(InternalError, match=r"Put a copy of the file back, or restore a backup$"):
        featurestore.open(tmp_path / "data")


@pytest.mark.parametrize("place", [5, -20])
def test_a_damaged_snapshot_is_not_to_be_cut(store: Path, tmp_path: Path, place: int):
    snapshot = latest_snapshot(store / "journal")
    assert snapshot is not None
    path = journal_files(snapshot.directory)[0].path
    damage(path, place % path.stat().st_size)
    with pytest.raises(InternalError, match=r"Put a copy of the file back, or restore a backup$"):
        featurestore.open(store, segments=tmp_path / "segments")


def test_a_gap_in_the_journal_is_named(tmp_path: Path):
    journal = new_journal(tmp_path, file_bytes=150)
    append(journal, range(1, 31))
    journal.close()
    files = journal_files(journal_of(tmp_path))
    files[2].path.unlink()
    found = verify(open_destination(str(tmp_path)), lambda _: None)
    assert found.last == files[2].first_sequence - 1
    assert found.behind == 31 - files[3].first_sequence
    assert f"it begins with record {files[3].first_sequence}, expected {files[2].first_sequence}: the files" in next(
        file.problem for file in found.files if files[3].path.name in file.name
    )


def test_a_newer_format_is_named(store: Path):
    document = json.loads((store / "registry.json").read_text())
    (store / "registry.json").write_text(json.dumps({**document, "format": 99}))
    (wrong,) = [file for file in check(store).files if file.problem]
    assert f"got format 99, expected at most {FORMAT}: a newer featurestore wrote it; start that one" in wrong.problem


def test_a_message_that_does_not_decode_is_told_with_its_byte(tmp_path: Path):
    journal = new_journal(tmp_path)
    journal.append(*entry(1, b"\xff\xff"))
    journal.close()
    journal_of(tmp_path)
    (wrong,) = [file.problem for file in check(tmp_path).files if file.problem]
    assert f"record 1 at byte {FILE_HEAD_BYTES} is as it was written, but request: got '2 bytes that do not decode'" in wrong
    assert message_problem(Message(Kind.WRITE, b"", 0)) is None


@pytest.mark.parametrize("kind", ["directory", "memory"])
def test_a_backup_is_read_over_too(store: Path, server: Servers, tmp_path: Path, kind: str):
    place = open_destination(str(tmp_path / "backup") if kind == "directory" else f"memory://{tmp_path.name}")
    server.start()
    with connect(server.url) as client:
        manifest = back_up(client, place).manifest
    found = verify(place, message_problem)
    assert found.is_whole
    assert (found.last, found.base) == (manifest.last, manifest.base)
    file = next(file for file in manifest.files if file.name.startswith("journal/0"))
    content = place.read(file.place)
    assert content is not None
    with place.open_to_write(file.place) as target:
        target.write(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    wrong = [each for each in verify(place, message_problem).files if each.problem]
    assert [each.name for each in wrong] == [file.name]
    assert "it has been changed; put a copy of it back" in wrong[0].problem
    place.remove([file.place])
    wrong = [each for each in verify(place, message_problem).files if each.problem]
    assert f"{place}/{file.place} is not there, and the backup needs it" in " ".join(each.problem for each in wrong)
