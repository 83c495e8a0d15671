"""Loads that replace, and batches that come while one is committed: what is acknowledged is what serves, and on the disk."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from featurestore.errors import FailedPreconditionError, NotFoundError
from featurestore.registry import Definitions
from featurestore.server.context import CallContext
from featurestore.server.feature_methods import FeatureWrites
from featurestore.server.opening import open_service
from featurestore.server.wire import featurestore_pb2 as public
from featurestore.service import Checks, Loads, OnlineStore
from featurestore.settings import Settings

DEFINITIONS = {
    "entities": [{"name": "e", "join_keys": [{"name": "k", "type": "int64"}]}],
    "feature_views": [{"name": "v", "entity": "e", "features": [{"name": "a", "type": "int64"}]}],
}


async def opened(place: Path) -> OnlineStore:
    service = open_service(Settings(directory=place / "data", segments=place / "segments", shards=1))
    await service.apply(Definitions.model_validate(DEFINITIONS))
    return service


def message(load: str, sequence: int) -> bytes:
    keys = [public.Column(name="k", int64s=[sequence])]
    features = [public.Column(name="a", int64s=[sequence])]
    batch = public.WriteBatch(keys=keys, features=features)
    return public.IngestFeaturesRequest(view="v", load=load, sequence=sequence, batch=batch).SerializeToString()


async def requests(load: str, handed_out: asyncio.Event) -> AsyncIterator[bytes]:
    yield message(load, 1)
    handed_out.set()
    yield message(load, 2)


async def turns_of_the_loop() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


def rows(service: OnlineStore) -> int:
    return service.table("default", "v").stats().rows


async def test_a_batch_that_comes_once_its_load_is_committed_is_not_acknowledged(tmp_path: Path):
    service = await opened(tmp_path)
    loads = Loads(service)
    load = await loads.begin("default", "v", source="a test", rows=0)
    second = asyncio.Event()
    answers: Any = FeatureWrites(service, loads).ingest(requests(load, second), CallContext("test"))
    await anext(answers)
    await second.wait()
    await turns_of_the_loop()  # it is decoded, and waits for its turn
    assert (await loads.commit(load, Checks())).version.rows == 1
    with pytest.raises((FailedPreconditionError, NotFoundError)):
        await anext(answers)
    assert rows(service) == 1
    await service.close()


async def test_a_batch_that_is_being_written_when_its_load_is_committed_is_in_it(tmp_path: Path):
    service = await opened(tmp_path)
    loads = Loads(service)
    load = await loads.begin("default", "v", source="a test", rows=0)
    table = loads.staged(load).plan.table
    answers: Any = FeatureWrites(service, loads).ingest(requests(load, asyncio.Event()), CallContext("test"))
    with table._write_lock:
        first = asyncio.ensure_future(anext(answers))
        await turns_of_the_loop()
        assert id(table) in service._gates, "it waits for the table's lock, in a thread"
        commit = asyncio.ensure_future(loads.commit(load, Checks(max_drop=1.0)))
        await asyncio.wait({commit}, timeout=0.3)  # enough to write the version down, if it did not wait
    await first
    assert (await commit).version.rows == 1
    await answers.aclose()
    await service.close()
    shutil.rmtree(tmp_path / "segments")
    service = await opened(tmp_path)
    assert rows(service) == 1
    await service.close()
