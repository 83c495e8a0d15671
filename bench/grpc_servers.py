"""The servers of ``bench grpc``: ours on both engines and over TLS, a gRPC server that does nothing, Redis, and bare sockets.

Each is a process of its own on the servers' cores, and they all run for the whole time, so that turns can change between them.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import peers
from bench.bare_sockets import SocketServer
from bench.certificate import Certificate
from bench.cores import Cores
from bench.dataset import Dataset, Indices
from bench.load.target import OwnServer, own_server
from bench.redis_benchmark import RedisBenchmark
from bench.redis_rows import RedisRows
from bench.report import Report
from bench.server_process import EchoServer

ECHO = "grpc_echo"
GRPCIO, NATIVE, TLS = "featurestore_grpcio", "featurestore_native", "featurestore_native_tls"
REDIS, REDIS_PIPELINED = "redis_get", "redis_get_pipelined"
ENGINES = {GRPCIO: "grpcio", NATIVE: "native", TLS: "native"}


class Servers(NamedTuple):
    """``echo`` answers with the bytes of the right answer to the first request of each size, at ``read_ROWS``."""

    echo: EchoServer
    ours: Mapping[str, OwnServer]
    redis: RedisRows | None
    sockets: SocketServer


@contextmanager
def started(
    dataset: Dataset, reads: Mapping[int, Indices], cores: Cores, report: Report, *, busy_poll_us: int
) -> Iterator[Servers]:
    """Starts and loads all of them; what cannot run here is left out, with a note. ``reads``: requests by their rows."""
    memory_directory = peers.memory_directory()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-grpc-", dir=memory_directory)))
        ours: dict[str, OwnServer] = {}
        for name, reason in ((GRPCIO, ""), (NATIVE, native_missing()), (TLS, native_missing() or Certificate.missing())):
            if reason:
                report.note(f"{name} is left out: {reason}")
                continue
            certificate = Certificate.make(directory) if name == TLS else None
            server = own_server(
                dataset,
                memory_directory,
                engine=ENGINES[name],
                certificate=certificate,
                cores=cores.servers,
                busy_poll_us=busy_poll_us,
            )
            ours[name] = stack.enter_context(server)
            print(f"{name}: {dataset.rows:,} rows loaded", flush=True)
        redis = None
        if reason := RedisBenchmark.missing():
            report.note(f"Redis is left out: {reason}")
        else:
            redis = stack.enter_context(RedisRows(dataset, directory, cores))
            redis.load(reads)
            print(f"Redis: {dataset.rows:,} rows loaded", flush=True)
        answers = {f"read_{rows}": ours[GRPCIO].checked_read(drawn[0]) for rows, drawn in reads.items()}
        echo = stack.enter_context(EchoServer(answers, cores=cores.servers))
        yield Servers(echo, ours, redis, stack.enter_context(SocketServer(directory, cores=cores.servers)))


def native_missing() -> str:
    """What this installation lacks for the native engine and client; empty when nothing."""
    try:
        import featurestore_client.http2  # noqa: F401, PLC0415  it is there only where it was built
    except ImportError:
        return "featurestore-client was built without libnghttp2"
    return ""
