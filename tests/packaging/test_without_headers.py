"""A machine without libnghttp2's headers: the client builds there, everything runs on grpcio, and what is missing is said."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import featurestore_client
import pytest

ROOT = Path(__file__).parents[2]
REASON = "featurestore-client was built without libnghttp2's headers"


def build(source: Path, wheels: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Builds the client's wheel with the tools that are installed."""
    code = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", code, str(wheels)]
    return subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's sources, without what is compiled of them."""
    made = tmp_path_factory.mktemp("source") / "client"
    compiled = shutil.ignore_patterns("*.so", "*.c", "build", "tests", "*.egg-info")
    shutil.copytree(ROOT / "clients" / "python", made, ignore=compiled)
    return made


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """In which the compiler finds, in place of nghttp2.h, one that it cannot take: as if there were none."""
    hidden = tmp_path_factory.mktemp("include") / "nghttp2" / "nghttp2.h"
    hidden.parent.mkdir()
    hidden.write_text("#error hidden by the test\n")
    own = {name: value for name, value in os.environ.items() if not name.startswith("FEATURESTORE_")}
    return {**own, "CPATH": str(hidden.parents[1])}


@pytest.fixture(scope="module")
def portable(source: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment for Python, in which the client is the one that was built without the headers."""
    made = tmp_path_factory.mktemp("portable")
    built = build(source, made, environment)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "libnghttp2's headers were not found: built without the HTTP/2 session, calls go over grpcio" in built.stderr
    (wheel,) = made.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        assert not [
            name for name in opened.namelist() if name.startswith("featurestore_client/http2/") and name.endswith(".so")
        ]
        opened.extractall(made / "installed")
    (metadata,) = made.glob("installed/*.dist-info/METADATA")
    assert "\nRequires-Dist: grpcio>=1.66\n" in metadata.read_text(), "where grpcio carries the calls, it is a requirement"
    return {"PYTHONPATH": f"{made / 'installed'}{os.pathsep}{ROOT}"}


def test_the_server_says_in_one_line_that_grpcio_serves(portable, start_server):
    server = start_server(environment=portable)
    (warning,) = [event for event in server.events if event["level"] != "INFO"]
    assert (warning["event"], warning["reason"]) == ("grpcio serves gRPC", REASON)
    assert next(event for event in server.events if event["event"] == "serving")["engine"] == "grpcio"


def test_everything_runs_on_grpcio(portable, start_server):
    server = start_server(environment=portable)
    program = f"""
import faulthandler, sys
faulthandler.dump_traceback_later(50, exit=True)
import featurestore_client
assert featurestore_client.__file__.startswith({portable["PYTHONPATH"].split(os.pathsep)[0]!r}), featurestore_client.__file__
try:
    import featurestore_client.http2
except ImportError:
    pass
else:
    raise SystemExit("the session was built after all")
with featurestore_client.connect({server.url!r}) as client:
    client.apply({{
        "entities": [{{"name": "user", "join_keys": [{{"name": "user_id", "type": "int64"}}]}}],
        "feature_views": [{{"name": "users", "entity": "user", "features": [{{"name": "a", "type": "float32"}}]}}],
    }})
    print(client.ingest("users", {{"user_id": [1, 2], "a": [0.5, 1.5]}}).rows)
    print(client.get(["users:a"], {{"user_id": [2, 3]}}).to_dict())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **portable}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("2\n{'a': [1.5, None]}\n", "")


def test_the_native_engine_is_refused_with_a_sentence(portable, start_server):
    server = start_server("--grpc-engine", "native", environment=portable, ready=False)
    assert server.wait() == 1
    assert server.log.endswith(f"error: grpc_engine native is not there: {REASON}; install them and build it again\n")
    assert "Traceback" not in server.log


def test_missing_headers_are_an_error_where_the_session_is_required(source, environment, tmp_path: Path):
    built = build(source, tmp_path, {**environment, "FEATURESTORE_HTTP2": "required"})
    assert built.returncode != 0
    assert "libnghttp2's headers were not found" in built.stderr
    assert not list(tmp_path.iterdir())


def test_these_tests_run_with_the_session():
    """Or nothing of the above shows a difference. Skipped where it could not be built."""
    assert featurestore_client.__file__ == str(ROOT / "clients/python/featurestore_client/__init__.py")
    pytest.importorskip("featurestore_client.http2", exc_type=ImportError, reason="built without libnghttp2's headers")
