"""What a reader hands to the owner: the same comes back, and where no owner is there it waits so long and no longer."""

import asyncio
import errno
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
import uvloop

from featurestore.errors import DeadlineExceededError, UnavailableError
from featurestore.server.context import CallContext
from featurestore.server.forwarding import Owner
from featurestore.server.methods import PREFIX
from featurestore.server.wire import featurestore_pb2 as public
from tests.conftest import ENGINES, StartServer, require_engine

AWAY = "the process that writes has been away for 0.1 s, while reads go on: try again later; the server's log has the reason"


async def no_requests() -> AsyncIterator[bytes]:
    """A stream that ends at once."""
    return
    yield b""


@pytest.mark.parametrize("kind", ENGINES)
async def test_a_call_waits_for_the_owner_for_so_long_and_no_longer(tmp_path: Path, kind: str) -> None:
    require_engine(kind)
    owner = Owner(tmp_path / "owner.sock", kind, wait_s=0.1)  # type: ignore[arg-type]

    async def requests():
        yield b""

    with pytest.raises(UnavailableError) as raised:
        await owner.unary(PREFIX + "ListTables", b"", CallContext())
    assert raised.value.message == AWAY
    with pytest.raises(UnavailableError) as raised:
        async for _ in owner.stream(PREFIX + "IngestFeatures", requests(), CallContext()):
            pass
    await owner.close()


async def test_a_call_waits_for_the_owner_no_longer_than_its_deadline(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "owner.sock", wait_s=60)
    with pytest.raises(DeadlineExceededError):
        await owner.unary(PREFIX + "ListTables", b"", CallContext(deadline=time.monotonic() + 0.05))
    await owner.close()


def test_an_owner_that_takes_no_connection_does_not_stop_the_loop(tmp_path: Path) -> None:
    require_engine("native")
    path = tmp_path / "owner.sock"

    async def forward() -> None:
        owner = Owner(path, "native", wait_s=0.1)
        with pytest.raises(UnavailableError) as raised:
            async for _ in owner.stream(PREFIX + "IngestFeatures", no_requests(), CallContext()):
                pass
        assert raised.value.message == AWAY
        await owner.close()

    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        while True:
            waiting = opened.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            if waiting.connect_ex(str(path)) == errno.EAGAIN:
                break
        rescue = threading.Timer(10, listener.close)  # of a loop that waits for it
        rescue.start()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as a server has it
            runner.run(forward())
        assert rescue.is_alive()
        rescue.cancel()


async def test_a_stream_that_is_refused_while_it_waits_for_its_first_request_is_handed_over_again_whole(tmp_path: Path) -> None:
    require_engine("native")
    from tests.workers.refusing_owner import RefusingOwner

    path = tmp_path / "owner.sock"
    async with RefusingOwner(path) as refusing:
        owner = Owner(path, "native")

        async def requests() -> AsyncIterator[bytes]:
            await refusing.has_accepted.wait()
            yield b"first"
            yield b"second"

        answers = [answer async for answer in owner.stream(PREFIX + "IngestFeatures", requests(), CallContext())]
        assert answers == [b"\0\0\0\0\5first\0\0\0\0\6second"]
        await owner.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_comes_through_a_reader_byte_for_byte(start_server: StartServer, engine: str) -> None:
    require_engine(engine)
    server = start_server("--workers", "1", "--grpc-engine", engine)
    owner_socket = server.directory / "segments" / "owner.sock"
    assert owner_socket.stat().st_mode & 0o777 == 0o600
    wrong = public.Definitions()
    for number in range(300):
        wrong.feature_views.add(name=f"view_{number}_ü", entity="nobody", features=[{"name": "1", "type": "flot32"}])
    requests = {
        "Apply": public.ApplyRequest(definitions=wrong),
        "DescribeFeatureView": public.DescribeFeatureViewRequest(name="ü\n" * 1_000),
        "WriteFeatures": public.WriteFeaturesRequest(view="users", batch=public.WriteBatch()),
        "ListTables": public.ListTablesRequest(project="nobody"),
    }
    with grpc.insecure_channel(f"unix:{owner_socket}") as owner, grpc.insecure_channel(server.target) as reader:
        for name, request in requests.items():
            told = [_failure(channel, PREFIX + name, request.SerializeToString()) for channel in (owner, reader)]
            assert told[0] == told[1]
        streamed = [_failure(channel, PREFIX + "IngestFeatures", b"\xff", stream=True) for channel in (owner, reader)]
        assert streamed[0] == streamed[1]


def _failure(channel: grpc.Channel, path: str, request: bytes, *, stream: bool = False) -> tuple[grpc.StatusCode, str, bytes]:
    answers = channel.stream_stream(path)(iter([request]), timeout=20) if stream else None
    with pytest.raises(grpc.RpcError) as raised:
        next(answers) if answers else channel.unary_unary(path)(request, timeout=20)
    error = raised.value
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    return error.code(), error.details(), details
