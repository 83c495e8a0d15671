"""Reads that are made as one: each caller gets the answer that its own request would have had."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import featurestore_client
import numpy as np
import pytest
from featurestore_client import InvalidArgumentError, NotFoundError
from featurestore_client.coalescing import ROWS_MAX, cut, joined, keys_of
from featurestore_client.transport import GET_FEATURES
from featurestore_client.wire import featurestore_raw_pb2 as wire

NOW = datetime.now(UTC)
DEFINITIONS: dict[str, Any] = {
    "entities": [
        {"name": "user", "join_keys": [{"name": "user", "type": "int64"}]},
        {"name": "place", "join_keys": [{"name": "country", "type": "string"}, {"name": "zip", "type": "int64"}]},
    ],
    "feature_views": [
        {
            "name": "users",
            "entity": "user",
            "features": [
                {"name": "score", "type": "float32"},
                {"name": "vector", "type": "float64[3]"},
                {"name": "flag", "type": "bool"},
                {"name": "name", "type": "string"},
                {"name": "blob", "type": "bytes"},
            ],
        },
        {
            "name": "places",
            "entity": "place",
            "ttl": "1h",
            "features": [{"name": "rent", "type": "float32"}, {"name": "area", "type": "float32"}],
        },
    ],
    "feature_services": [
        {"name": "mixed", "features": ["users:name", "users:score", "users:vector", "users:flag", "users:blob", "places:rent"]},
        {"name": "words", "features": ["users:name"]},
        {"name": "numbers", "features": ["places:rent", "places:area"]},
    ],
}


@pytest.fixture(scope="module")
def store(start: Callable[..., Any]) -> Any:
    process = start()
    with featurestore_client.connect(process.address) as client:
        client.apply(DEFINITIONS)
        users = list(range(40))
        client.write(
            "users",
            {
                "user": users,
                "score": [None if user % 5 == 0 else user / 2 for user in users],
                "vector": [[user, user + 0.5, -user] for user in users],
                "flag": [user % 2 == 0 for user in users],
                "name": [None if user % 7 == 0 else "ü" * user for user in users],
                "blob": [bytes([user]) * (user % 3) for user in users],
            },
            event_timestamps=NOW,
        )
        client.write(
            "places",
            {"country": ["de"] * 20 + ["fr"] * 20, "zip": users, "rent": users, "area": [user * 2 for user in users]},
            event_timestamps=[NOW if user % 3 else datetime(2020, 1, 1, tzinfo=UTC) for user in users],
        )
    return process


def counted(client: Any) -> list[str]:
    """The calls that leave a coalescing client, from now on."""
    calls: list[str] = []
    inner = client._transport._transport
    unary = inner.unary

    async def counting(method_path: str, request: bytes, **options: Any) -> bytes:
        calls.append(method_path)
        answer: bytes = await unary(method_path, request, **options)
        return answer

    inner.unary = counting
    return calls


def facts(batch: Any) -> tuple[Any, ...]:
    times = batch.event_timestamps
    return batch.names, batch.to_dict(), batch.statuses.tolist(), None if times is None else times.tolist()


@pytest.mark.parametrize("transport", ["native", "grpcio"])
@pytest.mark.parametrize("service", ["mixed", "words", "numbers"])
async def test_each_caller_gets_what_it_would_have_got_alone(store: Any, transport: Any, service: str) -> None:
    if transport == "native":
        pytest.importorskip("featurestore_client.http2")
    random = np.random.default_rng(5)
    reads: list[dict[str, Any]] = []
    for _ in range(30):
        rows = int(random.integers(1, 6))
        keys: dict[str, Any] = {}
        if service != "numbers":
            keys["user"] = random.integers(-3, 45, rows).tolist()
        if service != "words":
            keys["country"] = ["de", "fr", "grüße"][int(random.integers(3))]
            keys["zip"] = random.integers(0, 45, rows)
        reads.append(keys)
    options: dict[str, Any] = {"event_timestamps": True}
    with featurestore_client.connect(store.address) as alone:
        expected = [facts(alone.get(service, keys, **options)) for keys in reads]
    async with featurestore_client.connect_async(store.address, transport=transport, coalesce_us=2_000) as client:
        calls = counted(client)
        for _ in range(2):  # the second time by the schema that is known then
            calls.clear()
            batches = await asyncio.gather(*(client.get(service, keys, **options) for keys in reads))
            assert [facts(batch) for batch in batches] == expected
            assert len(calls) == 1


async def test_one_callers_mistake_is_not_the_others(store: Any) -> None:
    async with featurestore_client.connect_async(store.address, coalesce_us=5_000) as client:
        await client.get("words", {"user": [1]})
        good = [asyncio.create_task(client.get("words", {"user": [user]})) for user in (1, 2, 3)]
        missing = [asyncio.create_task(client.get("mixed", {"user": [1]}))]
        uneven = asyncio.create_task(client.get("mixed", {"user": [1, 2], "country": ["de"] * 3, "zip": [1]}))
        unknown = asyncio.create_task(client.get("nothing", {"user": [1]}))
        outcomes = await asyncio.gather(*good, *missing, uneven, unknown, return_exceptions=True)
    assert [batch.to_dict() for batch in outcomes[:3]] == [{"name": ["ü"]}, {"name": ["üü"]}, {"name": ["üüü"]}]  # type: ignore[union-attr]
    assert [type(error) for error in outcomes[3:]] == [InvalidArgumentError, InvalidArgumentError, NotFoundError]


async def test_a_batch_that_is_refused_is_asked_for_singly(store: Any) -> None:
    async with featurestore_client.connect_async(store.address, coalesce_us=5_000) as client:
        inner = client._transport._transport  # type: ignore[attr-defined]
        unary, sizes = inner.unary, []

        async def refusing(method_path: str, request: bytes, **options: Any) -> bytes:
            assert method_path == GET_FEATURES
            users = len(wire.GetFeaturesRequest.FromString(request).keys[0].int64s) // 8
            sizes.append(users)
            if users > 1:
                raise InvalidArgumentError("the fault of one of them")
            answer: bytes = await unary(method_path, request, **options)
            return answer

        inner.unary = refusing
        batches = await asyncio.gather(*(client.get("words", {"user": [user]}) for user in (1, 2, 3)))
    assert [batch.to_dict() for batch in batches] == [{"name": ["ü"]}, {"name": ["üü"]}, {"name": ["üüü"]}]
    assert sizes == [3, 1, 1, 1]


async def test_a_caller_that_gives_up_leaves_the_others_theirs(store: Any) -> None:
    async with featurestore_client.connect_async(store.address, coalesce_us=20_000) as client:
        calls = counted(client)
        tasks = [asyncio.create_task(client.get("words", {"user": [user]})) for user in (1, 2, 3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes[1], asyncio.CancelledError)
        assert [batch.to_dict() for batch in (outcomes[0], outcomes[2])] == [{"name": ["ü"]}, {"name": ["üüü"]}]  # type: ignore[union-attr]
        assert len(calls) == 1


async def test_a_batch_has_a_limit_and_large_reads_go_alone(store: Any) -> None:
    async with featurestore_client.connect_async(store.address, coalesce_us=20_000) as client:
        calls = counted(client)
        rows = ROWS_MAX // 4
        await asyncio.gather(*(client.get("words", {"user": list(range(rows))}) for _ in range(6)))
        assert len(calls) == 2
        await asyncio.gather(*(client.get("words", {"user": list(range(ROWS_MAX))}) for _ in range(3)))
        assert len(calls) == 5


def test_what_a_closed_loop_left_is_not_joined(store: Any) -> None:
    client = featurestore_client.connect_async(store.address, coalesce_us=20_000, timeout_s=5)

    async def begin_a_read() -> None:
        reading = asyncio.create_task(client.get("words", {"user": [2]}))
        await asyncio.sleep(0)
        reading.cancel()

    async def read_and_close() -> Any:
        try:
            return (await asyncio.wait_for(client.get("words", {"user": [2]}), 30)).to_dict()
        finally:
            await asyncio.wait_for(client.close(), 30)

    asyncio.run(begin_a_read())
    assert len(client._transport._batches) == 1  # type: ignore[attr-defined]
    assert asyncio.run(read_and_close()) == {"name": ["üü"]}


async def test_closing_the_client_ends_reads_that_wait(store: Any) -> None:
    client = featurestore_client.connect_async(store.address, coalesce_us=900_000)
    task = asyncio.create_task(client.get("words", {"user": [1]}))
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(featurestore_client.FeatureStoreError):
        await task


def test_an_answer_of_another_number_of_rows_is_not_cut() -> None:
    with pytest.raises(ValueError, match="an answer of 3 rows to a request for 2"):
        cut(wire.GetFeaturesResponse(rows=3).SerializeToString(), [1, 1])


def test_a_request_without_sense_is_left_to_the_server() -> None:
    assert keys_of(wire.GetFeaturesRequest()) is None
    assert keys_of(wire.GetFeaturesRequest(keys=[wire.Column(name="a")])) is None
    uneven = [wire.Column(name="a", int64s=bytes(16)), wire.Column(name="b", int64s=bytes(24))]
    assert keys_of(wire.GetFeaturesRequest(keys=uneven)) is None


def test_strings_of_several_requests_lie_one_after_the_other() -> None:
    def request(*texts: str) -> wire.GetFeaturesRequest:
        data = [text.encode() for text in texts]
        offsets = np.cumsum([0, *map(len, data)], dtype=np.int32)
        column = wire.Column(name="k", data=b"".join(data), offsets=offsets.tobytes())
        return wire.GetFeaturesRequest(selection=b"s", keys=[column], known_schema_id=7)

    parts = [request("a", "bcd"), request(""), request("ü", "", "x")]
    keys = [keys_of(part) for part in parts]
    whole = wire.GetFeaturesRequest.FromString(joined(parts[0], [each for each in keys if each is not None]))
    assert whole == request("a", "bcd", "", "ü", "", "x")
