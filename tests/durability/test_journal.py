"""The journal's files: what was appended is read, in order; what is not whole is cut; what is damaged is refused by name."""

import asyncio
import os
import resource
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.durability import Journal, Mark
from featurestore.durability import journal as journal_module
from featurestore.durability import next_file as next_file_module
from featurestore.durability.ending import NotedEnd, note_end
from featurestore.durability.group_sync import GroupSync
from featurestore.durability.reading import journal_files, mapped
from featurestore.durability.record import FILE_HEAD, FILE_HEAD_BYTES, FORMAT, MAGIC, seal, unpack
from featurestore.durability.record_writer import PIECE_BYTES
from featurestore.errors import FailedPreconditionError, FeatureStoreError, InternalError, ResourceExhaustedError
from tests.durability.conftest import NUMBER, append, entry, read


def entries(records) -> list:
    return [record.entry for record in records]


def test_what_was_appended_is_read_in_order(make_journal, tmp_path: Path):
    journal = make_journal()
    append(journal, range(1, 21))
    journal.close()
    records, end = read(tmp_path)
    assert entries(records) == [entry(number) for number in range(1, 21)]
    assert [record.sequence for record in records] == [*range(1, 21)]
    assert (end.sequence, end.journal, end.cut_bytes) == (20, NUMBER, 0)


@pytest.mark.parametrize("size", [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 3])
def test_a_long_record_is_read_as_it_was_appended(make_journal, tmp_path: Path, size: int):
    journal = make_journal()
    long = entry(2, os.urandom(size))
    for each in (entry(1), long, entry(3)):
        journal.applied(journal.append(*each))
    journal.close()
    assert entries(read(tmp_path)[0]) == [entry(1), long, entry(3)]


def test_reading_begins_behind_what_is_known(make_journal, tmp_path: Path):
    journal = make_journal(file_bytes=150)
    append(journal, range(1, 31))
    journal.close()
    assert len(journal_files(tmp_path)) > 5
    for after in range(31):
        records, end = read(tmp_path, after)
        assert entries(records) == [entry(number) for number in range(after + 1, 31)]
        assert end.sequence == 30


def test_a_journal_goes_on_where_the_one_before_ended(make_journal, tmp_path: Path):
    for start in (1, 8, 15):
        journal = make_journal(last=start - 1)
        append(journal, range(start, start + 7))
        journal.close()
        make_journal(last=start + 6).close()  # without a record it leaves nothing
    assert len(journal_files(tmp_path)) == 3
    assert entries(read(tmp_path)[0]) == [entry(number) for number in range(1, 22)]


def test_cut_at_every_byte_it_ends_at_the_last_whole_record(make_journal, tmp_path: Path):
    journal = make_journal()
    append(journal, range(1, 6))
    journal.close()
    path = journal_files(tmp_path)[0].path
    whole = path.read_bytes()
    ends = [FILE_HEAD_BYTES]
    for record in read(tmp_path)[0]:
        ends.append(ends[-1] + record.record_bytes)
    assert ends[-1] == len(whole)
    for length in range(FILE_HEAD_BYTES, len(whole)):
        path.write_bytes(whole[:length])
        kept = sum(end <= length for end in ends) - 1
        records, end = read(tmp_path)
        assert entries(records) == [entry(number) for number in range(1, kept + 1)]
        assert end.cut_bytes == length - ends[kept]
        assert path.stat().st_size == ends[kept]
        journal = make_journal(last=end.sequence)  # and it goes on from there
        append(journal, range(kept + 1, kept + 3))
        journal.close()
        assert entries(read(tmp_path)[0]) == [entry(number) for number in range(1, kept + 3)]
        for file in journal_files(tmp_path)[1:]:
            file.path.unlink()


def test_a_head_that_is_not_whole_is_refused_with_its_file(make_journal, tmp_path: Path):
    journal = make_journal()
    append(journal, range(1, 3))
    journal.close()
    path = journal_files(tmp_path)[0].path
    whole = path.read_bytes()
    for length in range(FILE_HEAD_BYTES):
        path.write_bytes(whole[:length])
        with pytest.raises(InternalError, match=f"{path}: got damage at byte 0"):
            read(tmp_path)


def test_any_flipped_bit_is_refused_or_cut_never_read(make_journal, tmp_path: Path):
    journal = make_journal(fsync="interval", fsync_interval_s=3_600)
    append(journal, range(1, 4))
    journal._sync()  # the records from here on say that those before them were synced
    append(journal, range(4, 8))
    journal.close()
    path = journal_files(tmp_path)[0].path
    whole = path.read_bytes()
    offsets = [FILE_HEAD_BYTES]
    for record in read(tmp_path)[0]:
        offsets.append(offsets[-1] + record.record_bytes)
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        place = sum(offset <= bit // 8 for offset in offsets)  # 0: the head; n: record n
        if place <= 3:
            with pytest.raises(InternalError, match=rf"{path}: got damage at byte {([0, *offsets])[place]}, expected "):
                read(tmp_path)
            assert path.read_bytes() == changed
        else:
            records, end = read(tmp_path)
            assert entries(records) == [entry(number) for number in range(1, place)]
            assert end.cut_bytes == len(whole) - offsets[place - 1]


def test_damage_in_an_earlier_file_is_refused(make_journal, tmp_path: Path):
    journal = make_journal(fsync="interval", fsync_interval_s=3_600, file_bytes=150)
    for start in range(1, 31, 3):
        append(journal, range(start, start + 3))
        journal._sync()
    journal.close()
    path = journal_files(tmp_path)[1].path
    with path.open("r+b") as file:
        file.seek(FILE_HEAD_BYTES + 60)
        byte = file.read(1)[0]
        file.seek(FILE_HEAD_BYTES + 60)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(InternalError, match=f"{path}: got damage at byte {FILE_HEAD_BYTES}"):
        read(tmp_path)
    assert read(tmp_path, after=29)[1].sequence == 30  # who needs none of it is not kept from starting


def test_a_hole_in_what_was_never_synced_is_the_end(make_journal, tmp_path: Path):
    journal = make_journal(file_bytes=2_000)
    append(journal, range(1, 61))
    journal.close()
    first, second = [file.path for file in journal_files(tmp_path)[:2]]
    whole = first.read_bytes()
    first.write_bytes(whole[:1_000] + bytes(500) + whole[1_500:])
    records, end = read(tmp_path)
    assert entries(records) == [entry(number) for number in range(1, len(records) + 1)]
    assert 0 < len(records) < 20
    assert end.cut_bytes > 1_000
    assert not second.exists()


def test_a_newer_format_is_refused_with_the_way_out(make_journal, tmp_path: Path):
    journal = make_journal()
    append(journal, range(1, 3))
    journal.close()
    path = journal_files(tmp_path)[0].path
    head = FILE_HEAD.pack(MAGIC, FORMAT + 1, 0, NUMBER, 1)
    path.write_bytes(head + seal(head) + b"of a layout that is not known yet")
    with pytest.raises(FailedPreconditionError, match=f"{path}: got format {FORMAT + 1}, expected at most {FORMAT}: a newer"):
        read(tmp_path)


def test_a_missing_file_is_named_by_what_is_missing(make_journal, tmp_path: Path):
    journal = make_journal(file_bytes=150)
    append(journal, range(1, 31))
    journal.close()
    note_end(tmp_path, NotedEnd(NUMBER, 30))
    first, second, third = [file.path for file in journal_files(tmp_path)[:3]]
    kept = second.read_bytes()
    second.unlink()
    with pytest.raises(FailedPreconditionError, match=f"{third}: got a file that begins with record .*, expected"):
        read(tmp_path)
    second.write_bytes(kept)
    first.unlink()
    with pytest.raises(FailedPreconditionError, match="expected record 1 in it: put the missing files back"):
        read(tmp_path)


def test_the_last_file_is_missed_where_it_was_there_when_the_journal_was_closed(make_journal, tmp_path: Path):
    journal = make_journal(fsync="interval", file_bytes=150)
    append(journal, range(1, 31))
    journal.close()
    journal.note_end()
    last = journal_files(tmp_path)[-1]
    last.path.unlink()
    had = (
        f"a journal that ends with record {last.first_sequence - 1}, expected record 30 as its last one, as when it was closed"
    )
    with pytest.raises(FailedPreconditionError, match=f"{had}: put the missing files back, or, .* take end.json away"):
        read(tmp_path)
    for file in journal_files(tmp_path):
        file.path.unlink()
    with pytest.raises(FailedPreconditionError, match="got no file of a journal, expected record 30 as its last"):
        read(tmp_path)
    (tmp_path / "end.json").unlink()
    assert read(tmp_path)[0] == []


def test_a_torn_end_is_damage_where_the_journal_had_been_closed(make_journal, tmp_path: Path):
    journal = make_journal(fsync="always")
    append(journal, range(1, 6))
    journal.close()
    journal.note_end()
    path = journal_files(tmp_path)[-1].path
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(
        InternalError, match=f"{path}: got damage at byte .*, expected record 5, which had been written and synced"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"magic": "featurestore journal end", "format": 2}',
            "got format 2, expected at most 1: a newer featurestore wrote it",
        ),
        ('{"magic": "featurestore journal end", "format": 1, "journal": "1", "last": 3}', "got a damaged file, expected where"),
        ("[]", "got a damaged file"),
        ("{", "got a damaged file"),
    ],
)
def test_what_was_noted_of_the_end_is_read_or_refused(make_journal, tmp_path: Path, text: str, message: str):
    append(make_journal(), range(1, 3))
    (tmp_path / "end.json").write_text(text)
    with pytest.raises(FeatureStoreError, match=message):
        read(tmp_path)


def test_a_file_that_the_disk_got_without_all_of_the_one_before_is_cut(make_journal, tmp_path: Path):
    """As a loss of power may leave it: nothing says that what is missing had been synced."""
    journal = make_journal(fsync="interval", fsync_interval_s=3_600, file_bytes=150)
    append(journal, range(1, 31))
    first, second, *_ = journal_files(tmp_path)
    with mapped(first.path) as data:
        ends = [FILE_HEAD_BYTES]
        while (record := unpack(data, ends[-1], NUMBER)) is not None:
            ends.append(ends[-1] + record.record_bytes)
    os.truncate(first.path, ends[-2])
    records, end = read(tmp_path)
    assert [record.sequence for record in records] == [*range(1, second.first_sequence - 1)]
    assert end.sequence == second.first_sequence - 2
    assert end.cut_bytes > 0
    assert [file.path for file in journal_files(tmp_path)] == [first.path]
    assert read(tmp_path)[1].sequence == end.sequence


@pytest.mark.parametrize(("first", "number"), [(5, NUMBER), (9, NUMBER + 1)], ids=["it has some", "of another journal"])
def test_a_file_that_does_not_belong_there_is_not_cut(make_journal, tmp_path: Path, first: int, number: int):
    append(make_journal(fsync="interval", fsync_interval_s=3_600), range(1, 7))
    append(make_journal(last=first - 1, number=number), range(first, first + 3))
    files = journal_files(tmp_path)
    with pytest.raises(FailedPreconditionError, match=f"{files[1].path}: got a file "):
        read(tmp_path)
    assert journal_files(tmp_path) == files


def test_damage_is_known_by_a_record_in_a_later_file_that_is_short(make_journal, tmp_path: Path):
    journal = make_journal(fsync="interval", fsync_interval_s=3_600)
    append(journal, range(1, 200))
    journal.begin_file()
    journal._sync()
    append(journal, range(200, 201))  # it says that those before it are on the disk
    path = journal_files(tmp_path)[0].path
    data = bytearray(path.read_bytes())
    data[FILE_HEAD_BYTES + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(InternalError, match=f"{path}: got damage at byte {FILE_HEAD_BYTES}, expected record 1, which had been"):
        read(tmp_path)


def test_a_message_cannot_pass_for_records(make_journal, tmp_path: Path):
    journal = make_journal(fsync="interval", fsync_interval_s=3_600)
    append(journal, range(1, 3))
    journal.close()
    path = journal_files(tmp_path)[0].path
    whole = path.read_bytes()
    other = make_journal(last=2, number=NUMBER + 1)  # which a caller could know
    append(other, range(3, 6))
    other.close()
    forged = journal_files(tmp_path)[1].path
    forged_records = forged.read_bytes()[FILE_HEAD_BYTES:]
    forged.unlink()
    path.write_bytes(whole + forged_records)
    records, end = read(tmp_path)
    assert len(records) == 2
    assert end.cut_bytes == len(forged_records)


@pytest.mark.parametrize(("free", "wanted"), [(100, 1_000), (300_000, 1_000_000)], ids=["in one piece", "in several"])
def test_a_full_disk_refuses_one_write_and_takes_the_next(make_journal, tmp_path: Path, free: int, wanted: int):
    journal = make_journal()
    append(journal, range(1, 3))
    size = journal_files(tmp_path)[0].path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + free, limits[1]))
    try:
        with pytest.raises(ResourceExhaustedError, match=r"the journal's disk is full: .* nothing was written"):
            journal.append(*entry(3, b"x" * wanted))
        assert journal_files(tmp_path)[0].path.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    append(journal, range(3, 5))
    journal.close()
    assert entries(read(tmp_path)[0]) == [entry(number) for number in range(1, 5)]


def test_a_full_disk_at_the_start_of_a_file_refuses_one_write_and_takes_the_next(make_journal, tmp_path: Path, monkeypatch):
    journal = make_journal(file_bytes=50)
    monkeypatch.setattr(journal._next, "want", lambda: None)  # else there may be one already
    append(journal, range(1, 3))
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(ResourceExhaustedError, match="the journal's disk is full"):
            journal.append(*entry(3))
    append(journal, range(3, 5))
    journal.close()
    assert entries(read(tmp_path)[0]) == [entry(number) for number in range(1, 5)]


async def test_many_writers_share_one_sync(make_journal, monkeypatch):
    writers, all_wait = 50, threading.Event()

    class Held(GroupSync):
        """Begins its first sync when all writers wait for it."""

        def serve(self) -> None:
            assert all_wait.wait(30)
            super().serve()

    monkeypatch.setattr(journal_module, "GroupSync", Held)
    journal = make_journal(fsync="always")

    async def write(number: int) -> None:
        sequence = journal.append(*entry(number))
        journal.applied(sequence)
        await journal.waiters.synced(sequence)

    waiting = [asyncio.ensure_future(write(number)) for number in range(1, writers + 1)]
    await asyncio.sleep(0)
    assert not any(each.done() for each in waiting)
    all_wait.set()
    await asyncio.gather(*waiting)
    assert journal._group.rounds == 1
    journal.close()


async def test_writers_are_told_through_a_change_of_files(make_journal, tmp_path: Path):
    journal = make_journal(fsync="always", file_bytes=300)

    async def write(numbers: range) -> None:
        for number in numbers:
            sequence = journal.append(*entry(number))
            journal.applied(sequence)
            await journal.waiters.synced(sequence)

    async with asyncio.timeout(60):
        await asyncio.gather(*(write(range(start, start + 50)) for start in (1, 101, 201, 301)))
    journal.close()
    assert len(journal_files(tmp_path)) > 3
    assert len(read(tmp_path)[0]) == 200


async def test_a_disk_that_fails_to_sync_ends_writing_and_says_so(make_journal, monkeypatch):
    class Broken(GroupSync):
        """Its file is one that cannot be synced: a pipe."""

        def note(self, file: int, sequence: int) -> None:
            super().note(pipe[1], sequence)

    pipe = os.pipe()
    monkeypatch.setattr(journal_module, "GroupSync", Broken)
    journal = make_journal(fsync="always")
    sequence = journal.append(*entry(1))
    with pytest.raises(InternalError, match="got Invalid argument, expected to sync the journal"):
        await journal.waiters.synced(sequence)
    frames = []
    for _ in range(2):
        with pytest.raises(FeatureStoreError, match="until the server is started again") as refused:
            journal.append(*entry(2))
        frames.append(len(refused.traceback))
    assert frames[0] == frames[1], "what is told one caller keeps nothing of the one before"
    with pytest.raises(InternalError, match="got Invalid argument, expected to sync the journal"):
        journal.close()
    for each in pipe:
        os.close(each)


async def test_one_who_cannot_be_told_keeps_nobody_else_from_it(make_journal, caplog):
    journal, told = make_journal(fsync="always"), asyncio.get_running_loop().create_future()

    def defect(_: FeatureStoreError | None) -> None:
        raise ValueError("a defect")

    sequence = journal.append(*entry(1))
    journal.waiters.when_synced(sequence, defect)
    journal.waiters.when_synced(sequence, told.set_result)
    async with asyncio.timeout(30):
        assert await told is None
    assert "a defect" in caplog.text
    journal.close()


@given(order=st.permutations(range(1, 9)))
def test_the_mark_stands_before_the_first_record_that_is_not_applied(tmp_path_factory, order: list[int]):
    mark = memoryview(bytearray(8)).cast("Q")
    directory = tmp_path_factory.mktemp("journal")
    journal = Journal(directory, NUMBER, 0, fsync="never", fsync_interval_s=1.0, mark=mark)
    try:
        assert [journal.append(*entry(number)) for number in range(1, 9)] == [*range(1, 9)]
        for done, sequence in enumerate(order, 1):
            journal.applied(sequence)
            expected = next(number for number in range(9) if number + 1 not in order[:done])
            assert journal.applied_to == mark[0] == expected
    finally:
        journal.close()


def test_a_mark_is_of_its_journal_its_directory_and_its_boot(tmp_path: Path, monkeypatch):
    mark, said = Mark.attach(tmp_path, tmp_path, NUMBER)
    assert said is None
    mark.begin(NUMBER, 7)
    mark.word[0] = 9
    mark.close()
    assert Mark.attach(tmp_path, tmp_path, NUMBER)[1] == 9
    assert Mark.attach(tmp_path, tmp_path, NUMBER + 1)[1] is None
    assert Mark.attach(tmp_path, tmp_path.parent, NUMBER)[1] is None
    monkeypatch.setattr("featurestore.durability.mark._boot", lambda: b"1")
    assert Mark.attach(tmp_path, tmp_path, NUMBER)[1] is None
    monkeypatch.undo()
    mark = Mark.attach(tmp_path, tmp_path, NUMBER)[0]
    mark.forget()
    assert Mark.attach(tmp_path, tmp_path, NUMBER)[1] is None


def test_a_full_file_is_followed_by_one_that_no_writer_waits_for(make_journal, tmp_path: Path, monkeypatch):
    disk_is_back = threading.Event()
    begin_file = next_file_module.begin_file

    def slow(*arguments: object) -> int:
        assert disk_is_back.wait(30)
        return begin_file(*arguments)

    monkeypatch.setattr(next_file_module, "begin_file", slow)
    journal = make_journal(file_bytes=600)
    number = 0
    while journal.position.offset < 800:  # beyond the limit, while the next file is being made
        append(journal, range(number + 1, number + 2))
        number += 1
    assert len(journal_files(tmp_path)) == 1
    disk_is_back.set()
    journal.begin_file()
    append(journal, range(number + 1, number + 11))
    assert [file.first_sequence for file in journal_files(tmp_path)][:2] == [1, number + 1]
    journal.close()
    assert entries(read(tmp_path)[0]) == [entry(each) for each in range(1, number + 11)]


def test_a_file_of_twice_the_size_is_followed_by_another_at_once(make_journal, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        next_file_module, "begin_file", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    journal = make_journal(file_bytes=300)
    append(journal, range(1, 31))
    journal.close()
    assert len(journal_files(tmp_path)) > 3
    assert all(file.path.stat().st_size < 2 * 300 + 200 for file in journal_files(tmp_path))
    assert entries(read(tmp_path)[0]) == [entry(number) for number in range(1, 31)]


def make_ahead(journal: Journal) -> None:
    with journal.lock:
        maker = journal._next.want()
    assert maker is not None
    maker.join()


def test_a_file_that_was_made_ahead_and_not_used_is_gone_after_the_next_start(make_journal, tmp_path: Path):
    journal = make_journal()
    append(journal, range(1, 4))
    make_ahead(journal)
    assert [path.name for path in tmp_path.glob("*.new")] == [f"{4:020d}.next.new"]
    assert entries(read(tmp_path)[0]) == [entry(number) for number in range(1, 4)]
    assert not [*tmp_path.glob("*.new")]


@pytest.mark.parametrize("is_made", [False, True], ids=["made now", "made ahead"])
@pytest.mark.parametrize("fsync", ["always", "interval", "never"])
def test_a_file_is_begun_before_anything_is_written_to_it(make_journal, tmp_path: Path, fsync: str, is_made: bool):
    journal = make_journal(fsync=fsync)
    append(journal, range(1, 4))
    if is_made:
        make_ahead(journal)
    for _ in range(2):  # of one that is empty there is no other
        journal.begin_file()
        assert [file.first_sequence for file in journal_files(tmp_path)] == [1, 4]
    journal.close()
    assert entries(read(tmp_path)[0]) == [entry(number) for number in range(1, 4)]
    following = make_journal(last=3)
    append(following, range(4, 6))
    following.close()
    assert [file.first_sequence for file in journal_files(tmp_path)] == [1, 4]
    assert entries(read(tmp_path)[0]) == [entry(number) for number in range(1, 6)]


def test_files_are_begun_while_others_write(make_journal, tmp_path: Path):
    journal = make_journal(fsync="always", file_bytes=2_000)
    ends = threading.Event()

    def begin() -> None:
        while not ends.is_set():
            journal.begin_file()

    thread = threading.Thread(target=begin)
    thread.start()
    append(journal, range(1, 3_001))
    ends.set()
    thread.join()
    journal.close()
    assert not [*tmp_path.glob("*.new")]
    assert len(journal_files(tmp_path)) > 10
    assert entries(read(tmp_path)[0]) == [entry(number) for number in range(1, 3_001)]
