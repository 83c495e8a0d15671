"""What a start does without, so that a server that died is back soon."""

from tests.conftest import StartServer, require_engine

NEEDLESS = {"fsspec", "grpc", "numpy.testing", "pandas", "pyarrow", "rich", "tomllib", "yaml"}


def test_a_server_starts_without_what_it_needs_for_no_request(start_server: StartServer) -> None:
    require_engine("native")
    server = start_server(environment={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rpartition("|")[2].strip() for line in server.lines if line.startswith("import time:")}
    assert "numpy" in imported
    assert not imported & NEEDLESS
