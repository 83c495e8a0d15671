"""A command run in this process, as the shell would run it."""

import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from featurestore.cli.main import main


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


def run_command(arguments: tuple[object, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """What a command does; no defect of ours among it."""
    monkeypatch.setattr(sys, "argv", ["featurestore", *map(str, arguments)])
    capsys.readouterr()
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return Outcome(code, captured.out, captured.err)
