"""Every format gives the same rows, and says where a row stood."""

import bz2
import gzip
import io
import json
import random
import sys
import zipfile
from datetime import datetime
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from featurestore.errors import InvalidArgumentError, NotFoundError
from featurestore.ingest import Format, RejectLimit, TimeFormat, find_sources, sources
from featurestore.ingest.readers import Wanted, blocks, columnar, open_reader
from tests.ingest.conftest import view_of

TABLE = pa.table(
    {
        "key": pa.array([1, 2, 3], pa.int64()),
        "event_timestamp": pa.array([1_000_000, 2_000_000, 3_000_000], pa.timestamp("us")),
        "x": pa.array([1.5, None, -2.0], pa.float32()),
        "name": pa.array(["a", "b, c", None]),
    }
)
VIEW = view_of(x="float32", name="string")
TEXT = 'key,event_timestamp,x,name\n1,1970-01-01T00:00:01,1.5,a\n2,1970-01-01 00:00:02Z,,"b, c"\n3,1970-01-01T00:00:03,-2.0,\n'
TABS = TEXT.replace('"b, c"', "b; c").replace(",", "\t").replace(";", ",")
JSON_LINES = "".join(
    json.dumps({**row, "event_timestamp": row["event_timestamp"].isoformat()}) + "\n" for row in TABLE.to_pylist()
)
MANY = RejectLimit(1_000_000)


def text_of(table: pa.Table) -> bytes:
    text = io.BytesIO()
    arrow_csv.write_csv(table, text)
    return text.getvalue()


def write_zip(path: Path, data: bytes = TEXT.encode()) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", "about")
        archive.writestr("data/part.csv", data)


def write_arrow_stream(path: Path) -> None:
    with pa.ipc.new_stream(str(path), TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)


WRITERS = {
    "a.parquet": lambda path: pq.write_table(TABLE, path, row_group_size=2),
    "a.csv": lambda path: path.write_text(TEXT),
    "a.tsv": lambda path: path.write_text(TABS),
    "a.tsv.gz": lambda path: path.write_bytes(gzip.compress(TABS.encode())),
    "a.tsv.bz2": lambda path: path.write_bytes(bz2.compress(TABS.encode())),
    "of.gz.tsv": lambda path: path.write_text(TABS),
    "a.csv.gz": lambda path: path.write_bytes(gzip.compress(TEXT.encode())),
    "a.csv.bz2": lambda path: path.write_bytes(bz2.compress(TEXT.encode())),
    "a.zip": write_zip,
    "a.feather": lambda path: feather.write_feather(TABLE, str(path), compression="zstd"),
    "a.arrow": lambda path: feather.write_feather(TABLE, str(path), compression="uncompressed", chunksize=1),
    "a.arrows": write_arrow_stream,
    "a.jsonl": lambda path: path.write_text(JSON_LINES),
    "a.ndjson.gz": lambda path: path.write_bytes(gzip.compress(JSON_LINES.encode())),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(name, tmp_path, load_files):
    WRITERS[name](tmp_path / name)
    assert load_files(VIEW, tmp_path / name).rows == TABLE.to_pylist()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_a_file_without_a_zone_are_of_the_zone_that_is_said(unit, tmp_path, load_files):
    noon = pa.array([datetime(2024, 1, 15, 12)], pa.timestamp(unit))
    feather.write_feather(pa.table({"key": [1], "event_timestamp": noon, "seen": noon}), str(tmp_path / "a.arrow"))
    (row,) = load_files(view_of(seen="timestamp"), tmp_path / "a.arrow", times=TimeFormat(timezone="America/New_York")).rows
    assert row == {"key": 1, "event_timestamp": datetime(2024, 1, 15, 17), "seen": datetime(2024, 1, 15, 17)}


def test_times_in_int96_are_read_beyond_what_nanoseconds_hold(tmp_path, load_files):
    times = [datetime(9999, 12, 31), datetime(2024, 1, 15, 12, 0, 0, 123456), datetime(1, 1, 1)]
    table = pa.table({"key": range(3), "event_timestamp": pa.array(times, pa.timestamp("us")), "x": [1.0] * 3})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    assert [row["event_timestamp"] for row in load_files(VIEW, tmp_path / "a.parquet").rows] == times


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.arrows", "a.csv", "a.jsonl"])
def test_standard_input_gives_the_same_rows(name, tmp_path, load_files, monkeypatch):
    WRITERS[name](tmp_path / name)
    formats = {"parquet": Format.PARQUET, "feather": Format.ARROW, "arrows": Format.ARROW, "csv": Format.CSV}
    with (tmp_path / name).open("rb") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        found = load_files(VIEW, "-", format=formats.get(name[2:], Format.JSON_LINES))
    assert found.rows == TABLE.to_pylist()


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.csv.gz", "a.zip", "a.jsonl"])
def test_a_url_gives_the_same_rows(name, tmp_path, load_files):
    WRITERS[name](tmp_path / name)
    with fsspec.open(f"memory://bucket/{name}", "wb") as file:
        file.write((tmp_path / name).read_bytes())
    assert load_files(VIEW, f"memory://bucket/{name}").rows == TABLE.to_pylist()
    assert len(load_files(VIEW, f"memory://bucket/{name[:3]}*").rows) >= TABLE.num_rows


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl"])
def test_a_stream_that_comes_in_pieces_is_read_to_its_end(name, tmp_path, load_files, monkeypatch):
    class Pieces(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size, 7) if size and size > 0 else size)

    WRITERS[name](tmp_path / name)
    monkeypatch.setattr(sources, "_open_raw", lambda location: Pieces(Path(location).read_bytes()))
    assert load_files(VIEW, tmp_path / name).rows == TABLE.to_pylist()


def test_directories_and_globs_are_read_in_the_order_of_names(tmp_path):
    for name in ("b/2.csv", "b/1.parquet", "_SUCCESS", ".hidden.csv", "notes.txt", "a.jsonl", "_tmp/x.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def names(*arguments):
        return [str(Path(source.name).relative_to(tmp_path)) for source in find_sources([str(each) for each in arguments])]

    assert names(tmp_path) == ["a.jsonl", "b/1.parquet", "b/2.csv"]
    assert names(tmp_path / "b" / "*") == ["b/1.parquet", "b/2.csv"]
    assert names(tmp_path / "**" / "*.csv") == [".hidden.csv", "_tmp/x.csv", "b/2.csv"]
    assert names(tmp_path / "b/2.csv", tmp_path / "a.jsonl") == ["b/2.csv", "a.jsonl"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path, load_files):
    (tmp_path / "day[1].csv").write_text(TEXT)
    assert len(load_files(VIEW, tmp_path / "day[1].csv").rows) == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["flights.csvv"], "FILES: '{0}/flights.csvv' does not exist: expected one like '{0}/flights.csv'"),
        (["*.parquet"], "FILES: no file matches '{0}/*.parquet'"),
        (["empty"], "FILES: the directory '{0}/empty' holds no file that ends in one of .parquet"),
        (["notes.txt"], "FILES: got '{0}/notes.txt', expected a name that ends in one of .parquet"),
        (["x.parquet.gz"], "expected CSV or JSON lines: parquet is read out of order"),
        (["broken.zip"], "FILES: got '{0}/broken.zip', expected a zip archive: File is not a zip file"),
    ],
)
def test_what_is_not_there_or_not_known_is_said(arguments, sentence, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("flights.csv", "notes.txt", "x.parquet.gz", "broken.zip"):
        (tmp_path / name).write_text("?")
    with pytest.raises((InvalidArgumentError, NotFoundError)) as raised:
        find_sources([str(tmp_path / argument) for argument in arguments])
    assert sentence.format(tmp_path) in str(raised.value)


def test_standard_input_needs_a_format_and_is_there_once():
    with pytest.raises(InvalidArgumentError, match="--format"):
        find_sources(["-"])
    with pytest.raises(InvalidArgumentError, match="standard input once"):
        find_sources(["-", "-"], Format.CSV)


# ------------------------------------------------------------------------------------------------------------------- text


def test_csv_lines_are_counted_through_quotes_blank_lines_and_returns(tmp_path, load_files):
    lines = [
        "\ufeffkey,event_timestamp,x,name\r",
        '1,2024-01-01,1,"two',
        'lines"\r',
        "\r",
        "2,2024-01-01,one,a\r",  # line 5
        "3,2024-01-01,1\r",  # line 6: three fields
        '4,2024-01-01,1,5" pipe\r',
        '5,2024-01-01,1,"a ""b"" c"\r',
        "x,2024-01-01,1,a\r",  # line 9
        "6,2024-01-01,1,",
    ]
    (tmp_path / "a.csv").write_text("\n".join(lines), newline="")
    rows, summary = load_files(VIEW, tmp_path / "a.csv", max_rejects=MANY)
    assert [(row["key"], row["name"]) for row in rows] == [(1, "two\nlines"), (4, '5" pipe'), (5, 'a "b" c'), (6, None)]
    assert [(reject.number, reject.column, reject.value) for reject in summary.examples] == [
        (5, "x", "one"),
        (6, "", "3,2024-01-01,1"),
        (9, "key", "x"),
    ]
    assert summary.examples[1].reason == "3 fields, expected 4"


@pytest.mark.parametrize("seed", range(4))
def test_csv_is_the_same_however_it_is_cut(seed, tmp_path, load_files, monkeypatch):
    """The whole file by pyarrow, against ours in blocks of a few bytes."""
    random_source = random.Random(seed)
    pieces = ['"', "\n", ",", "a", '""', "\r\n", " ", "é"]
    texts = ["".join(random_source.choices(pieces, k=random_source.randrange(8))) for _ in range(300)]
    table = pa.table({"key": range(300), "event_timestamp": [datetime(2024, 1, 1)] * 300, "name": texts, "x": [1.0] * 300})
    arrow_csv.write_csv(table, tmp_path / "a.csv")
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64)
    rows, summary = load_files(VIEW, tmp_path / "a.csv", max_rejects=MANY)
    assert [row["name"] for row in rows] == texts
    assert summary.counts.rejected == 0


def test_a_quote_that_is_never_closed_is_named(tmp_path, load_files, monkeypatch):
    monkeypatch.setattr(blocks, "RECORD_BYTES_MAX", 1 << 10)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 9)
    (tmp_path / "a.csv").write_text(TEXT + '4,1970-01-01,1,"open\n' + "5,1970-01-01,1,a\n" * 200)
    with pytest.raises(InvalidArgumentError, match=r"a\.csv line 5: .*is a quote not closed"):
        load_files(VIEW, tmp_path / "a.csv")


def test_text_that_is_not_utf8_is_rejected_by_its_line(tmp_path, load_files):
    (tmp_path / "a.csv").write_bytes(TEXT.encode() + b"4,1970-01-01,1,caf\xe9\n5,1970-01-01,1,caf\xc3\xa9\n")
    rows, summary = load_files(VIEW, tmp_path / "a.csv", max_rejects=MANY)
    assert rows[-1]["name"] == "café"
    assert [(reject.number, reject.column, reject.value) for reject in summary.examples] == [(5, "name", "caf\\xe9")]


def test_quotes_tell_an_empty_text_from_null(tmp_path, load_files):
    (tmp_path / "a.csv").write_text(
        'key,event_timestamp,x,name\n1,1970-01-01,"",""\n2,1970-01-01,NA,NA\n3,1970-01-01,"NA","NA"\n'
    )
    rows = load_files(VIEW, tmp_path / "a.csv", null_values=("NA",)).rows
    assert [(row["x"], row["name"]) for row in rows] == [(None, ""), (None, None), (None, "NA")]


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_a_time_that_python_has_none_for_is_rejected_with_its_number(unit, tmp_path, load_files):
    times = pa.array([2**62, 0]).view(pa.timestamp(unit))
    feather.write_feather(pa.table({"key": [1, 2], "event_timestamp": times, "x": [1.0, 2.0]}), str(tmp_path / "a.arrow"))
    rows, summary = load_files(VIEW, tmp_path / "a.arrow", max_rejects=MANY)
    assert [row["key"] for row in rows] == [2]
    assert [(reject.number, reject.value) for reject in summary.examples] == [(1, f"{2**62} timestamp[{unit}]")]


def test_a_header_without_a_line_end_is_explained(tmp_path, load_files):
    (tmp_path / "a.csv").write_text(TEXT.replace("\n", "\r"), newline="")
    with pytest.raises(InvalidArgumentError, match=r"a\.csv line 1: got .*, expected a header whose line ends in a newline"):
        load_files(VIEW, tmp_path / "a.csv")


def test_a_condition_on_a_column_that_is_there_twice_is_refused(tmp_path, load_files):
    columns = [TABLE["key"], TABLE["event_timestamp"], TABLE["x"], TABLE["x"], TABLE["x"]]
    pq.write_table(pa.Table.from_arrays(columns, ["key", "event_timestamp", "x", "u", "u"]), tmp_path / "a.parquet")
    with pytest.raises(InvalidArgumentError, match=r"--where: got 'u', expected a column whose name is once in "):
        load_files(VIEW, tmp_path / "a.parquet", where="u > 1")


@pytest.mark.parametrize("view", [VIEW, view_of(name="int64"), view_of(name="float64[1]")])
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_what_a_file_calls_text_is_rejected_where_it_is_not_utf8(view, suffix, tmp_path, load_files):
    texts = pa.array([b"caf\xe9", b"1"]).view(pa.string())
    table = pa.table({"key": [1, 2], "event_timestamp": [datetime(2024, 1, 1)] * 2, "name": texts})
    path = tmp_path / f"a.{suffix}"
    pq.write_table(table, path) if suffix == "parquet" else feather.write_feather(table, str(path))
    rows, summary = load_files(view, path, max_rejects=MANY)
    assert [row["key"] for row in rows] == [2]
    (reject,) = summary.examples
    assert (reject.number, reject.value, reject.reason) == (1, "caf\\xe9", "expected text in UTF-8")


@pytest.mark.parametrize("text", ["key,event_timestamp,x\n", "key,event_timestamp,x", "\n\nkey,event_timestamp,x\r\n\r\n"])
def test_a_csv_of_a_header_alone_is_no_rows(text, tmp_path, load_files):
    (tmp_path / "a.csv").write_text(text)
    assert load_files(VIEW, tmp_path / "a.csv").summary.counts.read == 0


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv.gz", gzip.compress(TEXT.encode() * 900, mtime=0)[:-900]),
        ("a.parquet", b"PAR1"),
        ("a.feather", b"ARROW1?"),
        ("a.csv.gz", b"not gzip at all"),
    ],
)
def test_a_file_cut_short_is_an_error_that_names_it(name, data, tmp_path, load_files):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidArgumentError) as raised:
        load_files(VIEW, tmp_path / name, max_rejects=MANY)
    assert str(tmp_path / name) in str(raised.value)


def test_json_lines_are_refused_one_by_one(tmp_path, load_files):
    lines = [
        '{"key": 1, "event_timestamp": "2024-01-01", "x": 1, "name": "a"}',
        '{"key": 2, "event_timestamp": "2024-01-01", "x": "2.5", "name": 7, "extra": {"a": [1]}}',
        "",
        '{"key": 3, "event_timestamp": "2024-01-01", "x": ',  # line 4
        "[1, 2]",
        '{"key": 4, "event_timestamp": "2024-01-01", "x": "many"}',
        '{"key": 5, "event_timestamp": "2024-01-01", "x": 1e99}',
        '{"key": 6, "event_timestamp": "2024-01-01"}{"key": 7}',
        '{"key": null, "event_timestamp": "2024-01-01"}',
        '{"key": 8, "event_timestamp": "2024-01-01", "name": "é\\n"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows, summary = load_files(VIEW, tmp_path / "a.jsonl", max_rejects=MANY)
    assert [(row["key"], row["x"], row["name"]) for row in rows] == [(1, 1.0, "a"), (2, 2.5, "7"), (8, None, "é\n")]
    assert summary.counts.rejected == 6
    assert [(reject.number, reject.column) for reject in summary.examples] == [(4, ""), (5, ""), (6, "x"), (7, "x"), (8, "")]


@pytest.mark.parametrize("also", ["", "no object\n"])
def test_integers_of_json_are_exact_though_floats_are_among_them(also, tmp_path, load_files):
    head = '"event_timestamp": "2024-01-01"'
    (tmp_path / "a.jsonl").write_text(
        f'{{"key": 9007199254740993, {head}, "n": 12.0}}\n{{"key": 9007199254740992.0, {head}, "n": 9223372036854775807}}\n'
        f'{{"key": 1, {head}, "n": 1.5}}\n{also}'
    )
    rows, summary = load_files(view_of(n="int64"), tmp_path / "a.jsonl", max_rejects=MANY)
    assert [(row["key"], row["n"]) for row in rows] == [(2**53 + 1, 12), (2**53, 2**63 - 1)]
    assert (summary.examples[0].number, summary.examples[0].value) == (3, "1.5")


def test_numbers_of_json_beyond_a_float_are_refused_wherever_they_stand(tmp_path, load_files):
    head = '{"key": 1, "event_timestamp": "2024-01-01"'
    records = [
        '"x": 1e99}',
        '"d": 1e999}',
        '"d": -1e999}',
        '"v": [1e99, 1]}',
        '"v": [1e999, 1]}',
        '"d": Infinity}',
        '"v": [1.5, 2]}',
    ]
    (tmp_path / "a.jsonl").write_text("".join(f"{head}, {record}\n" for record in records))
    rows, summary = load_files(view_of(x="float32", d="float64", v="float32[2]"), tmp_path / "a.jsonl", max_rejects=MANY)
    assert [(row["d"], row["v"]) for row in rows] == [(float("inf"), None), (None, [1.5, 2.0])]
    assert [reject.number for reject in summary.examples] == [1, 2, 3, 4, 5]
    # A block without anything else that sends it the long way.
    (tmp_path / "a.jsonl").write_text(f"{head}, {records[3]}\n{head}, {records[6]}\n")
    assert load_files(view_of(v="float32[2]"), tmp_path / "a.jsonl", max_rejects=MANY).summary.counts.rejected == 1


@pytest.mark.parametrize("line", ['{"key": 2, "name": "\\ud800"}', "[" * 200_000, '{"name": ' * 200_000])
def test_json_that_python_cannot_hold_is_refused_by_its_line(line, tmp_path, load_files):
    good = json.dumps({"key": 1, "event_timestamp": "2024-01-01", "name": "\U0001f600"})
    (tmp_path / "a.jsonl").write_text(f"{good}\n{line}\n{good}\n")
    rows, summary = load_files(VIEW, tmp_path / "a.jsonl", max_rejects=MANY)
    assert [row["name"] for row in rows] == ["\U0001f600"] * 2
    assert [(reject.number, reject.column) for reject in summary.examples] == [(2, "")]


def test_a_key_of_json_that_turns_up_late_is_loaded(tmp_path, load_files, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4096)
    lines = [json.dumps({"key": key, "event_timestamp": "2024-01-01", "x": key}) for key in range(2_000)]
    lines[1_999] = json.dumps({"key": 1_999, "event_timestamp": "2024-01-01", "name": "late"})
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows = load_files(VIEW, tmp_path / "a.jsonl").rows
    assert "name" not in rows[0]  # left out: rows keep what they hold
    assert (rows[1_999]["name"], rows[1_999]["x"]) == ("late", None)


def test_a_json_array_says_how_to_make_lines_of_it(tmp_path, load_files):
    (tmp_path / "a.json").write_text('[{"key": 1}]')
    with pytest.raises(InvalidArgumentError, match=r"got 'a JSON array', expected JSON lines"):
        load_files(VIEW, tmp_path / "a.json")


# ---------------------------------------------------------------------------------------------------------------- bounded


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.csv", "a.csv.gz", "a.zip", "a.jsonl"])
def test_reading_on_from_any_place_yields_what_followed_it(name, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 256)
    monkeypatch.setattr(columnar, "CHUNK_BYTES", 1)
    table = pa.table({"key": range(1_000), "x": [float(i) for i in range(1_000)]})
    path = tmp_path / name
    {
        "a.parquet": lambda: pq.write_table(table, path, row_group_size=150),
        "a.arrow": lambda: feather.write_feather(table, str(path), chunksize=130, compression="lz4"),
        "a.csv": lambda: arrow_csv.write_csv(table, path),
        "a.csv.gz": lambda: path.write_bytes(gzip.compress(text_of(table))),
        "a.zip": lambda: write_zip(path, text_of(table)),
        "a.jsonl": lambda: path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist())),
    }[name]()
    (source,) = find_sources([str(path)])

    def read(token=None):
        reader = open_reader(source)
        try:
            wanted = Wanted({"key": pa.int64(), "x": pa.float32()})
            return [(part, part.read().batch["key"].to_pylist()) for part in reader.parts(wanted, token)]
        finally:
            reader.close()

    parts = read()
    assert len(parts) >= 7
    assert [key for _, keys in parts for key in keys] == list(range(1_000))
    for part, keys in parts:
        for done in (0, 1, len(keys) // 2, len(keys)):
            token, skipped = part.place_behind(done)
            followed = [key for _, keys in read(token) for key in keys]
            assert followed[skipped:] == list(range(keys[0] + done, 1_000))
