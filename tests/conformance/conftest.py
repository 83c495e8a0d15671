"""Each promise is asked over each path."""

import itertools
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import pytest

from tests.conformance.paths import PATHS, Path, Paths, Project
from tests.conftest import StartServer, new_directory, require_engine

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def paths(start_server: StartServer, certificates: FilePath) -> Iterator[Paths]:
    """All of them; servers are started as they are needed, and shared by the cases."""
    with new_directory() as folder, pytest.MonkeyPatch.context() as environment:
        for name, value in {"SEGMENTS": folder / "segments", "SHARDS": 2}.items():
            environment.setenv(f"FEATURESTORE_{name}", str(value))  # of the store in this process
        paths = Paths(start_server, certificates, folder)
        yield paths
        paths.close()


@pytest.fixture(scope="module", params=PATHS, ids=str)
def path(request: pytest.FixtureRequest) -> Path:
    """Each path."""
    path: Path = request.param
    require_engine("native" if "native" in path else path.engine)
    return path


@pytest.fixture(scope="module")
def client(paths: Paths, path: Path) -> Any:
    """A client at the end of the path."""
    return paths.connect(path)


@pytest.fixture
def store(client: Any) -> Project:
    """The client, in a project of this case's own."""
    return Project(client, f"case_{next(_numbers)}")


@pytest.fixture
def beside(paths: Paths, path: Path, store: Project) -> Project:
    """Another client in the same project, for another thread."""
    return Project(paths.connect(path), store.name)
