"""The commands against a real server process, as people type them."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import featurestore_client
import pytest

from tests.conftest import StartServer

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


class Server(Protocol):
    """The part of the server fixture that these tests use."""

    @property
    def url(self) -> str: ...


def featurestore(server: Server, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FEATURESTORE_SERVER": server.url, **variables}
    command = [sys.executable, "-m", "featurestore", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def applied(server: Server) -> Server:
    outcome = featurestore(server, "apply", str(QUICKSTART / "definitions.py"), "--yes")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert outcome.stdout.endswith("\nApplied 5 changes.\n")
    return server


def test_what_python_defined_the_yaml_form_finds_in_place(applied: Server) -> None:
    outcome = featurestore(applied, "apply", str(QUICKSTART / "definitions.yaml"), "--prune", "--dry-run")
    assert outcome.stdout == "Nothing to change: 5 definitions stand as written.\n"


def test_get_reads_from_the_server(applied: Server) -> None:
    outcome = featurestore(applied, "get", "delay_model_v1", "--key", "carrier=UA,AA", "--key", "dest=ORD,LAX", "--json")
    rows = json.loads(outcome.stdout)["rows"]
    assert [row["keys"] for row in rows] == [{"carrier": "UA", "dest": "ORD"}, {"carrier": "AA", "dest": "LAX"}]
    assert {status for row in rows for status in row["statuses"].values()} == {"NOT_FOUND"}


def test_a_refusal_of_the_server_comes_back_with_file_and_line(applied: Server, tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(
        "from featurestore import FeatureService\n\nwrong = FeatureService(name='wrong', features=['carier_stats:flights'])\n"
    )
    outcome = featurestore(applied, "apply", str(path), "--yes")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr == (
        f"error: {path}:3: feature service default.wrong: features[0].view: got 'carier_stats', "
        "expected one like 'carrier_stats', 'dest_stats'\n"
    )


def test_status_shows_the_one_process_of_a_server(server: Server) -> None:
    outcome = featurestore(server, "status")
    head, _, row = outcome.stdout.splitlines()
    assert head.split()[:5] == ["process", "pid", "state", "up", "restarts"]
    assert head.split()[5:] == ["connections", "requests", "refused", "memory", "shared"]
    assert row.split()[0::2][:2] == ["server", "serving"]
    found = json.loads(featurestore(server, "status", "--json").stdout)
    (process,) = found["processes"]
    assert (process["role"], process["state"], process["restarts"]) == ("server", "serving", 0)
    assert (process["connections"], process["requests"]) == (1, process["requests"])
    assert process["requests"] >= 2
    assert process["refused"] == 0
    assert process["resident_bytes"] > process["shared_bytes"] > 0


def test_status_of_a_directory_needs_no_answer_of_the_server(start_server: StartServer) -> None:
    running = start_server("--workers", "2")
    environment = {"FEATURESTORE_SEGMENTS": str(running.directory / "segments")}
    by_directory = featurestore(running, "status", "--directory", str(running.directory), "--json", **environment)
    names = [(process["role"], process["number"], process["state"]) for process in json.loads(by_directory.stdout)["processes"]]
    assert json.loads(by_directory.stdout)["recovered"]["cut_bytes"] == 0
    assert names == [("supervisor", 0, "serving"), ("owner", 0, "serving"), ("reader", 1, "serving"), ("reader", 2, "serving")]
    assert running.stop() == 0
    outcome = featurestore(running, "status", "--directory", str(running.directory), **environment)
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.endswith("status is not there: no server has these segments, or it does not serve yet\n")


def test_apply_does_nothing_that_it_has_not_shown(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    with featurestore_client.connect(server.url) as client:
        client.apply({"entities": [{"name": "user", "join_keys": [{"name": "user", "type": "int64"}]}]})
        path = tmp_path / "mine.yaml"
        path.write_text("entities: [{name: user, join_keys: [{name: user, type: int64}], owner: me}]\n")
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "featurestore", "apply", str(path), "--prune", "--server", server.url]
        asking = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        shown = b""
        while b"[y/N]" not in shown:
            read = os.read(asking.stdout.fileno(), 4096)
            assert read, shown
            shown += read
        assert b"0 to create, 1 to update, 0 to delete" in shown
        others = {"name": "others", "entity": "user", "features": [{"name": "a", "type": "float32"}]}
        client.apply({"feature_views": [others]})  # which --prune would delete
        client.write("others", {"user": [1], "a": [1.0]})
        os.write(ours, b"y\n")
        _, told = asking.communicate(timeout=60)
        os.close(ours), os.close(theirs)
        assert asking.returncode == 1
        assert b"something else was applied meanwhile; apply again" in told
        assert client.list_tables()[0]["rows"] == 1
