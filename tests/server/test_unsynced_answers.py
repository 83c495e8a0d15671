"""Answers of writes that wait for the disk (``--fsync always``), over real sockets; the disk is held, or fails, as wanted."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import pytest
from featurestore_client import AsyncClient, connect_async, errors

from featurestore.address import UnixAddress
from featurestore.durability import journal as journal_module
from featurestore.durability.group_sync import GroupSync
from featurestore.server.grpc_native import GrpcNativeServer
from featurestore.server.listener import Listener
from featurestore.server.methods import Methods, own_methods
from featurestore.server.opening import open_service
from featurestore.server.status import StatusBoard
from featurestore.settings import load_settings

DEFINITIONS = {
    "entities": [{"name": "user", "join_keys": [{"name": "user_id", "type": "int64"}]}],
    "feature_views": [{"name": "users", "entity": "user", "features": [{"name": "a", "type": "float32"}]}],
}


class Served:
    address: str
    release: Callable[[], None]
    """Lets the disk have what is written."""

    def __init__(self) -> None:
        self._waiting = 0
        self._one_more = asyncio.Event()

    def wanted(self) -> None:
        """One more write has been applied, and waits for the disk."""
        self._waiting += 1
        self._one_more.set()

    async def wrote(self, count: int) -> None:
        """Until there were so many."""
        async with asyncio.timeout(30):
            while self._waiting < count:
                self._one_more.clear()
                await self._one_more.wait()


@asynccontextmanager
async def serving(directory: Path, monkeypatch, *, breaks: bool = False) -> AsyncIterator[Served]:
    served, may_sync, pipe = Served(), threading.Event(), os.pipe()

    class Held(GroupSync):
        """Syncs when it may; where it ``breaks`` it has a pipe to sync, which cannot be."""

        def serve(self) -> None:
            assert may_sync.wait(60)
            super().serve()

        def note(self, file: int, sequence: int) -> None:
            super().note(pipe[1] if breaks else file, sequence)

        def want(self) -> None:
            super().want()
            served.wanted()

    monkeypatch.setattr(journal_module, "GroupSync", Held)
    monkeypatch.setenv("FEATURESTORE_SEGMENTS", str(directory / "segments"))
    settings, _ = load_settings({"directory": directory / "store", "fsync": "always"})
    service, board = open_service(settings), StatusBoard.of_this_process()
    methods = Methods(own_methods(service, board, board.slots[0]))
    server = GrpcNativeServer(methods.by_path, [Listener(UnixAddress(directory / "socket"))])
    (served.address,) = await server.start()
    served.release = may_sync.set
    try:
        async with connect_async(served.address) as client:
            await client.apply(DEFINITIONS)
        yield served
    finally:
        may_sync.set()
        await server.stop(10)
        ends = pytest.raises(errors.InternalError, match="expected to sync the journal") if breaks else nullcontext()
        with ends:  # it says so to whoever ends it, too
            await service.close()
        for each in pipe:
            os.close(each)


async def write(client: AsyncClient, user: int, timeout_s: float = 30) -> object:
    return await client.write("users", {"user_id": [user], "a": [float(user)]}, timeout_s=timeout_s)


async def test_writes_of_one_connection_are_answered_once_the_disk_has_them(tmp_path, monkeypatch):
    async with serving(tmp_path, monkeypatch) as served, connect_async(served.address) as client:
        writes = [asyncio.ensure_future(write(client, user)) for user in range(1, 21)]
        await served.wrote(20)
        rows = await client.get(["users:a"], {"user_id": [20]})  # what is not acknowledged may be read, on the same connection
        assert rows.to_dict()["a"] == [20.0]
        assert not any(each.done() for each in writes)
        served.release()
        assert [counts.inserted for counts in await asyncio.gather(*writes)] == [1] * 20


MANY = [*range(20_000)]
OTHERS: dict[str, Callable[[AsyncClient], Awaitable[object]]] = {
    "a delete": lambda client: client.delete("users", {"user_id": [1]}, event_timestamps=1),
    "a write with a null": lambda client: client.write("users", {"user_id": [1], "a": [None]}),
    "a long write": lambda client: client.write("users", {"user_id": MANY, "a": [1.0] * len(MANY)}),
    "a stream": lambda client: client.ingest("users", {"user_id": [1], "a": [1.0]}),
    "a long stream": lambda client: client.ingest("users", {"user_id": MANY, "a": [1.0] * len(MANY)}),
}


@pytest.mark.parametrize("kind", OTHERS)
async def test_so_is_whatever_else_writes(tmp_path, monkeypatch, kind: str):
    async with serving(tmp_path, monkeypatch) as served, connect_async(served.address) as client:
        call = asyncio.ensure_future(OTHERS[kind](client))
        waits = asyncio.ensure_future(served.wrote(1))
        await asyncio.wait((call, waits), return_when=asyncio.FIRST_COMPLETED)
        assert waits.done()
        assert not call.done()
        served.release()
        await call


async def test_a_caller_whose_deadline_passes_meanwhile_is_told_and_the_write_is_kept(tmp_path, monkeypatch):
    async with serving(tmp_path, monkeypatch) as served, connect_async(served.address) as client:
        with pytest.raises(errors.DeadlineExceededError):
            await write(client, 1, timeout_s=0.2)
        waiting = asyncio.ensure_future(write(client, 2))
        await served.wrote(2)
        served.release()
        await waiting
        assert (await client.get(["users:a"], {"user_id": [1, 2]})).to_dict()["a"] == [1.0, 2.0]


async def test_a_connection_that_ends_meanwhile_is_nobody_elses_trouble(tmp_path, monkeypatch, caplog):
    async with serving(tmp_path, monkeypatch) as served, connect_async(served.address) as other:
        async with connect_async(served.address) as client:
            gone = asyncio.ensure_future(write(client, 1))
            await served.wrote(1)
        waiting = asyncio.ensure_future(write(other, 2))
        await served.wrote(2)
        served.release()
        await waiting
        with pytest.raises(errors.FeatureStoreError):
            await gone
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_disk_that_fails_is_told_to_all_who_wait(tmp_path, monkeypatch):
    async with serving(tmp_path, monkeypatch, breaks=True) as served, connect_async(served.address) as client:
        writes = [asyncio.ensure_future(write(client, user)) for user in range(1, 4)]
        await served.wrote(3)
        served.release()
        for told in await asyncio.gather(*writes, return_exceptions=True):
            assert isinstance(told, errors.InternalError)
            assert "expected to sync the journal" in str(told)
