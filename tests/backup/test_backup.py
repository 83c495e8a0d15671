"""Backups: what was acknowledged before is in them, an earlier one counts until the next is whole, and what is restored is what
was there at that instant.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from featurestore_client import Client
from featurestore_client.errors import (
    FailedPreconditionError,
    FeatureStoreError,
    InternalError,
    NotFoundError,
    ResourceExhaustedError,
)

from featurestore.backup import back_up, open_destination, read_manifest, restore, verify
from featurestore.backup.destination import DirectoryDestination
from featurestore.backup.manifest import FILE_NAME
from featurestore.server.write_decoding import message_problem
from tests.backup.conftest import DEFINITIONS, VIEW, Restored, read, write
from tests.faults.conftest import small_disk
from tests.faults.oracle import ENTITY, connect
from tests.faults.servers import Servers, lose_unsynced, noting_syncs

__all__ = ["small_disk"]  # a fixture of this module too


@pytest.fixture(params=["directory", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Where to, of both kinds."""
    if request.param == "directory":
        yield open_destination(str(tmp_path / "backup"))
        return
    url = f"memory://{tmp_path.name}"
    yield open_destination(url)
    import fsspec

    fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


def test_what_is_restored_is_what_was_there_at_that_instant(client: Client, place: Any, restored: Restored):
    write(client, 1)
    client.take_snapshot()
    write(client, 2, range(50))
    back_up(client, place)
    write(client, 3)
    with restored(place) as other:
        assert read(other) == [(2, 2)] * 50 + [(1, 1)] * 50
    assert read(client) == [(3, 3)] * 100


def test_what_was_acknowledged_before_is_in_it_while_writers_write(
    client: Client, server: Servers, tmp_path: Path, restored: Restored
):
    acknowledged = [0] * 4
    ends = threading.Event()

    def keep_writing(number: int) -> None:
        with connect(server.url) as own:
            while not ends.is_set():
                write(own, acknowledged[number] + 1, range(number * 1_000, number * 1_000 + 50))
                acknowledged[number] += 1

    writers = [threading.Thread(target=keep_writing, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    try:
        while min(acknowledged) < 5:
            ends.wait(0.01)
        taken = []
        for number in range(4):
            if number == 2:
                client.take_snapshot()
            before = list(acknowledged)
            place = open_destination(str(tmp_path / f"backup {number}"))
            back_up(client, place)
            taken.append((place, before, list(acknowledged)))
    finally:
        ends.set()
        for writer in writers:
            writer.join()
    for place, before, after in taken:
        with restored(place) as other:
            for writer in range(4):
                rows = {*read(other, range(writer * 1_000, writer * 1_000 + 50))}
                assert len(rows) == 1, "a batch is there wholly or not at all"
                ((a, b),) = rows
                assert a == b
                assert before[writer] <= (a or 0) <= after[writer] + 1


def test_definitions_and_rows_are_of_one_instant(client: Client, tmp_path: Path, restored: Restored):
    write(client, 1)
    earlier, later = (open_destination(str(tmp_path / name)) for name in ("earlier", "later"))
    back_up(client, earlier)
    wider = {"name": "v", "entity": "e", "features": [{"name": "a", "type": "int64"}, {"name": "c", "type": "string"}]}
    client.apply({"entities": [ENTITY], "feature_views": [wider]}, prune=True)
    client.write("v", {"k": [1], "c": ["later"]}, event_timestamps=9)
    back_up(client, later)
    with restored(earlier) as other:
        assert read(other) == [(1, 1)] * 100
    with restored(later) as other:
        assert other.get(["v:a", "v:c"], {"k": [1]}).to_dict() == {"a": [1], "c": ["later"]}


def test_what_it_has_already_is_not_copied_again(client: Client, place: Any):
    write(client, 1)
    client.take_snapshot()
    first = back_up(client, place)
    assert first.files == len(first.manifest.files)
    again = back_up(client, place)
    assert (again.files, again.bytes, again.manifest.files) == (0, 0, first.manifest.files)
    write(client, 2)
    third = back_up(client, place)
    copied = [file.name for file in third.manifest.files if file not in first.manifest.files]
    assert third.files == len(copied) == 1
    assert not any("snapshot" in name for name in copied)
    assert {*place.sizes()} == {FILE_NAME, *(file.place for file in third.manifest.files)}


class Failing(DirectoryDestination):
    """Fails at the nth write."""

    def __init__(self, root: Path, left: int) -> None:
        super().__init__(root)
        self.left = left

    def open_to_write(self, name: str) -> BinaryIO:
        """As it is named."""
        file = super().open_to_write(name)
        own = file.write

        def write(data: bytes) -> int:
            self.left -= 1
            if self.left < 0:
                own(data[: len(data) // 2])
                raise OSError(28, "No space left on device")
            return own(data)

        file.write = write  # type: ignore[method-assign, assignment]
        return file


def test_one_that_is_cut_short_at_any_file_is_none_and_the_one_before_it_stands(
    client: Client, tmp_path: Path, restored: Restored
):
    root = tmp_path / "backup"
    write(client, 1)
    for left in range(10):
        try:
            back_up(client, Failing(root, left))
        except OSError:
            assert read_manifest(DirectoryDestination(root)) is None
            assert DirectoryDestination(root).sizes() == {}
            with pytest.raises(NotFoundError, match=r"holds no backup: expected a backup\.json there"):
                restore(DirectoryDestination(root), tmp_path / "none")
        else:
            break
    former = read_manifest(DirectoryDestination(root))
    assert former is not None
    client.take_snapshot()
    write(client, 2)
    for left in range(10):
        try:
            last = back_up(client, Failing(root, left))
        except OSError:
            assert read_manifest(DirectoryDestination(root)) == former
            assert {*DirectoryDestination(root).sizes()} == {FILE_NAME, *(file.place for file in former.files)}
            if left == 0:
                with restored(DirectoryDestination(root)) as other:
                    assert read(other) == [(1, 1)] * 100
        else:
            break
    assert left > 2
    assert {*DirectoryDestination(root).sizes()} == {FILE_NAME, *(file.place for file in last.manifest.files)}
    with restored(DirectoryDestination(root)) as other:
        assert read(other) == [(2, 2)] * 100


def test_a_full_disk_is_named_with_the_file_and_holds_nothing_of_the_run(client: Client, small_disk: Path, tmp_path: Path):
    write(client, 1)
    place = DirectoryDestination(small_disk / "backup")
    former = back_up(client, place).manifest
    before = place.sizes()
    client.write("v", {"k": [*range(120_000)], "a": [2] * 120_000}, event_timestamps=2)
    with pytest.raises(OSError, match="No space left on device") as failed:
        back_up(client, place)
    assert str(failed.value.filename).startswith(f"{small_disk / 'backup'}/data-")
    assert (place.sizes(), read_manifest(place)) == (before, former)
    back_up(client, DirectoryDestination(tmp_path / "large"))
    with pytest.raises(ResourceExhaustedError, match=f"{small_disk}/new/store: got .* bytes of space, expected at least "):
        restore(DirectoryDestination(tmp_path / "large"), small_disk / "new" / "store")
    assert not (small_disk / "new").exists()


def test_a_server_that_is_killed_meanwhile_leaves_nothing_and_the_backup_before_stands(
    client: Client, server: Servers, tmp_path: Path, restored: Restored
):
    place = open_destination(str(tmp_path / "backup"))
    write(client, 1)
    back_up(client, place)
    for value in range(2, 40):
        client.write("v", {"k": [*range(60_000)], "a": [value] * 60_000}, event_timestamps=value)
    parts = client.backup()
    next(parts)
    next(parts)
    assert [*(server.data / "journal").glob("held.*")]
    server.kill()
    with pytest.raises(FeatureStoreError):
        list(parts)
    with restored(place) as other:
        assert read(other) == [(1, 1)] * 100
    server.start()
    assert not [*(server.data / "journal").glob("held.*")]
    with connect(server.url) as again:
        assert back_up(again, place).manifest.last == 39


def test_a_backup_that_is_given_up_lets_its_files_go(client: Client, server: Servers):
    for value in range(1, 20):
        client.write("v", {"k": [*range(60_000)], "a": [value] * 60_000}, event_timestamps=value)
    parts = client.backup()
    next(parts)
    assert [*(server.data / "journal").glob("held.*")]
    del parts
    ends = threading.Event()
    for _ in range(500):
        if not [*(server.data / "journal").glob("held.*")]:
            return
        ends.wait(0.02)
    raise AssertionError("files are held for nobody")


def test_a_snapshot_may_be_finished_while_a_backup_is_copied(client: Client, tmp_path: Path, restored: Restored):
    for value in range(1, 40):
        client.write("v", {"k": [*range(60_000)], "a": [value] * 60_000}, event_timestamps=value)
    place = DirectoryDestination(tmp_path / "backup")
    taken: list[Any] = []

    def snapshot_once(done: int, total: int) -> None:
        if not taken:
            taken.append(client.take_snapshot())

    copied = back_up(client, place, snapshot_once)
    assert taken[0]["base"] == copied.manifest.last == 39
    assert copied.manifest.base == 0
    with restored(place) as other:
        assert other.get(["v:a"], {"k": [0, 59_999]}).to_dict() == {"a": [39, 39]}


def test_of_two_backups_into_one_place_at_a_time_one_counts(client: Client, server: Servers, place: Any, restored: Restored):
    write(client, 1)
    others: list[int] = []

    def take_another(done: int, total: int) -> None:
        if done == total and not others:
            with connect(server.url) as other:
                others.append(back_up(other, place).manifest.last)

    with pytest.raises(
        FailedPreconditionError, match="another one into the same place ended meanwhile, and counts; take one at"
    ):
        back_up(client, place, take_another)
    with restored(place) as other:
        assert read(other) == [(1, 1)] * 100


def test_another_store_does_not_take_a_backups_place(client: Client, hosts: tuple[Servers, Servers], tmp_path: Path):
    place = open_destination(str(tmp_path / "backup"))
    write(client, 1)
    back_up(client, place)
    hosts[1].move(tmp_path / "other")
    hosts[1].start()
    with connect(hosts[1].url) as another:
        another.apply(DEFINITIONS)
        write(another, 1)
        with pytest.raises(FailedPreconditionError, match=r"holds the backup of another store .*choose another place"):
            back_up(another, place)
    hosts[1].kill()


def test_a_place_that_holds_something_else_is_refused(client: Client, tmp_path: Path):
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(FailedPreconditionError, match=r"holds 'letters\.txt' and no backup\.json, so it is no backup: choose"):
        back_up(client, open_destination(str(tmp_path)))


def test_a_store_that_was_restored_in_its_own_place_has_nothing_of_later(client: Client, server: Servers, tmp_path: Path):
    place = open_destination(str(tmp_path / "backup"))
    write(client, 1)
    back_up(client, place)
    write(client, 2)
    server.kill()  # the tables stay in memory, and hold more than the backup
    server.data.rename(tmp_path / "later")
    restore(place, server.data)
    server.start()
    with connect(server.url) as again:
        assert read(again) == [(1, 1)] * 100
        write(again, 3, range(10))
        write(again, 4, range(10))
    server.kill()
    server.data.rename(tmp_path / "restored")
    (tmp_path / "later").rename(server.data)  # and back to the first one, whose journal has gone on otherwise
    server.start()
    with connect(server.url) as again:
        assert read(again) == [(2, 2)] * 100


def test_a_restored_directory_that_got_the_number_of_the_one_before_it_has_the_backups_rows(
    client: Client, server: Servers, tmp_path: Path
):
    """As file systems give it again. What was done since is none of the journal's: the tables have all of its records."""
    place = open_destination(str(tmp_path / "backup"))
    write(client, 1)
    back_up(client, place)
    client.apply({"entities": [ENTITY], "feature_views": [{**VIEW, "features": VIEW["features"][:1]}]})
    server.stop()
    for path in (server.data / "journal").iterdir():
        path.unlink()
    restore(place, tmp_path / "restored")
    for path in (tmp_path / "restored" / "journal").iterdir():
        path.rename(server.data / "journal" / path.name)
    (tmp_path / "restored" / "registry.json").replace(server.data / "registry.json")
    server.start()
    with connect(server.url) as again:
        assert read(again) == [(1, 1)] * 100


def test_a_backup_and_what_is_restored_of_it_outlive_a_loss_of_power(client: Client, server: Servers, tmp_path: Path):
    def run(directory: Path, *arguments: str) -> None:
        notes = directory.with_suffix(".synced")
        command = [sys.executable, "-m", "featurestore", *arguments]
        subprocess.run(command, env=noting_syncs(notes), check=True, capture_output=True)
        lose_unsynced(directory, notes)

    write(client, 1)
    client.take_snapshot()
    write(client, 2, range(50))
    client.replace("v", {"k": [*range(50)], "a": [3] * 50, "b": [3] * 50, "event_timestamp": [3] * 50})
    write(client, 4, range(10))
    backup = tmp_path / "backup"
    run(backup, "backup", str(backup), "--server", server.url)
    server.stop()
    server.move(tmp_path / "restored")
    run(server.data, "restore", str(backup), str(server.data))
    server.start()
    with connect(server.url) as other:
        assert read(other) == [(4, 4)] * 10 + [(3, 3)] * 40 + [(None, None)] * 50
        other.rollback("v")
        assert read(other) == [(2, 2)] * 50 + [(1, 1)] * 50


def test_damage_is_told_by_its_file_and_nothing_is_restored(client: Client, tmp_path: Path):
    root = tmp_path / "backup"
    write(client, 1)
    client.take_snapshot()
    write(client, 2)
    manifest = back_up(client, DirectoryDestination(root)).manifest
    assert len(manifest.files) >= 3
    for file in manifest.files:
        path = root / file.place
        whole = path.read_bytes()
        damages = [
            whole[:-1],
            whole + b"\0",
            whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :],
        ]
        for damaged in damages:
            path.write_bytes(damaged)
            with pytest.raises(
                InternalError, match=rf"{path}: got {len(damaged)} bytes with checksum .*, expected {len(whole)}"
            ):
                restore(DirectoryDestination(root), tmp_path / "again")
            assert not (tmp_path / "again").exists()
        path.unlink()
        with pytest.raises(InternalError, match=f"{path} is not there, and the backup needs it"):
            restore(DirectoryDestination(root), tmp_path / "again")
        path.write_bytes(whole)
    restore(DirectoryDestination(root), tmp_path / "again")
    with pytest.raises(FailedPreconditionError, match=r"again holds '.*': restore into an empty directory"):
        restore(DirectoryDestination(root), tmp_path / "again")


def test_a_changed_manifest_is_refused(client: Client, tmp_path: Path):
    root = tmp_path / "backup"
    write(client, 1)
    back_up(client, DirectoryDestination(root))
    text = (root / FILE_NAME).read_text()
    for changed in (text.replace('"last": 1', '"last": 2'), text[:-20], "[]", "{}", text.replace("featurestore backup", "x")):
        (root / FILE_NAME).write_text(changed)
        with pytest.raises(InternalError, match=r"backup\.json: got a damaged manifest \("):
            restore(DirectoryDestination(root), tmp_path / "again")
        with pytest.raises(InternalError, match=r"backup\.json: got a damaged manifest \("):
            back_up(client, DirectoryDestination(root))


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(client: Client, tmp_path: Path, monkeypatch):
    write(client, 1)
    back_up(client, DirectoryDestination(tmp_path / "backup"))

    class Small:
        f_bavail, f_frsize = 1, 10

    monkeypatch.setattr("os.statvfs", lambda _: Small)
    with pytest.raises(ResourceExhaustedError, match="got 10 bytes of space, expected at least"):
        restore(DirectoryDestination(tmp_path / "backup"), tmp_path / "again")


def test_rows_without_a_journal_are_written_down_first(client: Client, server: Servers, tmp_path: Path, restored: Restored):
    write(client, 1)
    server.stop()
    for file in (server.data / "journal").iterdir():
        file.unlink()
    (server.segments / "journal-mark").unlink()
    server.start()
    with connect(server.url) as again:
        place = open_destination(str(tmp_path / "backup"))
        back_up(again, place)
    with restored(place) as other:
        assert read(other) == [(1, 1)] * 100


def test_a_second_snapshot_of_the_same_is_the_first(client: Client):
    write(client, 1)
    first, second = client.take_snapshot(), client.take_snapshot()
    assert first["base"] == second["base"] == 1
    assert first["records"] == second["records"] > 0
    assert first["bytes"] == second["bytes"] > 0
    assert second["seconds"] == 0
    write(client, 2)
    assert client.take_snapshot()["base"] == 2


def test_snapshots_that_are_asked_for_at_once_follow_one_another(client: Client, server: Servers):
    write(client, 1)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(client.take_snapshot())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each["base"] for each in found] == [1, 1, 1]
    assert len([*(server.data / "journal").glob("snapshot*")]) == 1


def test_versions_that_are_kept_can_be_brought_back_from_a_backup(client: Client, place: Any, restored: Restored):
    write(client, 1)
    loaded = {"k": [*range(100)], "a": [2] * 100, "b": [2] * 100, "event_timestamp": [2] * 100}
    client.replace("v", loaded)
    write(client, 3, range(50))
    back_up(client, place)
    assert verify(place, message_problem).is_whole
    write(client, 4)
    with restored(place) as other:
        assert read(other) == [(3, 3)] * 50 + [(2, 2)] * 50
        other.rollback("v")
        assert read(other) == [(1, 1)] * 100


def test_a_snapshot_of_nothing_is_something(client: Client, place: Any, restored: Restored):
    write(client, 1)
    client.apply({"entities": [ENTITY], "feature_views": []}, prune=True)
    assert client.take_snapshot()["records"] == 0
    client.apply(DEFINITIONS)
    write(client, 2)
    back_up(client, place)
    assert verify(place, message_problem).is_whole
    with restored(place) as other:
        assert read(other) == [(2, 2)] * 100


@pytest.mark.parametrize("has_snapshot", [False, True])
def test_a_store_that_nothing_was_applied_to_comes_back(server: Servers, place: Any, restored: Restored, has_snapshot: bool):
    server.start()
    with connect(server.url) as client:
        if has_snapshot:
            client.take_snapshot()
        back_up(client, place)
    assert verify(place, message_problem).is_whole
    with restored(place) as other:
        other.apply(DEFINITIONS)
        write(other, 1)
        assert read(other) == [(1, 1)] * 100


def test_a_backup_of_a_store_that_has_lost_a_versions_rows_is_refused(client: Client, server: Servers, tmp_path: Path):
    write(client, 1)
    client.replace("v", {"k": [1], "a": [7]})
    (lost,) = (server.data / "journal/versions/default.v").glob("2-*")
    lost.rename(tmp_path / "kept")
    with pytest.raises(InternalError, match="got no files of version 2 of view 'v', expected its rows: put them back"):
        back_up(client, open_destination(str(tmp_path / "backup")))
    (tmp_path / "kept").rename(lost)
    back_up(client, open_destination(str(tmp_path / "backup")))
