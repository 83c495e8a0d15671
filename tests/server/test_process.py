"""The life of the server process: starting, refusing to start, draining."""

import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import featurestore_client
import numpy as np
import pytest

from tests.conftest import of_threads


def test_serves_and_exits_0_on_sigterm(start_server):
    server = start_server()
    assert server.url.startswith("grpc://127.0.0.1:")
    assert server.stop() == 0
    assert [event["event"] for event in server.events] == ["opened", "serving", "draining", "stopped"]


def test_exits_0_on_sigint(start_server):
    server = start_server()
    assert server.stop(signal.SIGINT) == 0


def test_a_start_that_takes_a_while_ends_on_sigterm(start_server, tmp_path: Path):
    """With a handler: without one, the first process of a container does not even get it."""
    os.mkfifo(tmp_path / "registry.json")  # which the start reads, and waits for
    server = start_server(directory=tmp_path, ready=False)
    while not (tmp_path / "LOCK").exists():
        assert server.process.poll() is None, server.log
        time.sleep(0.01)
    server.process.terminate()
    assert server.wait() == 0
    assert server.log == ""


def test_says_that_a_port_is_taken(start_server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start_server("--listen", f"127.0.0.1:{port}", ready=False)
        assert server.wait() == 1
    assert server.log == (
        f"error: cannot listen on 127.0.0.1:{port}: port {port} is taken by another process; stop that one, or choose another "
        "port with --listen\n"
    )


def test_two_servers_do_not_share_a_port(server, start_server):
    second = start_server("--listen", server.target, ready=False)
    assert second.wait() == 1
    assert "is taken by another process" in second.log


def test_says_who_holds_the_directory(server, start_server):
    second = start_server(directory=server.directory, ready=False)
    assert second.wait() == 1
    assert f"held by process {server.process.pid}" in second.log
    assert "Traceback" not in second.log


def test_two_servers_with_segments_of_their_own_do_not_share_a_journal(start_server, tmp_path: Path):
    first = start_server()
    second = start_server("--segments", str(tmp_path / "other"), directory=first.directory, ready=False)
    assert second.wait() == 1
    assert f"{first.directory} is held by process {first.process.pid} of {socket.gethostname()}: stop it" in second.log
    assert not (tmp_path / "other").exists()
    first.process.kill()
    first.wait()
    start_server("--segments", str(tmp_path / "other"), directory=first.directory)


def test_a_file_that_is_wrong_is_named_with_the_reason(start_server, tmp_path: Path):
    cases = {
        "a.toml": ("listen = [", "a.toml: "),
        "b.toml": ("lisen = '127.0.0.1:1'", "lisen: got a setting that does not exist, expected one like 'listen'"),
        "c.yaml": ("read_rows_max: many", "c.yaml: read_rows_max: got 'many', expected a valid integer"),
        "d.yaml": ("- 1", "d.yaml: got [1], expected a mapping of settings"),
        "e.ini": ("x", "e.ini: got the suffix '.ini', expected .toml, .yaml or .yml"),
    }
    for name, (text, expected) in cases.items():
        path = tmp_path / name
        path.write_text(text)
        server = start_server("--config", str(path), ready=False)
        assert server.wait() == 1
        assert expected in server.log
        assert "Traceback" not in server.log
    server = start_server("--config", str(tmp_path / "none.toml"), ready=False)
    assert server.wait() == 1
    assert "none.toml: No such file or directory" in server.log


def test_a_file_that_cannot_be_read_shows_no_key(start_server, tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("listen: 127.0.0.1:0\napi_keys: topsecret: x\n")
    server = start_server("--config", str(path), ready=False)
    assert server.wait() == 1
    expected = "mapping values are not allowed here (at line 2, column 20); expected a TOML or YAML file of settings"
    assert server.log == f"error: {path}: {expected}\n"


def test_a_key_is_whole_or_refused(start_server, tmp_path: Path):
    keys = tmp_path / "keys"
    keys.write_text("# ours\ns#cret # the batch job's\n")
    server = start_server("--api-keys-file", str(keys))
    for key, is_known in (("s#cret", True), ("s", False)):
        with featurestore_client.connect(server.url, api_key=key) as client:
            if is_known:
                client.list_projects()
            else:
                with pytest.raises(featurestore_client.UnauthenticatedError):
                    client.list_projects()
    keys.write_bytes(b"fine\nk\xc3\xa9y\n")
    server = start_server("--api-keys-file", str(keys), ready=False)
    assert server.wait() == 1
    assert f"api_keys_file: got 'line 2 of {keys}', expected a key of printable ASCII" in server.log
    settings = tmp_path / "settings.yaml"
    settings.write_text('api_keys: ["fine", ""]')
    server = start_server("--config", str(settings), ready=False)
    assert server.wait() == 1
    assert "api_keys: got 'key 2', expected a key of printable ASCII" in server.log


def test_wrong_flags_and_variables_are_named(start_server):
    server = start_server("--listen", "7400", ready=False)
    assert server.wait() == 1
    assert "--listen: got '7400', expected HOST:PORT, such as 127.0.0.1:7400" in server.log
    server = start_server(ready=False, environment={"FEATURESTORE_SHARDS": "3"})
    assert server.wait() == 1
    assert "shards: got 3, expected a power of two" in server.log
    server = start_server(ready=False, environment={"FEATURESTORE_READ_ROWS_MAX": "0"})
    assert server.wait() == 1
    assert "FEATURESTORE_READ_ROWS_MAX: got '0', expected greater than or equal to 1" in server.log


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--delete-window-s", "inf", "less than or equal to 1000000000"),
        ("--delete-window-s", "1e300", "less than or equal to 1000000000"),
        ("--reclaim-rows-per-s", f"{10**30}", "less than or equal to 1000000000"),
        ("--rows-max", f"{10**30}", f"less than or equal to {1 << 62}"),
        ("--max-memory", "99999999999TB", f"at least 1 MiB, and no more than {1 << 62} bytes"),
    ],
)
def test_limits_that_the_kernel_cannot_count_are_refused_at_the_start(start_server, flag: str, value: str, expected: str):
    server = start_server(flag, value, ready=False)
    assert server.wait() == 1
    assert server.log.startswith(f"error: {flag}: got ")
    assert expected in server.log


def test_refuses_to_listen_beyond_this_machine_unprotected(start_server, tmp_path: Path):
    server = start_server("--listen", "0.0.0.0:0", ready=False)
    assert server.wait() == 1
    assert "can be reached from other machines, without TLS and API keys" in server.log
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    server = start_server("--listen", "0.0.0.0:0", "--api-keys-file", str(keys), ready=False)
    assert server.wait() == 1
    assert "without TLS:" in server.log
    server = start_server("--listen", "0.0.0.0:0", "--insecure")
    assert server.stop() == 0


def test_missing_certificates_are_named(start_server, tmp_path: Path):
    server = start_server("--tls-certificate", str(tmp_path / "none.pem"), "--tls-key", str(tmp_path / "none.key"), ready=False)
    assert server.wait() == 1
    assert "tls_certificate: got" in server.log
    assert "expected a file that can be read (No such file or directory)" in server.log
    server = start_server("--tls-key", str(tmp_path / "none.key"), ready=False)
    assert server.wait() == 1
    assert "TLS needs both a certificate and its key" in server.log


def run_config(*flags: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "featurestore", "config", *flags],
        capture_output=True,
        text=True,
        env=environment or {},
        check=False,
    )


def test_config_prints_each_setting_with_its_source(tmp_path: Path):
    import json

    file = tmp_path / "settings.toml"
    file.write_text("read_rows_max = 7\nshards = 4\nlisten = '127.0.0.1:1'\n")
    environment = {
        "FEATURESTORE_SHARDS": "8",
        "FEATURESTORE_LISTEN": "127.0.0.1:2",
        "FEATURESTORE_API_KEYS": "secret-a,secret-b",
    }
    ran = run_config("--json", "--config", str(file), "--listen", "127.0.0.1:3", environment=environment)
    rows = {row["name"]: row for row in json.loads(ran.stdout)}
    assert (rows["read_rows_max"]["value"], rows["read_rows_max"]["source"]) == (7, "file")
    assert (rows["shards"]["value"], rows["shards"]["source"]) == (8, "environment")
    assert (rows["listen"]["value"], rows["listen"]["source"]) == ("127.0.0.1:3", "flag")
    assert (rows["log_level"]["value"], rows["log_level"]["source"]) == ("info", "default")
    assert "secret" not in ran.stdout
    assert len(rows["api_keys"]["value"]) == 2
    assert all(row["meaning"] for row in rows.values())
    text = run_config("--config", str(file), environment=environment).stdout
    assert "secret" not in text
    assert len(text.splitlines()) == len(rows)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_logs_are_one_event_a_line(start_server, log_format):
    server = start_server("--log-format", log_format, ready=False)
    server.wait_for("serving" if log_format == "json" else " INFO    serving address=grpc://127.0.0.1:")
    assert server.stop() == 0
    assert len(server.lines) == 4


def test_a_long_write_leaves_the_core_to_whatever_else_the_server_does(server):
    own = os.getpriority(os.PRIO_PROCESS, server.process.pid)
    entities = [{"name": "user", "join_keys": [{"name": "user", "type": "int64"}]}]
    view = {"name": "long", "entity": "user", "features": [{"name": "vector", "type": "float32[50]"}]}
    with featurestore_client.connect(server.url) as client:
        client.apply({"entities": entities, "feature_views": [view]})
        client.write("long", {"user": np.arange(5_000), "vector": np.ones((5_000, 50), np.float32)})
        assert os.getpriority(os.PRIO_PROCESS, server.process.pid) == own
        assert 10 in of_threads(server.process.pid, partial(os.getpriority, os.PRIO_PROCESS))


def test_the_socket_of_another_server_is_left_to_it(start_server, tmp_path):
    path = tmp_path / "s.sock"
    first = start_server("--unix-socket", str(path))
    second = start_server("--unix-socket", str(path), ready=False)
    assert second.wait() != 0
    assert "another process does" in second.log
    with featurestore_client.connect(f"unix://{path}") as client:
        assert client.list_projects()
    assert first.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_whoever_dials_an_address_is_answered_by_the_server_on_it(start_server, transport):
    if transport == "native":
        pytest.importorskip("featurestore_client.http2")
    hosts = ("127.0.0.1", "127.0.0.2")
    with socket.create_server((hosts[0], 0)) as first, socket.create_server((hosts[1], first.getsockname()[1])):
        port = first.getsockname()[1]
    for host in hosts:
        server = start_server("--listen", f"{host}:{port}")
        serving = next(event for event in server.events if event["event"] == "serving")
        assert serving["unix_socket"].endswith(f"/{host}-{port}.sock")
        with featurestore_client.connect(server.url) as client:
            client.apply({"projects": [{"name": f"of_{host.replace('.', '_')}"}]})
    for host in hosts:
        for scheme in ("featurestore", "shm"):
            with featurestore_client.connect(f"{scheme}://{host}:{port}", transport=transport) as client:
                assert f"of_{host.replace('.', '_')}" in [each["name"] for each in client.list_projects()], scheme


@pytest.mark.parametrize("listen", ["0.0.0.0", "localhost"])  # noqa: S104
def test_a_server_on_all_addresses_or_on_a_name_is_found_by_its_socket(start_server, listen):
    pytest.importorskip("featurestore_client.http2")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = start_server("--listen", f"{listen}:{port}", "--insecure")
    assert "unix_socket" in server.events[-1]
    with featurestore_client.connect(f"featurestore://localhost:{port}", transport="native") as client:
        assert client.list_projects()
        assert [each.socket.family for each in client._transport._connections] == [socket.AF_UNIX]
