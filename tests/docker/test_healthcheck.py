"""The image's health check, run as the orchestrator runs it, against real gRPC servers: plain, TLS, mTLS, and none."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

CHECK = Path(__file__).parents[2] / "docker" / "healthcheck.py"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Server(NamedTuple):
    """One server's ports, its certificate and its health."""

    plain: int
    tls: int
    mtls: int
    certificate: dict[str, str]
    health: health.aio.HealthServicer


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    """A certificate of a name that is not 127.0.0.1, as the settings name its files."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    name = ["-subj", "/CN=features.test", "-addext", "subjectAltName=DNS:features.test"]
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", *name]
    subprocess.run([*new, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return {"FEATURESTORE_TLS_CERTIFICATE": str(certificate), "FEATURESTORE_TLS_KEY": str(key)}


@pytest.fixture
def credentials(certificate: dict[str, str]) -> tuple[grpc.ServerCredentials, grpc.ServerCredentials]:
    """For TLS, and for mTLS with clients of the same certificate."""
    key, chain = (Path(certificate[f"FEATURESTORE_TLS_{name}"]).read_bytes() for name in ("KEY", "CERTIFICATE"))
    return grpc.ssl_server_credentials([(key, chain)]), grpc.ssl_server_credentials([(key, chain)], chain, True)


@pytest.fixture
async def server(
    certificate: dict[str, str], credentials: tuple[grpc.ServerCredentials, grpc.ServerCredentials]
) -> AsyncIterator[Server]:
    servicer = health.aio.HealthServicer()
    await servicer.set("", SERVING)
    running = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, running)
    plain = running.add_insecure_port("127.0.0.1:0")
    tls = running.add_secure_port("127.0.0.1:0", credentials[0])
    mtls = running.add_secure_port("127.0.0.1:0", credentials[1])
    await running.start()
    yield Server(plain, tls, mtls, certificate, servicer)
    await running.stop(None)


async def check(*arguments: str, **environment: str) -> tuple[int, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FEATURESTORE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CHECK), *arguments, env={**clean, **environment}, stderr=asyncio.subprocess.PIPE
    )
    _, output = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode().strip()


async def test_passes_where_the_server_listens_on_all_interfaces(server: Server) -> None:
    assert await check(FEATURESTORE_LISTEN=f"0.0.0.0:{server.plain}") == (0, "")


async def test_passes_over_tls_whatever_name_the_certificate_has(server: Server) -> None:
    assert await check(FEATURESTORE_LISTEN=f"0.0.0.0:{server.tls}", **server.certificate) == (0, "")
    assert await check(f"grpcs://127.0.0.1:{server.tls}") == (0, "")


async def test_shows_the_servers_own_certificate_where_clients_must_show_one(server: Server) -> None:
    authority = server.certificate["FEATURESTORE_TLS_CERTIFICATE"]
    listen = f"127.0.0.1:{server.mtls}"
    assert await check(FEATURESTORE_LISTEN=listen, FEATURESTORE_TLS_CLIENT_CA=authority, **server.certificate) == (0, "")
    code, _ = await check(FEATURESTORE_LISTEN=listen, **server.certificate)
    assert code == 1


async def test_fails_while_the_server_drains(server: Server) -> None:
    await server.health.set("", NOT_SERVING)
    assert await check(f"grpc://127.0.0.1:{server.plain}") == (1, f"127.0.0.1:{server.plain} answers that it is not serving")


async def test_fails_where_the_method_is_unknown() -> None:
    running = grpc.aio.server()
    port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    assert await check(f"grpc://127.0.0.1:{port}") == (1, f"127.0.0.1:{port} answers that it is not serving")
    await running.stop(None)


async def test_fails_where_nothing_listens() -> None:
    assert await check("grpc://127.0.0.1:1") == (1, "127.0.0.1:1 does not answer: [Errno 111] Connection refused")


async def test_fails_where_something_else_listens() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as running:
        port = running.sockets[0].getsockname()[1]
        code, sentence = await check(f"grpc://127.0.0.1:{port}")
    assert code == 1
    assert "is not HTTP/2" in sentence
