"""What a load does with its rows: loads, leaves out, rejects, remembers."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from featurestore.errors import FailedPreconditionError, InvalidArgumentError
from featurestore.ingest import Load, LoadOptions, Naming, RejectLimit, TimeFormat, TooManyRejectsError, find_sources, naming_of
from featurestore.ingest import messages as messages_module
from featurestore.ingest.checkpoint import read_checkpoint
from featurestore.ingest.readers import blocks, columnar
from featurestore.model import BatchSource, Entity, JoinKey
from tests.ingest.conftest import ENTITY, KeepingSink, LostError, view_of

VIEW = view_of(x="float32", n="int32")
MANY = RejectLimit(1_000_000)


def write_csv(path, rows=1_000, wrong=(), header="key,event_timestamp,x,n"):
    lines = [f"{key},2024-01-01T00:00:00,{'?' if key in wrong else key / 4},{key % 7}" for key in range(rows)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


# ---------------------------------------------------------------------------------------------------------------- mapping


def test_columns_go_where_the_options_say(tmp_path, load_files):
    entity = Entity(name="e", join_keys=[JoinKey(name="user", type="string"), JoinKey(name="shop")])
    view = view_of(entity, spend="float64", seen="timestamp", note="string")
    (tmp_path / "a.csv").write_text("who,where,at,sum,seen,unused\nann,7,2024-01-01,1.5,2023-12-31T10:00:00,z\n")
    naming = Naming((("sum", "spend"),), ("who", "where=shop"), "at")
    rows, summary = load_files(view, tmp_path / "a.csv", entity=entity, naming=naming)
    assert rows == [
        {"user": "ann", "shop": 7, "spend": 1.5, "seen": datetime(2023, 12, 31, 10), "event_timestamp": datetime(2024, 1, 1)}
    ]
    assert summary.left_out == ("note",)
    assert summary.unused == ("unused",)


def test_the_views_source_names_what_the_options_do_not(tmp_path, load_files):
    source = BatchSource(path="-", timestamp_column="at", columns={"id": "key", "value": "x"})
    view = VIEW.model_copy(update={"source": source})
    (tmp_path / "a.csv").write_text("id,at,value,other,n\n1,2024-01-01,1.5,2.5,3\n")
    assert [row["x"] for row in load_files(view, tmp_path / "a.csv").rows] == [1.5]
    assert [row["x"] for row in load_files(view, tmp_path / "a.csv", naming=Naming((("other", "x"),))).rows] == [2.5]
    assert naming_of(VIEW, Naming(timestamp="t")) == Naming(timestamp="t")


def test_a_time_column_that_is_a_feature_too_is_both(tmp_path, load_files):
    view = view_of(event_timestamp="timestamp")
    (tmp_path / "a.csv").write_text("key,event_timestamp\n1,2024-01-01\n")
    time = datetime(2024, 1, 1)
    assert load_files(view, tmp_path / "a.csv").rows == [{"key": 1, "event_timestamp": time, "_event_timestamp": time}]


def test_now_is_one_time_for_all_rows(tmp_path, load_files):
    (tmp_path / "a.csv").write_text("key,x\n1,1\n2,2\n")
    before = datetime.now(UTC).replace(tzinfo=None)
    times = {row["event_timestamp"] for row in load_files(VIEW, tmp_path / "a.csv", naming=Naming(timestamp="now")).rows}
    assert len(times) == 1
    assert before <= times.pop() <= datetime.now(UTC).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("header", "naming", "sentence"),
    [
        ("kee,event_timestamp,x", Naming(), "--key: got 'key', expected a column for join key 'key': one like 'kee'"),
        ("key,time,x", Naming(), "--timestamp: got 'event_timestamp', expected a column of the file: one of 'key',"),
        ("key,event_timestamp,y", Naming(), "'y', expected at least one feature: 'x', 'n'; or --map column=feature"),
        ("key,event_timestamp,x", Naming((("y", "x"),)), "--map: got 'y', expected a column of the file: one of"),
        ("key,event_timestamp,y", Naming((("y", "xx"),)), "--map: got y=xx, expected a feature or join key of view 'v':"),
        ("key,event_timestamp,y", Naming((("y", "x"), ("y", "n"))), "--map: got y=n, expected a column that feeds nothing"),
        ("a,b,event_timestamp,x", Naming(keys=("a=key", "b=key")), "--key: got b=key, expected one column for 'key', which"),
        ("key,event_timestamp,x", Naming(keys=("key", "x")), "--key: got x, expected one column for each join key of 'e': key"),
        ("key,event_timestamp,x,x", Naming(), "x: got the column twice, expected distinct names of the columns that are used"),
    ],
)  # fmt: skip
def test_a_mapping_that_makes_no_sense_is_explained(header, naming, sentence, tmp_path, load_files):
    (tmp_path / "a.csv").write_text(header + "\n")
    with pytest.raises(InvalidArgumentError) as raised:
        load_files(VIEW, tmp_path / "a.csv", naming=naming)
    assert str(raised.value).startswith(f"{tmp_path / 'a.csv'}: ")
    assert sentence in str(raised.value)


def test_columns_that_cannot_become_their_type_are_refused_before_reading(tmp_path, load_files):
    table = pa.table({"key": [1], "event_timestamp": [1_700_000_000], "x": [{"a": 1}]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InvalidArgumentError) as raised:
        load_files(VIEW, tmp_path / "a.parquet")
    assert "x: got a column of struct<a: int64>, expected what can become float32 for 'x'" in str(raised.value)
    assert "--timestamp-format: got none, expected s, ms, us or ns: 'event_timestamp' holds numbers" in str(raised.value)


# ---------------------------------------------------------------------------------------------------------------- rejects


@pytest.mark.parametrize("name", ["rejects.csv", "rejects.jsonl"])
def test_each_rejected_row_is_listed_with_its_place_and_reason(name, tmp_path, load_files):
    (tmp_path / "a.csv").write_text(
        "key,event_timestamp,x,n\n"
        "1,2024-01-01,1,1\n"
        ",2024-01-01,1,1\n"
        "2,,1,1\n"
        "3,yesterday,1,1\n"
        '4,2024-01-01,"a, b",1.5\n'
        "5,2024-01-01,1\n"
        "6,2024-01-01,1,\n"
    )
    rows = load_files(VIEW, tmp_path / "a.csv", max_rejects=MANY, rejects=tmp_path / name).rows
    assert [row["key"] for row in rows] == [1, 6]
    text = (tmp_path / name).read_text()
    if name.endswith("csv"):
        found = list(csv.DictReader(text.splitlines()))
        lines = [int(entry["line_or_row"]) for entry in found]
    else:
        found = [json.loads(line) for line in text.splitlines()]
        lines = [entry["line"] for entry in found]
    assert lines == [3, 4, 5, 6, 7]
    assert {entry["file"] for entry in found} == {str(tmp_path / "a.csv")}
    assert [(entry["column"], entry["value"] or "", entry["reason"]) for entry in found] == [
        ("key", "", "expected int64: a join key is never null"),
        ("event_timestamp", "", "expected a time: an event timestamp is never null"),
        ("event_timestamp", "yesterday", "expected a time in ISO 8601"),
        ("x", "a, b", "expected a number within float32"),
        ("", "5,2024-01-01,1", "3 fields, expected 4"),
    ]


def test_rows_of_binary_formats_are_named_by_number(tmp_path, load_files, monkeypatch):
    monkeypatch.setattr(columnar, "CHUNK_BYTES", 1)
    table = pa.table(
        {
            "key": range(500),
            "event_timestamp": [datetime(2024, 1, 1)] * 500,
            "n": [2**40 if i == 333 else i for i in range(500)],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    reject = load_files(VIEW, tmp_path / "a.parquet", max_rejects=MANY).summary.examples[0]
    assert (
        str(reject) == f"{tmp_path / 'a.parquet'} row 334, column 'n': got '1099511627776', expected a whole number of 32 bits"
    )


@pytest.mark.parametrize(
    ("limit", "wrong", "loads"),
    [
        ("0", (), True),
        ("0", (5,), False),
        ("2", (1, 2), True),
        ("2", (1, 2, 3), False),
        ("0.2%", (1, 2), True),
        ("0.2%", (1, 2, 3), False),
    ],
)
def test_more_rejects_than_allowed_end_the_load(limit, wrong, loads, tmp_path, load_files):
    write_csv(tmp_path / "a.csv", 1_000, wrong)
    options = {"max_rejects": RejectLimit.parse(limit), "rejects": tmp_path / "r.jsonl"}
    if loads:
        assert load_files(VIEW, tmp_path / "a.csv", **options).summary.counts.rejected == len(wrong)
        return
    with pytest.raises(TooManyRejectsError) as raised:
        load_files(VIEW, tmp_path / "a.csv", **options)
    assert f"--max-rejects: {len(wrong)} of 1000 rows rejected, at most {limit} allowed; the first: " in str(raised.value)
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == len(wrong)


@pytest.mark.parametrize("text", ["", "-1", "101%", "a few", "1.5"])
def test_a_limit_that_is_none_is_refused(text):
    with pytest.raises(InvalidArgumentError, match=r"--max-rejects: got .*, expected a number of rows such as 100"):
        RejectLimit.parse(text)


def test_a_dry_run_checks_everything_and_sends_nothing(tmp_path):
    sources = find_sources([str(write_csv(tmp_path / "a.csv", 1_000, (3, 700)))])
    load = Load(VIEW, ENTITY, sources, LoadOptions(rejects=tmp_path / "r.csv"))
    with pytest.raises(TooManyRejectsError, match="2 of 1000 rows"):
        load.run(None)
    assert load.summary(dry_run=True).counts.rejected == 2
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 3


# ------------------------------------------------------------------------------------------------------------------ where


@pytest.mark.parametrize(
    ("where", "keys"),
    [
        ("n = 3 AND key < 20", [3, 10, 17]),
        ("event_timestamp > TIMESTAMP '2024-01-01 00:00:00' OR key = 5", [5]),
        ("1 = 0", []),
        ("extra IN ('e1', 'e2') -- a remark", [1, 2]),
        ("x IS NULL", []),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_where_leaves_out_the_other_rows(where, keys, suffix, tmp_path, load_files):
    table = pa.table(
        {
            "key": range(30),
            "event_timestamp": [datetime(2024, 1, 1)] * 30,
            "x": [key / 4 for key in range(30)],
            "n": [key % 7 for key in range(30)],
            "extra": [f"e{key}" for key in range(30)],
        }
    )
    path = tmp_path / f"a.{suffix}"
    arrow_csv.write_csv(table, path) if suffix == "csv" else pq.write_table(table, path)
    rows, summary = load_files(VIEW, path, where=where)
    assert [row["key"] for row in rows] == keys
    assert summary.counts.filtered == 30 - len(keys)


def test_a_row_that_where_leaves_out_is_not_rejected_unless_it_could_not_tell(tmp_path, load_files):
    (tmp_path / "a.csv").write_text("key,event_timestamp,x,n\n1,2024-01-01,bad,1\n2,2024-01-01,1,bad\n3,2024-01-01,1,2\n")
    rows, summary = load_files(VIEW, tmp_path / "a.csv", where="n = 2", max_rejects=MANY)
    assert [row["key"] for row in rows] == [3]
    assert [reject.number for reject in summary.examples] == [3]
    assert summary.counts.filtered == 1


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("nn = 1", "nn"),
        ("n = ", "syntax error"),
        ("sum(n) > 1", "without aggregates"),
        ("'a'", "Could not convert"),
        ("n IN (SELECT 1 FROM 'a.csv')", "a.csv"),
    ],
)
def test_a_condition_that_makes_no_sense_is_explained(where, sentence, tmp_path, load_files):
    with pytest.raises(InvalidArgumentError) as raised:
        load_files(VIEW, write_csv(tmp_path / "a.csv", 5), where=where)
    assert str(raised.value).startswith("--where: got ")
    assert sentence in str(raised.value)


# --------------------------------------------------------------------------------------------------------------- resuming


@pytest.fixture
def small_parts(monkeypatch):
    """Blocks and messages of a few rows, so that there are many places to stop at."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1_500)
    monkeypatch.setattr(columnar, "CHUNK_BYTES", 1)
    monkeypatch.setattr(messages_module, "MESSAGE_BYTES", 400)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("breaks_after", [0, 1, 2, 7, 8, 14, 23, 24, 29, 40, 45])
@pytest.mark.parametrize("behind", [0, 3])
def test_resuming_after_a_break_skips_nothing_and_loads_nothing_twice(breaks_after, behind, tmp_path):
    wrong = {5, 6, 7, 123, 300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 499}
    write_csv(tmp_path / "a.csv", 500, wrong)
    table = pa.table(
        {"key": range(500, 900), "event_timestamp": [datetime(2024, 1, 1)] * 400, "x": [1.0] * 400, "n": range(400)}
    )
    pq.write_table(table, tmp_path / "b.parquet", row_group_size=150)
    options = LoadOptions(max_rejects=MANY, rejects=tmp_path / "rejects.jsonl", where="key % 10 <> 9")

    def load(resume):
        sources = find_sources([str(tmp_path / "a.csv"), str(tmp_path / "b.parquet")])
        return Load(VIEW, ENTITY, sources, options, store="s", checkpoint=tmp_path / "checkpoint", resume=resume)

    first = KeepingSink(behind, breaks_after)
    with pytest.raises(LostError):
        load(False).run(first)
    second = KeepingSink()
    resumed = load(True)
    assert resumed.resumed == (breaks_after > 0)
    summary = resumed.run(second)

    expected = [key for key in range(900) if key % 10 != 9 and key not in wrong]
    assert [row["key"] for row in first.rows + second.rows] == expected
    rejected = [json.loads(line)["line"] - 2 for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert rejected == sorted(key for key in wrong if key % 10 != 9)
    assert summary.counts.read == 900
    assert summary.counts.written == len(expected)
    assert summary.counts.rejected == len(rejected)
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("stop_after", [1, 5, 30])
def test_a_load_that_is_stopped_settles_all_that_it_sent(stop_after, tmp_path):
    path = write_csv(tmp_path / "a.csv", 500)

    def load(resume):
        return Load(VIEW, ENTITY, find_sources([str(path)]), LoadOptions(), checkpoint=tmp_path / "c", resume=resume)

    first, second = KeepingSink(behind=2), KeepingSink()
    stopped = load(False)
    summary = stopped.run(first, lambda state: stopped.stop() if len(first.acknowledged) >= stop_after else None)
    assert summary.interrupted
    assert first.acknowledged == first.batches
    assert load(True).run(second).counts.read == 500
    assert [row["key"] for row in first.rows + second.rows] == list(range(500))


@pytest.mark.usefixtures("small_parts")
def test_a_checkpoint_is_good_for_the_same_load_only(tmp_path):
    path = write_csv(tmp_path / "a.csv", 500)
    options = LoadOptions()

    def load(options=options, store="s", view=VIEW, files=("a.csv",), resume=True):
        sources = find_sources([str(tmp_path / name) for name in files])
        return Load(view, ENTITY, sources, options, store=store, checkpoint=tmp_path / "c", resume=resume)

    with pytest.raises(LostError):
        load(resume=False).run(KeepingSink(breaks_after=3))
    assert load().resumed
    (tmp_path / "b.csv").write_text(path.read_text())
    cases = [
        ({"store": "t"}, "store was 's', is 't'"),
        ({"view": replace_name(VIEW, "w")}, "view was 'v', is 'w'"),
        ({"options": replace(options, where="n = 1")}, "where was None, is 'n = 1'"),
        ({"options": replace(options, times=TimeFormat(None, "Europe/Berlin"))}, "timezone was 'UTC', is 'Europe/Berlin'"),
        ({"files": ("a.csv", "b.csv")}, "there were 1 files, there are 2"),
        ({"files": ("b.csv",)}, "a file was "),
    ]
    for changed, sentence in cases:
        with pytest.raises(FailedPreconditionError, match=f"is of another load: {sentence}"):
            load(**changed)
    text = path.read_text()
    path.write_text(text.replace("0.25", "0.75"))
    with pytest.raises(FailedPreconditionError, match="has been changed since"):
        load()
    path.write_text(text + "1,2024-01-01,1,1\n")
    with pytest.raises(FailedPreconditionError, match=r"had \d+ bytes, has \d+"):
        load()


def replace_name(view, name):
    return view.model_copy(update={"name": name})


@pytest.mark.usefixtures("small_parts")
def test_a_torn_position_leaves_the_one_before(tmp_path):
    path = write_csv(tmp_path / "a.csv", 500)
    with pytest.raises(LostError):
        Load(VIEW, ENTITY, find_sources([str(path)]), LoadOptions(), checkpoint=tmp_path / "c").run(KeepingSink(breaks_after=4))
    lines = (tmp_path / "c").read_bytes().split(b"\n")
    positions = []
    for torn in (1, 2):
        damaged = [line[:200] + b"#" + line[201:] if number == torn else line for number, line in enumerate(lines)]
        (tmp_path / "c").write_bytes(b"\n".join(damaged))
        _, progress = read_checkpoint(tmp_path / "c")
        positions.append(progress.sequence)
    assert sorted(positions) == [3, 4]


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = write_csv(tmp_path / "a.csv", 5)
    (tmp_path / "c").write_text("something else\n")
    with pytest.raises(FailedPreconditionError, match="is not a checkpoint that this version can read"):
        Load(VIEW, ENTITY, find_sources([str(path)]), LoadOptions(), checkpoint=tmp_path / "c", resume=True)


# --------------------------------------------------------------------------------------------------------------- messages


def test_batches_are_cut_by_what_they_take_on_the_wire(tmp_path, monkeypatch):
    monkeypatch.setattr(messages_module, "MESSAGE_BYTES", 64 << 10)
    monkeypatch.setattr(messages_module, "MESSAGE_BYTES_MAX", 128 << 10)
    rows = 3_000
    names = ["a" * (20_000 if key % 97 == 0 else 5) for key in range(rows)]
    table = pa.table({"key": range(rows), "event_timestamp": [datetime(2024, 1, 1)] * rows, "name": names, "b": [True] * rows})
    pq.write_table(table, tmp_path / "a.parquet")
    sink = KeepingSink()
    load = Load(view_of(name="string", b="bool"), ENTITY, find_sources([str(tmp_path / "a.parquet")]), LoadOptions())
    load.run(sink)
    assert [row["name"] for row in sink.rows] == names
    sizes = [messages_module.wire_bytes(batch) for batch in sink.batches]
    assert max(sizes) <= 128 << 10
    assert sum(sizes) / len(sizes) > 16 << 10
