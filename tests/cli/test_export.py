"""What `featurestore export` writes to: files, links, what is no file, and what it refuses. On a directory of the test."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from featurestore.cli.connection import Connection
from tests.cli.commands import Run
from tests.cli.test_commands import DEFINITIONS


@pytest.fixture
def filled(run: Run, directory: Path) -> Run:
    """Two carriers."""
    assert run("apply", DEFINITIONS, "--yes").code == 0
    with Connection(directory=directory).open() as client:
        client.write("carrier_stats", {"carrier": ["UA", "AA"], "flights": [40, 8]})
    return run


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("foo://x/y", "--output: got 'foo://x/y', expected a path, or a URL that fsspec can open: Protocol not known: foo"),
        ("", "--output: got '', expected the path of a file, or a URL"),
        (".", "--output: got '.', expected the path of a file, or a URL"),
    ],
)
def test_what_nothing_can_be_written_to_is_refused_in_a_sentence(filled: Run, output: str, expected: str) -> None:
    outcome = filled("export", "carrier_stats", "-o", output)
    assert (outcome.code, outcome.out, outcome.err) == (1, "", f"error: {expected}\n")


def test_a_fifo_is_written_through_and_stays(filled: Run, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
    reader.start()
    outcome = filled("export", "carrier_stats", "-o", fifo)
    assert outcome.code == 0, outcome.err
    assert fifo.is_fifo()
    reader.join()
    assert pq.read_table(io.BytesIO(read[0])).num_rows == 2
    assert f"2 rows written to {fifo}, in " in outcome.err  # how large it is nobody knows


def test_standard_output_gets_the_file_and_nothing_else(filled: Run, directory: Path) -> None:
    command = [sys.executable, "-m", "featurestore", "export", "carrier_stats", "-o", "/dev/stdout", "-d", str(directory)]
    done = subprocess.run(command, capture_output=True, check=True)
    assert pq.read_table(io.BytesIO(done.stdout)).num_rows == 2
    assert b"2 rows written to /dev/stdout, in " in done.stderr


def test_a_symbolic_link_stays_and_leads_to_the_rows(filled: Run, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "rows.parquet", tmp_path / "link.parquet"
    target.write_text("of yesterday")
    link.symlink_to(target)
    assert filled("export", "carrier_stats", "-o", link).code == 0
    assert link.is_symlink()
    assert pq.read_table(target).num_rows == 2
    assert [path.name for path in target.parent.iterdir()] == ["rows.parquet"]
