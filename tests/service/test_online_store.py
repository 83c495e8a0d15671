"""The service below its adapters: applying changes whole or not at all, turns of writers, plans that are forgotten in time."""

import asyncio
import threading
from collections.abc import Awaitable
from pathlib import Path

import numpy as np
import pytest

from featurestore.durability import Kind, Message
from featurestore.errors import DeadlineExceededError, FailedPreconditionError, NotFoundError, ResourceExhaustedError
from featurestore.registry import Definitions, Registry
from featurestore.server.opening import open_service
from featurestore.service import OnlineStore, Selection, online_reader, online_store
from featurestore.service.plan_cache import PlanCache
from featurestore.settings import Settings
from featurestore.store import Column, Store, Table, WriteCounts


def definitions(*views: dict, **more) -> Definitions:
    entities = [{"name": "user", "join_keys": [{"name": "user_id", "type": "int64"}]}]
    return Definitions.model_validate({"entities": entities, "feature_views": list(views), **more})


def view(name: str, *features: str, **more) -> dict:
    return {"name": name, "entity": "user", "features": [{"name": feature, "type": "float32"} for feature in features], **more}


def keys(*values: int) -> list[np.ndarray]:
    return [np.array(values, np.int64)]


def floats(*values: float) -> Column:
    return Column(np.array(values, np.float32))


@pytest.fixture
async def online(tmp_path: Path):
    store = OnlineStore.open(tmp_path, shards=2)
    yield store
    await store.close()


async def write(online: OnlineStore, name: str, values: dict[str, Column], *ids: int, at_us: int = 1) -> None:
    plan = online.write_plan("default", name)
    counts = online.write(plan, keys(*ids), np.array([at_us]), values, rows=len(ids))
    if not isinstance(counts, tuple):
        await counts


def read(online: OnlineStore, *features: str, ids: tuple[int, ...] = (1,)) -> list[float]:
    plan = online.read_plan(Selection("default", features=features))
    matrix = bytearray(len(ids) * plan.row_bytes)
    plan.read(keys(*ids), len(ids), matrix, now_us=10)
    return np.frombuffer(matrix, np.float32).tolist()


def names_of_tables(online: OnlineStore) -> list[str]:
    return [table.view.view for table in online.store.tables()]


async def test_a_change_that_fails_half_way_leaves_everything_as_it_was(online, monkeypatch):
    await online.apply(definitions(view("first", "a", "b")))
    await write(online, "first", {"a": floats(1), "b": floats(2)}, 1)
    version = online.version
    create = Store.create_table

    def fail_at_third(store, definition, entity):
        if definition.name == "third":
            raise ResourceExhaustedError("no memory for it")
        return create(store, definition, entity)

    monkeypatch.setattr(Store, "create_table", fail_at_third)
    with pytest.raises(ResourceExhaustedError):
        await online.apply(definitions(view("first", "a", "c"), view("second", "a"), view("third", "a")))
    assert names_of_tables(online) == ["first"]
    assert [feature.name for feature in online.store.table("default", "first").definition.features] == ["a", "b"]
    assert read(online, "first:a", "first:b") == [1, 2]
    assert [definition.name for definition in online.definitions.feature_views] == ["first"]
    assert online.version == version


async def test_a_commit_that_fails_undoes_the_tables(online, monkeypatch):
    await online.apply(definitions(view("first", "a", "b")))
    await write(online, "first", {"a": floats(1), "b": floats(2)}, 1)

    def fail(*_):
        raise FailedPreconditionError("the disk is full")

    monkeypatch.setattr(Registry, "commit", fail)
    with pytest.raises(FailedPreconditionError):
        await online.apply(definitions(view("first", "a", "c"), view("second", "a")))
    assert names_of_tables(online) == ["first"]
    assert read(online, "first:a", "first:b") == [1, 2]


async def test_what_could_not_be_dropped_is_dropped_later(online, monkeypatch):
    await online.apply(definitions(view("first", "a", "b"), view("second", "a")))
    drop = Store.drop_table

    def fail(*_):
        raise OSError("busy")

    monkeypatch.setattr(Store, "drop_table", fail)
    plan = await online.apply(definitions(view("first", "a", "b")), prune=True)
    assert [change.action for change in plan.changes] == ["delete"]
    with pytest.raises(NotFoundError):
        online.read_plan(Selection("default", features=("second:a",)))
    assert names_of_tables(online) == ["first", "second"]
    monkeypatch.setattr(Store, "drop_table", drop)
    await online.keep_up(1_000)
    assert names_of_tables(online) == ["first"]


async def test_tables_follow_the_definitions_at_the_next_start(tmp_path: Path):
    online = OnlineStore.open(tmp_path)
    await online.apply(definitions(view("first", "a", "b"), view("second", "a")))
    await write(online, "first", {"a": floats(1), "b": floats(2)}, 1)
    online.store.drop_table("default", "second")  # as if it had died while changing the tables
    first = online.definitions.feature_view("default", "first")
    wider = first.model_copy(update={"features": (*first.features, first.features[0].model_copy(update={"name": "late"}))})
    online.store.alter_table(wider, online.definitions.entities[0])
    await online.close()
    online = OnlineStore.open(tmp_path)
    assert names_of_tables(online) == ["first", "second"]
    assert [feature.name for feature in online.store.table("default", "first").definition.features] == ["a", "b"]
    assert read(online, "first:a", "first:b") == [1, 2]
    await online.close()


async def test_reads_go_on_and_writes_wait_while_a_table_is_changed(online, monkeypatch):
    await online.apply(definitions(view("first", "a", "b")))
    await write(online, "first", {"a": floats(1), "b": floats(2)}, 1)
    begun, go_on = threading.Event(), threading.Event()
    alter = Store.alter_table

    def slow(store, definition, entity):
        begun.set()
        assert go_on.wait(30)
        alter(store, definition, entity)

    monkeypatch.setattr(Store, "alter_table", slow)
    change = asyncio.ensure_future(online.apply(definitions(view("first", "a", "b", "c"))))
    await asyncio.to_thread(begun.wait, 30)
    waiting = asyncio.ensure_future(write(online, "first", {"a": floats(5)}, 1, at_us=2))
    for _ in range(5):
        await asyncio.sleep(0)
    assert read(online, "first:a", "first:b") == [1, 2]
    assert not waiting.done()
    assert not change.done()
    go_on.set()
    await change
    await waiting
    values = read(online, "first:a", "first:b", "first:c")
    assert values[:2] == [5, 2]
    assert np.isnan(values[2])


async def test_writes_that_waited_for_one_in_a_thread_do_not_go_to_threads_themselves(online, monkeypatch):
    await online.apply(definitions(view("first", "a")))
    await write(online, "first", {"a": floats(1)}, 1)  # the first one commits memory, in a thread
    begun, go_on, apply = threading.Event(), threading.Event(), Table.write
    threads = []

    def watched(table, keys, *arguments, **options):
        threads.append(threading.current_thread())
        if len(keys[0]) > 1:
            begun.set()
            assert go_on.wait(30)
        return apply(table, keys, *arguments, **options)

    monkeypatch.setattr(Table, "write", watched)
    large = asyncio.ensure_future(write(online, "first", {"a": floats(*range(1_000))}, *range(1_000), at_us=2))
    await asyncio.to_thread(begun.wait, 30)
    small = [asyncio.ensure_future(write(online, "first", {"a": floats(at)}, 1, at_us=at)) for at in range(3, 9)]
    for _ in range(5):
        await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(large, *small)
    assert [thread is threading.main_thread() for thread in threads] == [False] + 6 * [True]
    assert read(online, "first:a") == [8]


async def test_the_loop_does_not_wait_for_a_long_record_of_the_journal(tmp_path: Path):
    online = open_service(Settings(directory=tmp_path / "data", segments=tmp_path / "segments"))
    try:
        await online.apply(definitions(view("first", "a")))
        plan = online.write_plan("default", "first")

        def begin(value: float) -> WriteCounts | Awaitable[WriteCounts]:
            batch, message = {"a": floats(value)}, Message(Kind.WRITE, b"which is not read again", 1)
            return online.write(plan, keys(1), np.array([1]), batch, rows=1, message=message)

        first = begin(1)
        assert not isinstance(first, WriteCounts), "it commits memory, in a thread"
        await first
        assert isinstance(begin(2), WriteCounts)
        with online._journal.lock:  # as while one is written
            third = begin(3)
            assert not isinstance(third, WriteCounts)
            await asyncio.sleep(0)  # which it would come back from only when the lock is free
        await third
        assert read(online, "first:a") == [3]
    finally:
        await online.close()


async def test_a_write_whose_caller_gave_up_while_it_waited_is_not_done(online):
    await online.apply(definitions(view("first", "a")))
    plan = online.write_plan("default", "first")

    def given_up() -> None:
        raise DeadlineExceededError("too late")

    rows = 5_000  # more than is written at once
    columns = {"a": floats(*range(rows))}
    with pytest.raises(DeadlineExceededError):
        await online.write(plan, keys(*range(rows)), np.array([1]), columns, rows=rows, begin=given_up)
    assert online.store.table("default", "first").stats().rows == 0


async def test_writes_that_would_wait_behind_too_many_are_refused_at_once(online, monkeypatch):
    monkeypatch.setattr(online_store, "WRITES_WAITING_MAX", 3)
    await online.apply(definitions(view("first", "a"), view("second", "a")))
    async with online._turn(online.table("default", "first")):
        waiting = [asyncio.ensure_future(write(online, "first", {"a": floats(1)}, key)) for key in range(2)]
        for _ in range(5):
            await asyncio.sleep(0)
        with pytest.raises(ResourceExhaustedError, match=r"writes_waiting_max: 3 writes to view 'first' wait .* Try again"):
            await write(online, "first", {"a": floats(9)}, 9)
        await write(online, "second", {"a": floats(1)}, 1)
    await asyncio.gather(*waiting)
    assert read(online, "first:a", ids=(0, 1)) == [1, 1]
    assert not online._gates  # nobody holds one
    await write(online, "first", {"a": floats(9)}, 9)


async def test_long_reads_that_would_wait_behind_too_many_are_refused_at_once(online, monkeypatch):
    monkeypatch.setattr(online_reader, "LONG_WAITING_MAX", 3)
    go_on = threading.Event()
    waiting = [asyncio.ensure_future(online.beside_the_loop(lambda: go_on.wait(30))) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhaustedError, match=r"long_waiting_max: 3 large requests wait .* Try again"):
        await online.beside_the_loop(lambda: None)
    go_on.set()
    assert await asyncio.gather(*waiting) == [True] * 3
    assert await online.beside_the_loop(lambda: 7) == 7


async def test_a_plan_made_before_a_change_still_reads(online):
    await online.apply(definitions(view("first", "a", "b")))
    await write(online, "first", {"a": floats(1), "b": floats(2)}, 1)
    plan = online.read_plan(Selection("default", features=("first:b", "first:a")))
    await online.apply(definitions(view("first", "c", "b", "a")))
    matrix = bytearray(plan.row_bytes)
    plan.read(keys(1), 1, matrix, now_us=10)
    assert np.frombuffer(matrix, np.float32).tolist() == [2, 1]


async def test_a_caller_who_leaves_does_not_stop_a_change_half_way(online):
    await online.apply(definitions(view("first", "a")))
    change = asyncio.ensure_future(online.apply(definitions(view("first", "a", "b"), view("second", "a"))))
    await asyncio.sleep(0)
    change.cancel()
    with pytest.raises(asyncio.CancelledError):
        await change
    await online.apply(definitions(view("third", "a")))  # waits for its turn behind the other
    assert names_of_tables(online) == ["first", "second", "third"]
    assert [feature.name for feature in online.definitions.feature_view("default", "first").features] == ["a", "b"]


async def test_rows_past_their_retention_are_reclaimed_step_by_step(online):
    await online.apply(definitions(view("first", "a", ttl="1s", retention="1s"), view("kept", "a")))
    for name in ("first", "kept"):
        await write(online, name, {"a": floats(*range(100))}, *range(100))
    assert await online.keep_up(10) == 10  # a bounded step
    while await online.keep_up(10):
        pass
    assert online.store.table("default", "first").stats().rows == 0
    assert online.store.table("default", "kept").stats().rows == 100


async def test_join_keys_of_one_name_and_two_types_are_refused_with_the_way_out(online):
    document = {
        "entities": [
            {"name": "user", "join_keys": [{"name": "id", "type": "int64"}]},
            {"name": "item", "join_keys": [{"name": "id", "type": "string"}]},
        ],
        "feature_views": [
            {"name": "users", "entity": "user", "features": [{"name": "a", "type": "float32"}]},
            {"name": "items", "entity": "item", "features": [{"name": "b", "type": "float32"}]},
        ],
    }
    await online.apply(Definitions.model_validate(document))
    with pytest.raises(Exception, match="join key 'id': got 'int64 and string', expected one type in all views"):
        online.read_plan(Selection("default", features=("users:a", "items:b")))


class _Definitions:
    version = 1


def test_plans_are_kept_until_the_version_moves():
    made = []
    current = _Definitions()

    def make(key: str) -> str:
        made.append(key)
        return f"plan {len(made)}"

    cache: PlanCache[str, str] = PlanCache(make, current)
    assert cache.get("x") == cache.get("x") == "plan 1"
    current.version += 1
    assert cache.get("x") == "plan 2"
    assert made == ["x", "x"]


def test_cache_of_plans_is_bounded_in_number_and_key_size():
    cache: PlanCache[bytes, bytes] = PlanCache(lambda key: key, _Definitions(), plans_max=10)
    for number in range(100):
        cache.get(b"%d" % number)
    assert len(cache) == 10
    cache.get(b"x" * 100_000)
    assert len(cache) == 10


def test_what_cannot_be_planned_is_not_remembered():
    known = set()

    def make(key: str) -> str:
        if key not in known:
            raise NotFoundError(key)
        return key

    cache: PlanCache[str, str] = PlanCache(make, _Definitions())
    with pytest.raises(NotFoundError):
        cache.get("x")
    known.add("x")
    assert cache.get("x") == "x"
