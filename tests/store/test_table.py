"""What a table promises beyond what the dict model covers: limits, memory, files, errors."""

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featurestore import Entity, FeatureView, Field, JoinKey
from featurestore.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    FeatureStoreError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
)
from featurestore.store import Column, Limits, Store, TableReader, VarColumn
from tests.store.oracle import var_column

USER = Entity(name="user", join_keys=[JoinKey(name="user_id")])
NAMED = Entity(name="named", join_keys=[JoinKey(name="name", type="string")])
ROWS_USED_OFFSET = 56  # in an arena's header: see SegmentHeader in segment.pxd
NOW = np.array([1_000], np.int64)
SAME_HASH = 0xE7037ED1A0B428DB - (1 << 64)
"""As the last number of a key, behind whatever: a factor of zero in hash.h."""


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def store(directory: Path) -> Iterator[Store]:
    with Store.open(
        directory, shards=4, limits=Limits(key_bytes_max=40, value_bytes_max=5_000, batch_rows_max=50_000)
    ) as opened:
        yield opened


def view(*features: str, entity: str = "user", **options: Any) -> FeatureView:
    fields = [Field(name=f"f{i}", type=kind) for i, kind in enumerate(features)]
    return FeatureView(name="v", entity=entity, features=fields, **options)


def floats(*values: float) -> Column:
    return Column(np.array(values, np.float32))


def read(table: TableReader, keys: Any, features: list[str], **options: Any) -> Any:
    return table.read([keys], table.projection(features), now_us=options.pop("now_us", 1_000), **options)


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_shard_and_place_of_a_key_are_the_same_on_every_run(directory: Path) -> None:
    # Which shard a key falls into shows in the row counts; these are of the first run ever.
    with Store.open(directory, shards=4) as store:
        table = store.create_table(view("float32"), USER)
        table.write([np.arange(1_000)], NOW, {"f0": Column(np.zeros(1_000, np.float32))}, now_us=0)
        assert [segment.counts[0] for segment in table._snapshot.segments] == [249, 258, 248, 245]
        named = store.create_table(FeatureView(name="n", entity="named", features=view("float32").features), NAMED)
        keys = var_column([f"user-{i}".encode() for i in range(1_000)])
        named.write([keys], NOW, {"f0": Column(np.zeros(1_000, np.float32))}, now_us=0)
        assert [segment.counts[0] for segment in named._snapshot.segments] == [245, 251, 265, 239]


def test_new_keys_of_one_hash_find_room_as_any_others(store: Store) -> None:
    pair = Entity(name="pair", join_keys=[JoinKey(name="a"), JoinKey(name="b")])
    table = store.create_table(view("float64[50]", entity="pair"), pair)

    def write(count: int) -> tuple[int, ...]:
        numbers = np.concatenate([np.arange(count), np.arange(10)])  # some twice
        values = np.repeat(numbers.astype(np.float64), 50).reshape(-1, 50)
        return table.write([numbers, np.full(count + 10, SAME_HASH)], NOW, {"f0": Column(values)}, now_us=0)

    before = table.stats()
    assert write(900) == (910, 900, 0, 10, 0)
    assert table.stats().memory_bytes - before.memory_bytes >= 900 * before.row_bytes, "nothing is stored to without memory"
    assert write(5_000) == (5_010, 4_100, 0, 910, 0)  # which the index has no room for
    keys = [np.arange(10_000), np.full(10_000, SAME_HASH)]
    assert table.delete(keys, NOW, now_us=0) == (5_000, 5_000, 0)
    assert table.stats().deleted_rows == 10_000


def test_memory_reported_is_what_the_file_system_holds(store: Store, directory: Path) -> None:
    table = store.create_table(view("float32[50]", "string"), USER)
    rng = np.random.default_rng(1)
    for first in range(0, 200_000, 20_000):
        keys = np.arange(first, first + 20_000)
        columns = {
            "f0": Column(rng.random((20_000, 50), np.float32)),
            "f1": Column(var_column([b"x" * (int(k) % 60) for k in keys])),
        }
        table.write([keys], NOW, columns, now_us=0)
    held = sum(path.stat().st_blocks * 512 for path in (directory / "segments" / "default.v").glob("[ai]*-*"))
    assert abs(table.stats().memory_bytes - held) <= 0.01 * held
    while table.tidy_memory():  # given back, and in huge pages where the system has them: the same rows
        pass
    held = sum(path.stat().st_blocks * 512 for path in (directory / "segments" / "default.v").glob("[ai]*-*"))
    assert abs(table.stats().memory_bytes - held) <= 0.01 * held
    batch = read(table, np.arange(200_000)[::-1][:50_000].copy(), ["f1"])
    assert batch.var[0][0] == b"".join(b"x" * (k % 60) for k in range(199_999, 149_999, -1))


def test_memory_that_a_load_took_ahead_is_given_back_and_taken_again(store: Store) -> None:
    table = store.create_table(view("float32[50]", "string"), USER)

    def write(first: int, count: int) -> None:
        keys = np.arange(first, first + count)
        columns = {
            "f0": Column(np.repeat(keys.astype(np.float32), 50).reshape(-1, 50)),
            "f1": Column(var_column([b"%d" % key for key in keys])),
        }
        table.write([keys], NOW, columns, now_us=0)

    def ahead_bytes() -> int:
        segments, row_bytes = table._snapshot.segments, table._snapshot.layout.row_bytes
        used = sum(segment.counts[3] * row_bytes + segment.counts[5] * 16 for segment in segments)
        index = sum(Path(segment.index.path).stat().st_size for segment in segments)
        return sum(segment.memory_bytes for segment in segments) - used - index

    shards = len(table._snapshot.segments)
    for first in range(0, 30_000, 10_000):
        write(first, 10_000)
    assert ahead_bytes() > shards * 100_000
    while table.tidy_memory():
        pass
    assert ahead_bytes() < shards * 48_000  # of rows and of strings, what one step commits, and a header
    assert store.memory.used == table.stats().memory_bytes, "what is given back is no longer counted"
    write(30_000, 100)  # a small one goes where memory was given back
    write(30_100, 15_000)
    batch = read(table, np.arange(45_100), ["f0", "f1"])
    assert np.array_equal(np.frombuffer(batch.values, np.float32).reshape(-1, 50)[:, 7], np.arange(45_100, dtype=np.float32))
    assert batch.var[0][0] == b"".join(b"%d" % key for key in range(45_100))


def test_strings_come_out_whole_in_any_order_and_of_any_length(store: Store) -> None:
    table = store.create_table(view("string", "float32", "string", "bytes"), USER)
    lengths = [*range(70), 31, 0, 32, 0, 33, 1]  # on both sides of what the kernel copies as one piece
    written = {
        name: [bytes([97 + feature]) * (length * (feature + 1)) for length in lengths]
        for feature, name in enumerate(("f0", "f2", "f3"))
    }
    keys = np.arange(len(lengths))
    table.write([keys], NOW, {name: Column(var_column(values)) for name, values in written.items()}, now_us=0)
    for features in (["f0", "f2", "f3"], ["f3", "f2", "f0"], ["f2"], ["f0", "f3"], ["f3", "f3", "f0"]):
        batch = read(table, keys, features)
        for name, (data, offsets) in zip(features, batch.var, strict=True):
            ends = np.frombuffer(offsets, np.int32).tolist()
            assert [data[a:b] for a, b in itertools.pairwise(ends)] == written[name]


def test_replaced_strings_and_deleted_rows_are_used_again(store: Store) -> None:
    table = store.create_table(view("float32", "string"), USER)
    keys = np.arange(20_000)

    def fill(seed: int) -> None:
        lengths = np.random.default_rng(seed).integers(1, 200, len(keys))
        table.write(
            [keys],
            ids(seed),
            {"f0": Column(np.zeros(len(keys), np.float32)), "f1": Column(var_column([b"y" * int(n) for n in lengths]))},
            now_us=seed,
        )

    for seed in range(1, 4):
        fill(seed)
    steady = table.stats().memory_bytes
    for seed in range(4, 24):
        fill(seed)
        table.delete([np.ascontiguousarray(keys[::2])], ids(seed), now_us=seed)
        for _ in range(8):
            table.reclaim(now_us=seed + 86_400_000_001, rows_max=100_000)
    fill(100)
    assert table.stats().rows == len(keys)
    assert table.stats().memory_bytes <= 1.5 * steady


def test_ttl_answers_expired_and_the_value_only_on_request(store: Store) -> None:
    table = store.create_table(view("float32", ttl=timedelta(microseconds=100)), USER)
    table.write([ids(1)], ids(1_000), {"f0": floats(5)}, now_us=0)
    fresh = read(table, ids(1), ["f0"], now_us=1_100)
    assert (fresh.statuses, np.frombuffer(fresh.values, np.float32)[0]) == (None, 5)
    old = read(table, ids(1), ["f0"], now_us=1_101)
    assert old.statuses == b"\x03"
    assert np.isnan(np.frombuffer(old.values, np.float32)[0])
    asked = read(table, ids(1), ["f0"], now_us=1_101, expired_values=True)
    assert (asked.statuses, np.frombuffer(asked.values, np.float32)[0]) == (b"\x03", 5)


def test_several_views_fill_one_matrix(store: Store) -> None:
    table = store.create_table(view("float32", "float32"), USER)
    table.write([ids(1, 2)], NOW, {"f0": floats(1, 2), "f1": floats(3, 4)}, now_us=0)
    out = np.full((3, 4), -1, np.float32)
    nulls = bytearray(3)
    projection = table.projection(["f1", "f0"], null_bits=[2, 3], null_row_bytes=1)
    batch = table.read([ids(2, 9, 1)], projection, now_us=0, out=out, out_offset=8, out_stride=16, nulls_out=nulls)
    assert batch.values is None
    assert out[:, :2].tolist() == [[-1, -1]] * 3
    assert out[[0, 2], 2:].tolist() == [[4, 2], [3, 1]]
    assert np.isnan(out[1, 2:]).all()
    assert batch.statuses == b"\x00\x02\x00"


WRONG: list[tuple[Any, Any, Any, type[FeatureStoreError], str]] = [
    (
        [np.zeros(2, np.int32)],
        NOW,
        {},
        InvalidArgumentError,
        "user_id: got 'int32 of shape (2,)', expected a contiguous int64 array",
    ),
    ([], NOW, {}, InvalidArgumentError, "keys: got '0 columns', expected one for each join key: user_id"),
    ([ids(1)], NOW, {"f9": floats(1)}, NotFoundError, "'f9' does not exist: expected one of 'f0', 'f1'"),
    ([ids(1)], NOW, {"f0": floats(1, 2)}, InvalidArgumentError, "f0: got '2 values', expected 1, one for each key"),
    (
        [ids(1)],
        NOW,
        {"f0": Column(np.zeros(1))},
        InvalidArgumentError,
        "f0: got 'float64 of shape (1,)', expected a contiguous array of float32",
    ),
    (
        [ids(1, 2)],
        ids(1, 2, 3),
        {},
        InvalidArgumentError,
        "event_timestamps_us: got '3 values', expected 2, one for each key, or 1",
    ),
    ([ids(1)], NOW, {"f1": floats(1)}, InvalidArgumentError, "f1: got 'ndarray', expected strings or bytes"),
    (
        [ids(1)],
        NOW,
        {"f1": Column(var_column([b"x" * 5_001]))},
        ResourceExhaustedError,
        "bytes of a value of f1: got 5001, at most 5000",
    ),
    ([np.arange(50_001)], NOW, {}, ResourceExhaustedError, "rows of a batch: got 50001, at most 50000 is allowed"),
    (
        [ids(1)],
        NOW,
        {"f1": Column(VarColumn(np.zeros(4, np.uint8), np.array([0, 5], np.int32)))},
        InvalidArgumentError,
        "offsets that never fall and stay within 4 bytes",
    ),
    (
        [ids(1, 2)],
        NOW,
        {"f1": Column(VarColumn(np.zeros(4, np.uint8), np.array([0, 3, 2], np.int32)))},
        InvalidArgumentError,
        "f1.offsets: got 'row 1'",
    ),
    (
        [ids(*range(9))],
        NOW,
        {"f0": Column(np.zeros(9, np.float32), np.zeros(1, np.uint8))},
        InvalidArgumentError,
        "2 bytes of bits",
    ),
]


@pytest.mark.parametrize(("keys", "events", "columns", "error", "message"), WRONG)
def test_a_wrong_batch_is_refused_whole(
    store: Store, keys: Any, events: Any, columns: Any, error: type[FeatureStoreError], message: str
) -> None:
    table = store.create_table(view("float32", "string"), USER)
    with pytest.raises(error) as raised:
        table.write(keys, events, columns, now_us=0)
    assert message in str(raised.value)
    assert table.stats().rows == 0


def test_rows_and_bytes_over_the_limit_are_refused_before_anything_is_written(directory: Path) -> None:
    with Store.open(directory, shards=1, limits=Limits(rows_max=10)) as store:
        table = store.create_table(view("float32"), USER)
        table.write([np.arange(8)], NOW, {}, now_us=0)
        with pytest.raises(ResourceExhaustedError, match="rows of view 'v': got 11, at most 10"):
            table.write([np.arange(11)], NOW, {"f0": Column(np.ones(11, np.float32))}, now_us=0)
        assert table.stats().rows == 8
        assert table.write([np.arange(10)], NOW, {}, now_us=0).inserted == 2
    shutil.rmtree(directory / "segments")
    with Store.open(directory, shards=1, limits=Limits(memory_bytes_max=1_000_000)) as store:
        table = store.create_table(view("float32[100]"), USER)
        with pytest.raises(ResourceExhaustedError, match="max_memory: the tables take"):
            table.write([np.arange(3_000)], NOW, {}, now_us=0)
        assert table.stats().rows == 0
        assert table.write([np.arange(100)], NOW, {}, now_us=0).inserted == 100


def test_large_batch_leaves_committed_memory_for_another(directory: Path) -> None:
    with Store.open(directory, shards=16) as store:
        table = store.create_table(view("float32[50]"), USER)
        values = Column(np.zeros((20_000, 50), np.float32))
        batch_bytes = 20_000 * table._snapshot.layout.row_bytes
        for written in range(1, 5):
            table.write([np.arange((written - 1) * 20_000, written * 20_000)], NOW, {"f0": values}, now_us=0)
            arenas = (directory / "segments" / "default.v").glob("a*-*")
            committed_bytes = sum(path.stat().st_blocks * 512 for path in arenas)
            assert 0.8 < committed_bytes / batch_bytes - written < 1.2, "of a batch"


@pytest.mark.parametrize("at_once", [500, 1_000], ids=["small batches", "large ones, with memory committed ahead"])
def test_full_memory_is_an_error_and_reads_go_on(directory: Path, at_once: int) -> None:
    mount = directory / "small"
    mount.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(mount)], check=False, capture_output=True
    ).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        with Store.open(mount, shards=1) as store:
            table = store.create_table(view("float32[200]"), USER)

            def fill() -> None:
                for first in range(0, 100_000, at_once):
                    keys = np.arange(first, first + at_once)
                    values = np.repeat(keys, 200).reshape(-1, 200).astype(np.float32)
                    table.write([keys], NOW, {"f0": Column(values)}, now_us=0)

            with pytest.raises(ResourceExhaustedError, match=r"memory for segments is full: .* bytes left, .* --shm-size"):
                fill()
            rows = table.stats().rows
            assert rows > 0
            assert rows % at_once == 0
            got = np.frombuffer(read(table, np.arange(rows), ["f0"]).values, np.float32).reshape(rows, 200)
            assert (got == np.arange(rows)[:, None]).all()
            assert table.write([np.arange(rows)], NOW, {}, now_us=0).equal == rows
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


def test_strings_of_one_read_are_bounded(directory: Path) -> None:
    with Store.open(directory, shards=1, limits=Limits(read_string_bytes_max=100)) as store:
        table = store.create_table(view("string"), USER)
        table.write([ids(1)], NOW, {"f0": Column(var_column([b"x" * 30]))}, now_us=0)
        assert read(table, ids(1, 1, 1), ["f0"]).var[0][0] == b"x" * 90
        with pytest.raises(ResourceExhaustedError, match="the strings of this read take more than 100 bytes"):
            read(table, ids(1, 1, 1, 1), ["f0"])


def test_overwriting_few_rows_many_times_takes_no_more_memory(store: Store) -> None:
    table = store.create_table(view("string", "float32", entity="named"), NAMED)
    keys = var_column([f"key-{i % 3}".encode() for i in range(3_000)])
    columns = {"f0": Column(var_column([b"text" * (i % 5) for i in range(3_000)])), "f1": Column(np.zeros(3_000, np.float32))}
    table.write([keys], NOW, columns, now_us=0)
    before = table.stats().memory_bytes
    assert before < 600_000
    for event in range(2_000, 2_100):
        table.write([keys], ids(event), columns, now_us=0)
    assert (table.stats().rows, table.stats().memory_bytes) == (3, before)


def test_key_longer_than_the_limit_is_refused(store: Store) -> None:
    table = store.create_table(view("float32", entity="named"), NAMED)
    with pytest.raises(ResourceExhaustedError, match="bytes of a value of name: got 41, at most 40"):
        table.write([var_column([b"k" * 41])], NOW, {}, now_us=0)


def test_changing_a_type_or_the_keys_is_refused_with_the_way_out(store: Store) -> None:
    store.create_table(view("float32"), USER)
    with pytest.raises(FailedPreconditionError, match="add a feature of another name, load it, and drop the old one"):
        store.alter_table(view("float64"), USER)
    with pytest.raises(FailedPreconditionError, match="make a new view of the new entity"):
        store.alter_table(view("float32"), NAMED)


def test_a_projection_made_before_a_schema_change_goes_on(store: Store) -> None:
    table = store.create_table(view("float32", "float32"), USER)
    table.write([ids(1)], NOW, {"f0": floats(1), "f1": floats(2)}, now_us=0)
    projection = table.projection(["f1"])
    wider = FeatureView(
        name="v", entity="user", features=[Field(name="g", type="string"), *view("float32", "float32").features]
    )
    store.alter_table(wider, USER)
    assert np.frombuffer(table.read([ids(1)], projection, now_us=0).values or b"", np.float32).tolist() == [2]
    store.alter_table(view("float32"), USER)
    with pytest.raises(NotFoundError, match="feature 'f1' does not exist"):
        table.read([ids(1)], projection, now_us=0)


def test_a_feature_that_was_made_again_is_not_read_as_of_its_former_type(store: Store) -> None:
    table = store.create_table(view("float32", "int64"), USER)
    projections = [table.projection(["f1"]), table.projection(["f0", "f1"], columnar=True)]
    store.alter_table(view("float32"), USER)
    store.alter_table(view("float32", "float64"), USER)  # of the same width
    table.write([ids(1)], NOW, {"f1": Column(np.array([1.5]))}, now_us=0)
    for projection in projections:
        with pytest.raises(FailedPreconditionError, match="types of features of 'v' changed"):
            table.read([ids(1)], projection, now_us=0)
    assert np.frombuffer(read(table, ids(1), ["f1"]).values, np.float64).tolist() == [1.5]


def test_a_directory_has_one_owner_and_says_who(store: Store, directory: Path) -> None:
    with pytest.raises(FailedPreconditionError, match=f"is held by process {os.getpid()}"):
        Store.open(directory)


def test_a_killed_owner_leaves_its_rows_and_no_lock(directory: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; import numpy as np\n"
        "from tests.store.test_table import *\n"
        "store = Store.open(Path(sys.argv[1]), shards=4); table = store.create_table(view('float32', 'string'), USER)\n"
        "keys = np.arange(5000); texts = var_column([str(k).encode() for k in keys.tolist()])\n"
        "table.write([keys], NOW, {'f0': Column(keys.astype(np.float32)), 'f1': Column(texts)}, now_us=0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(directory)], check=False)
    with Store.open(directory) as store:
        table = store.table("default", "v")
        assert table.stats().rows == 5_000
        batch = read(table, np.arange(5_000), ["f0", "f1"])
        assert np.frombuffer(batch.values, np.float32).tolist() == list(range(5_000))
        assert batch.var[0][0] == b"".join(str(k).encode() for k in range(5_000))


def test_a_row_handed_out_but_never_written_is_no_row_after_a_crash(directory: Path) -> None:
    store = Store.open(directory, shards=1)
    table = store.create_table(view("float32"), USER)
    table.write([ids(1, 2)], NOW, {"f0": floats(1, 2)}, now_us=0)
    os.close(store._lock)  # dies without closing, and in the middle of taking a third row
    with (directory / "segments" / "default.v" / "arena-0.1").open("r+b") as arena:
        arena.seek(ROWS_USED_OFFSET)
        arena.write((3).to_bytes(8, "little"))
    with Store.open(directory) as again:
        assert again.table("default", "v").stats().rows == 2
        assert read(again.table("default", "v"), ids(0, 1, 2), ["f0"]).statuses == b"\x02\x00\x00"


def test_create_twice_and_drop(store: Store) -> None:
    store.create_table(view("float32"), USER)
    with pytest.raises(AlreadyExistsError):
        store.create_table(view("float32"), USER)
    store.drop_table("default", "v")
    with pytest.raises(NotFoundError):
        store.table("default", "v")
    assert store.create_table(view("int64"), USER).stats().rows == 0


def test_a_table_knows_when_the_store_has_it_no_more(directory: Path) -> None:
    with Store.open(directory, shards=1) as store:
        dropped = store.create_table(view("float32"), USER)
        assert not dropped.is_gone
        store.drop_table("default", "v")
        assert dropped.is_gone
        kept = store.create_table(view("float32"), USER)
        assert not kept.is_gone
    assert kept.is_gone


@pytest.mark.parametrize("damage", ["magic", "format", "short"])
def test_a_damaged_segment_is_refused_with_its_name(directory: Path, damage: str) -> None:
    with Store.open(directory, shards=1) as store:
        store.create_table(view("float32"), USER)
    segment = next((directory / "segments" / "default.v").glob("arena-0.*"))
    with segment.open("r+b") as file:
        if damage == "short":
            file.truncate(100)
        else:
            file.seek(0 if damage == "magic" else 8)
            file.write(b"\xff\xff")
    with pytest.raises(FailedPreconditionError, match="arena-0"):
        Store.open(directory)


@pytest.mark.parametrize(
    ("name", "offset", "value"),
    [
        ("arena-0.1", 24, 1 << 40),  # rows_offset
        ("arena-0.1", 24, (1 << 64) - 4_096),
        ("arena-0.1", 32, 1 << 60),  # rows_capacity
        ("arena-0.1", 40, 1 << 40),  # heap_offset
        ("arena-0.1", 40, 0),
        ("arena-0.1", 48, 1 << 60),  # heap_capacity
        ("index-0.1", 16, 1),  # capacity: of a whole number of lines, else a search may find no end
        ("index-0.1", 16, 1 << 61),
        ("control", 12, 3),  # shards: not a power of two
    ],
)
def test_a_header_that_leads_out_of_its_file_is_refused_before_it_is_followed(
    directory: Path, name: str, offset: int, value: int
) -> None:
    with Store.open(directory, shards=1) as store:
        store.create_table(view("float32", "string"), USER).write([ids(1)], NOW, {"f0": floats(1)}, now_us=0)
    with (directory / "segments" / "default.v" / name).open("r+b") as file:
        file.seek(offset)
        file.write(value.to_bytes(4 if name == "control" else 8, "little"))
    with pytest.raises(FailedPreconditionError, match=rf"{name} .*damaged"):
        read(TableReader.attach(directory / "segments" / "default.v"), ids(1, 2), ["f0", "f1"])


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"project": "p", "view": "v", "join_keys": []}'])
def test_a_damaged_schema_is_refused_with_its_name(directory: Path, text: str) -> None:
    with Store.open(directory, shards=1) as store:
        store.create_table(view("float32"), USER)
    (directory / "segments" / "default.v" / "schema.1.json").write_text(text)
    with pytest.raises(FailedPreconditionError, match=r"schema\.1\.json does not say"):
        TableReader.attach(directory / "segments" / "default.v")
    with pytest.raises(FailedPreconditionError, match=r"schema\.1\.json does not say"):
        Store.open(directory)


def test_small_writes_are_quick_at_every_size_that_a_table_may_have(store: Store) -> None:
    """Also where the index of a shard is nearly full: writes to rows that are there would not make it grow."""
    table = store.create_table(view("int64"), USER)
    for start in range(0, 20_000, 100):
        keys = np.arange(start, start + 100)
        table.write([keys], NOW, {"f0": Column(keys)}, now_us=0)
        table.ready_for(100)
        assert table.writes_inline(100), f"with {start + 100} rows"


def test_memory_that_a_load_took_ahead_is_given_back_once_its_rows_serve(store: Store) -> None:
    table = store.create_table(view("float32[50]"), USER)
    while table.tidy_memory():
        pass
    staged = store.stage_table("default", "v")
    for start in range(0, 40_000, 10_000):
        keys = np.arange(start, start + 10_000)
        staged.write([keys], NOW, {"f0": Column(np.zeros((10_000, 50), np.float32))}, now_us=0)
    table.exchange(staged, 2)
    store.discard_table(staged)
    before = table.stats().memory_bytes
    assert table.tidy_memory()
    assert table.stats().memory_bytes < before
    assert table.stats().rows == 40_000
