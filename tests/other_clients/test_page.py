"""docs/clients.md: each block of code is run, or is part of a program that test_clients.py runs."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from tests.other_clients.conftest import HERE, ROOT, run

BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.DOTALL)


def blocks(*languages: str) -> list[tuple[str, str]]:
    return [(language, code) for language, code in BLOCKS if language in languages]


def test_every_block_is_of_a_language_that_is_tested_here():
    assert {language for language, _ in BLOCKS} == {"python", "text", "go", "js", "sh"}


def test_python_prints_what_the_page_shows(
    target: str, secured_target: str, certificates: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("FEATURESTORE_API_KEY", "secret")
    here = {  # what stands on the page, and what stands for it here
        "featurestore://127.0.0.1": f"featurestore://{target}",
        "grpcs://features.example.com:7400": f"grpcs://{secured_target}",
        "grpc://10.0.0.1:7400": f"grpc://{target}",
        "grpc://10.0.0.2:7400": f"grpc://{target.replace('127.0.0.1', 'localhost')}",
        "shm://127.0.0.1": f"shm://{target}",
        'open("features")': f'open("{tmp_path}", segments="{tmp_path / "segments"}")',
        "ca.pem": str(certificates / "ca.pem"),
        "timeout_s=0.05": "timeout_s=5",  # machines that test have other things to do
        "timeout_s=0.25": "timeout_s=5",
    }
    names: dict[str, Any] = {}
    pairs = blocks("python", "text")
    assert [language for language, _ in pairs] == ["python", "text"] * (len(pairs) // 2)
    pattern = re.compile("|".join(map(re.escape, here)))
    for (_, code), (_, shown) in zip(pairs[::2], pairs[1::2], strict=True):
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(pattern.sub(lambda found: here[found[0]], code), names)  # noqa: S102  our own page
        assert printed.getvalue() == shown


@pytest.mark.parametrize(("language", "program"), [("go", "go/client.go"), ("js", "javascript/client.js")])
def test_quotations_are_word_for_word(language: str, program: str):
    text = (HERE / program).read_text()
    quoted = blocks(language)
    assert quoted
    for _, code in quoted:
        for passage in code.split("\n\n"):
            assert passage.rstrip() in text


def test_the_shell_commands_do_what_they_say(target: str, go_client: Path, node_modules: Path, tmp_path: Path):
    (_, generate), (_, ask) = blocks("sh")
    (tmp_path / "src").mkdir()
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    run("sh", "-c", f"cd {tmp_path} && {generate}")
    assert (tmp_path / "src/featurestore/v1/featurestore.pb.go").stat().st_size > 0
    (buf,) = node_modules.glob("@bufbuild/buf-linux-*/bin/buf")
    answer = run("sh", "-c", ask.replace("127.0.0.1:7400", target).replace("buf curl", f"{buf} curl"))
    assert '"nulls": "AgAA"' in answer
