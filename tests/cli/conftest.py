"""Commands on a directory of the test."""

from pathlib import Path

import pytest

from tests.cli.commands import Outcome, Run, run_command


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FEATURESTORE_SERVER", raising=False)
    monkeypatch.setenv("FEATURESTORE_SEGMENTS", str(tmp_path / "segments"))
    return tmp_path / "data"


@pytest.fixture
def run(directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command as the shell would, on the directory of the test unless ``bare``."""

    def run_here(*arguments: object, bare: bool = False) -> Outcome:
        own = () if bare else ("--directory", str(directory))
        return run_command((*arguments, *own), capsys, monkeypatch)

    return run_here
