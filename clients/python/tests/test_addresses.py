"""What a user may write for an address, and what is made of it."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import featurestore_client
import pytest
from featurestore_client import FailedPreconditionError, InvalidArgumentError, local_socket, transports
from featurestore_client.addresses import Address, is_own, parse_address, parse_addresses
from featurestore_client.tls import Tls

TLS = Tls(server_name="store.test")


@pytest.mark.parametrize(
    ("text", "tls", "expected"),
    [
        ("featurestore://host", Tls(), Address("featurestore://host", "host", 7400, prefers_unix=True, memory="preferred")),
        ("shm://host:2", Tls(), Address("shm://host:2", "host", 2, prefers_unix=True, memory="required")),
        ("featurestore://host:1", TLS, Address("featurestore://host:1", "host", 1, secure=True)),
        ("grpc://10.0.0.1:5", Tls(), Address("grpc://10.0.0.1:5", "10.0.0.1", 5)),
        ("grpcs://host", Tls(), Address("grpcs://host", "host", 7400, secure=True)),
        ("grpc://[::1]:5", Tls(), Address("grpc://[::1]:5", "::1", 5)),
        ("unix:///run/a%20b.sock", Tls(), Address("unix:///run/a%20b.sock", "", 0, path="/run/a b.sock")),
    ],
)
def test_each_scheme_says_the_way(text: str, tls: Tls, expected: Address) -> None:
    assert parse_address(text, tls) == expected


def test_the_authority_is_what_http_wants() -> None:
    assert parse_address("grpc://[::1]:5", Tls()).authority == "[::1]:5"
    assert parse_address("unix:///run/x", Tls()).authority == "localhost"


@pytest.mark.parametrize("given", ["grpc://a, grpc://b:2,grpc://a", ["grpc://a", "grpc://b:2", "grpc://a"]])
def test_several_addresses_are_a_list_or_have_commas(given: Any) -> None:
    assert [each.authority for each in parse_addresses(given, Tls())] == ["a:7400", "b:2"]


@pytest.mark.parametrize(
    "given", [[], None, 5, [5], "grpc://a,", ["grpc://a", "http://b"], "unix://host/x", "unix://", "grpc://ä"]
)
def test_what_is_no_address_is_refused(given: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"address: got .* expected featurestore://host"):
        featurestore_client.connect(given)


def test_tls_options_are_never_ignored() -> None:
    for address in ("grpc://host", "unix:///x", ["grpcs://a", "grpc://b"]):
        with pytest.raises(InvalidArgumentError, match="expected grpcs:// where TLS options are given"):
            featurestore_client.connect(address, server_name="x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balancing": "random"}, "balancing: got 'random', expected one of round_robin, least_in_flight"),
        ({"transport": "http"}, "transport: got 'http', expected one of auto, native, grpcio"),
        ({"hedge_after_s": 0.1}, "hedge_after_s: got 0.1, expected several addresses"),
        ({"hedge_after_s": 0}, "hedge_after_s: got 0, expected seconds above 0"),
        ({"coalesce_us": -1}, "coalesce_us: got -1, expected microseconds"),
        ({"api_key": "clé"}, "api_key: expected printable ASCII"),
        ({"ca_certificate": b"no"}, "ca_certificate: got b'no', expected certificates as PEM"),
        ({"client_certificate": b"no", "client_key": b"no"}, "client_certificate: got b'no', expected a certificate as PEM"),
    ],
)
def test_options_are_checked_when_the_client_is_made(options: dict[str, Any], message: str) -> None:
    scheme = "grpcs" if any("certificate" in name for name in options) else "grpc"
    with pytest.raises(InvalidArgumentError) as caught:
        featurestore_client.connect_async(f"{scheme}://host", **options)
    assert message in str(caught.value)
    assert "clé" not in str(caught.value)


def test_addresses_of_this_machine_are_known() -> None:
    assert is_own((socket.AF_INET, ("127.0.0.1", 7400)))
    assert not is_own((socket.AF_INET, ("192.0.2.1", 7400)))  # of no machine: RFC 5737


def test_the_socket_of_another_machine_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_socket, "_directories", lambda: [tmp_path])
    tmp_path.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "0.0.0.0-7400.sock"))
        assert families("127.0.0.1") == [socket.AF_UNIX, socket.AF_INET]
        assert families("192.0.2.1") == [socket.AF_INET]


def families(*hosts: str) -> list[socket.AddressFamily]:
    """By what ways a server is tried whose name has these addresses, all of IPv4, in their order."""
    resolved = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 7400)) for host in hosts]
    return [family for family, _ in parse_address("featurestore://host", Tls()).places(resolved)]


def test_a_socket_comes_before_its_own_address_and_not_before_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_socket, "_directories", lambda: [tmp_path])
    tmp_path.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "127.0.0.2-7400.sock"))
        assert families("127.0.0.1") == [socket.AF_INET]
        assert families("127.0.0.2") == [socket.AF_UNIX, socket.AF_INET]
        assert families("127.0.0.1", "127.0.0.2") == [socket.AF_INET, socket.AF_UNIX, socket.AF_INET]


def test_only_a_directory_that_nobody_else_can_write_in_is_trusted(tmp_path: Path) -> None:
    directory = tmp_path / "sockets"
    assert not local_socket.is_trusted(directory)
    directory.mkdir()
    for mode, trusted in ((0o700, True), (0o755, True), (0o775, False), (0o757, False), (0o1777, False)):
        directory.chmod(mode)
        assert local_socket.is_trusted(directory) is trusted, oct(mode)
    directory.chmod(0o755)
    (tmp_path / "link").symlink_to(directory)
    assert not local_socket.is_trusted(tmp_path / "link")
    if os.geteuid() == 0:
        os.chown(directory, 12_345, 12_345)
        assert not local_socket.is_trusted(directory)


def test_a_server_claims_what_its_clients_look_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    monkeypatch.setattr(local_socket, "_directories", lambda: [here, there])
    here.mkdir()
    here.chmod(0o777)
    path = local_socket.claim("127.0.0.1", 1)
    assert path == there / "127.0.0.1-1.sock"
    assert local_socket.find("127.0.0.1", 1) == []
    assert not local_socket.is_any(1)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
    assert local_socket.find("127.0.0.1", 1) == [path]
    assert local_socket.find("127.0.0.2", 1) == local_socket.find("127.0.0.1", 11) == []
    assert local_socket.is_any(1)
    for wildcard, found_for, not_for in (("0.0.0.0", "127.0.0.2", "::1"), ("::", "::1", "127.0.0.2")):  # noqa: S104
        path = local_socket.claim(wildcard, 2)
        assert path is not None
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
        assert local_socket.find(found_for, 2) == [path]
        assert local_socket.find(not_for, 2) == []
        path.unlink()


# ------------------------------------------------------------------------------------------------------ which transport


def test_the_environment_chooses_where_the_caller_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("featurestore_client.http2")

    def module(**options: Any) -> str:
        with featurestore_client.connect("grpc://127.0.0.1:1", **options) as client:
            return type(client._transport).__module__.rpartition(".")[2]

    monkeypatch.delenv(transports.ENVIRONMENT_VARIABLE, raising=False)
    assert module() == "blocking_transport"
    monkeypatch.setenv(transports.ENVIRONMENT_VARIABLE, "grpcio")
    assert module() == "grpc_transport"
    assert module(transport="native") == "blocking_transport"
    monkeypatch.setenv(transports.ENVIRONMENT_VARIABLE, "quic")
    with pytest.raises(InvalidArgumentError, match="FEATURESTORE_CLIENT_TRANSPORT: got 'quic'"):
        module()


def test_without_the_extension_grpcio_takes_over_and_without_both_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(transports.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "featurestore_client.http2", None)
    with featurestore_client.connect("grpc://127.0.0.1:1") as client:
        assert type(client._transport).__name__ == "GrpcTransport"
    with pytest.raises(FailedPreconditionError, match="native transport was not built: install libnghttp2"):
        featurestore_client.connect("grpc://127.0.0.1:1", transport="native")
    monkeypatch.setattr(transports, "find_spec", lambda _name: None)
    with pytest.raises(FailedPreconditionError, match=r"pip install 'featurestore-client\[grpcio\]'"):
        featurestore_client.connect("grpc://127.0.0.1:1")


def test_grpcio_is_imported_only_where_it_carries_the_calls() -> None:
    pytest.importorskip("featurestore_client.http2")
    code = (
        "import sys, featurestore_client as f\n"
        "f.connect('grpc://127.0.0.1:1'); f.connect_async(['grpc://127.0.0.1:1', 'grpc://127.0.0.1:2'], coalesce_us=10)\n"
        "print([name for name in ('grpc', 'pandas', 'pyarrow') if name in sys.modules])"
    )
    environment = {name: value for name, value in os.environ.items() if name != transports.ENVIRONMENT_VARIABLE}
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert run.stdout.strip() == "[]"
