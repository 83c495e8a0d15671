"""Clients of other languages and command-line tools, made ready once and kept in .cache; and a server of each engine for them.

A tool that is missing skips its tests, with the reason; where CI is set, that is a failure, because .ci/run installs them all.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import featurestore_client
import pytest

from tests.conftest import ENGINES, require_engine

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".cache" / "other_clients"
GO_PATH = Path("/usr/share/gocode")  # where Debian's packages put the sources of Go libraries
DEFINITIONS = {
    "entities": [{"name": "carrier", "join_keys": [{"name": "carrier", "type": "string"}]}],
    "feature_views": [
        {
            "name": "carrier_delays",
            "entity": "carrier",
            "features": [{"name": "mean_delay", "type": "float32"}, {"name": "late_share", "type": "float32"}],
        }
    ],
    "feature_services": [{"name": "delay_model_v1", "features": ["carrier_delays:mean_delay", "carrier_delays:late_share"]}],
}


def missing(reason: str) -> None:
    """Skips the test; fails it where everything is to be there."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}: .ci/run installs it")
    pytest.skip(reason)


def run(*command: str | Path, text: str | None = None, environment: dict[str, str] | None = None, code: int = 0) -> str:
    """What a command prints, when it ends as expected."""
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=100, check=False, env={**os.environ, **(environment or {})}
    )
    assert done.returncode == code, f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout + (done.stderr if code else "")


@pytest.fixture(scope="session")
def nghttp() -> None:
    """nghttp and h2load."""
    if not (shutil.which("nghttp") and shutil.which("h2load")):
        missing("nghttp and h2load (nghttp2-client) are not there")


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """What package-lock.json pins, from the npm registry."""
    if not (shutil.which("node") and shutil.which("npm")):
        missing("node and npm are not there")
    lock, kept = HERE / "javascript" / "package-lock.json", CACHE / "javascript"
    installed = kept / "installed.json"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        kept.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / "javascript" / name, kept)
        run("npm", "ci", "--prefix", kept, "--ignore-scripts", "--no-audit", "--no-fund")
        shutil.copy(lock, installed)
    return kept / "node_modules"


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go client, compiled, over the code that protoc makes from the contract."""
    if not (shutil.which("go") and shutil.which("protoc") and shutil.which("protoc-gen-go")):
        missing("go, protoc and protoc-gen-go (golang-go, protobuf-compiler, golang-goprotobuf-dev) are not there")
    if not (GO_PATH / "src/google.golang.org/grpc").exists():
        missing("gRPC for Go (golang-google-grpc-dev) is not there")
    made = tmp_path_factory.mktemp("go")
    (made / "src").mkdir()
    options = "plugins=grpc,import_path=featurestore,Mgoogle/protobuf/any.proto=github.com/golang/protobuf/ptypes/any"
    contract = ROOT / "proto/featurestore/v1/featurestore.proto"
    run("protoc", "-I", ROOT / "proto", f"--go_out={options}:{made / 'src'}", contract)
    environment = {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": f"{made}:{GO_PATH}", "GOCACHE": str(CACHE / "go")}
    run("go", "build", "-o", made / "client", HERE / "go" / "client.go", environment=environment)
    return made / "client"


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Both engines, one after the other."""
    require_engine(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def target(engine: str, start_server) -> str:
    """HOST:PORT of a server with two carriers: AA with all values, UA with a null."""
    server = start_server("--grpc-engine", engine)
    with featurestore_client.connect(server.url) as client:
        client.apply(DEFINITIONS)
        values = {"carrier": ["AA", "UA"], "mean_delay": [7.5, 3.25], "late_share": [0.25, None]}
        client.write("carrier_delays", values, event_timestamps=datetime.now(UTC))
    return str(server.target)


@pytest.fixture(scope="module")
def secured_target(engine: str, start_server, certificates: Path) -> str:
    """HOST:PORT of a server with TLS and the API key "secret"."""
    files = ("--tls-certificate", f"{certificates}/server.pem", "--tls-key", f"{certificates}/server.key")
    server = start_server("--grpc-engine", engine, *files, environment={"FEATURESTORE_API_KEYS": "secret"})
    return str(server.target)


@pytest.fixture
def written(target: str) -> Iterator[set[str]]:
    """The test puts the keys that its client has written here; afterwards they must be found."""
    keys: set[str] = set()
    yield keys
    if not keys:
        return  # it did not come so far
    with featurestore_client.connect(f"grpc://{target}") as client:
        batch = client.get("delay_model_v1", {"carrier": sorted(keys)})
    assert batch.statuses.tolist() == [[0, 1]] * len(keys)
