"""The wheels of `make wheels`, installed with pip into a new environment: what they hold, and that they serve and fetch.

The dependencies are those that the tests run with. Skipped where dist/ has no wheels.
"""

import subprocess
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import RunningServer

DIST = Path(__file__).parents[2] / "dist"


def wheel(name: str) -> Path:
    """The one of that distribution."""
    found = list(DIST.glob(f"{name}-[0-9]*.whl"))
    if not found:
        pytest.skip("dist/ has no wheels: make wheels")
    assert len(found) == 1, found
    return found[0]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment in which both wheels are installed."""
    wheels = [wheel("featurestore_client"), wheel("featurestore")]
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=True, symlinks=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", *wheels], check=True, timeout=100)
    # A line of a .pth file adds a directory, but none of its own .pth files: what is installed here editable stays out.
    (site_packages,) = home.glob("lib/python3*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_client_carries_libnghttp2_and_its_licence():
    names = zipfile.ZipFile(wheel("featurestore_client")).namelist()
    (library,) = [name for name in names if "libnghttp2" in name and ".so" in name]
    assert library.startswith("featurestore_client.libs/libnghttp2-")
    assert any(name.endswith("/licenses/LICENSE.libnghttp2") for name in names)


@pytest.mark.parametrize("name", ["featurestore_client", "featurestore"])
def test_wheels_run_on_other_machines_and_hold_no_tests_and_nothing_that_is_generated(name: str):
    path = wheel(name)
    assert "manylinux" in path.name
    names = zipfile.ZipFile(path).namelist()
    assert not [each for each in names if each.endswith(".c") or "/tests/" in each or each.startswith(("tests/", "bench/"))]
    assert any(each.endswith(".so") for each in names)


def test_the_copy_serves_and_fetches(python: Path, tmp_path: Path):
    server = RunningServer(tmp_path, ("--grpc-engine", "native"), {}, (str(python.with_name("featurestore")),))
    try:
        server.wait_for("serving")
        program = f"""
import sys, featurestore_client
with featurestore_client.connect({server.url!r}, transport="native") as client:
    client.apply({{
        "entities": [{{"name": "user", "join_keys": [{{"name": "user_id", "type": "int64"}}]}}],
        "feature_views": [{{"name": "users", "entity": "user", "features": [{{"name": "a", "type": "float32"}}]}}],
    }})
    print(client.write("users", {{"user_id": [1, 2], "a": [0.5, 1.5]}}).rows)
    print(client.get(["users:a"], {{"user_id": [2, 3]}}).to_dict())
    print("grpc" in sys.modules)
    print(open("/proc/self/maps").read())
"""
        command = [python, "-c", program]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        of_the_server = libraries(Path(f"/proc/{server.process.pid}/maps").read_text())
    finally:
        code = server.stop()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == ["2", "{'a': [1.5, None]}", "False"]
    (library,) = of_the_server
    assert library.startswith(str(python.parents[1]))
    assert libraries(done.stdout) == of_the_server
    assert code == 0


def libraries(maps: str) -> set[str]:
    """The files of libnghttp2 that a process has mapped."""
    return {line.split()[-1] for line in maps.splitlines() if "libnghttp2" in line}
