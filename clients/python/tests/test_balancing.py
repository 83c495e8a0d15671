"""Several addresses: calls are spread over those that answer, and hedged where that is asked for."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import featurestore_client
import pytest
from featurestore_client import NotFoundError, RetryPolicy, UnavailableError
from featurestore_client.balancing import TIMEOUTS_MAX, Balancer
from featurestore_client.transport import SERVICE

http2 = pytest.importorskip("featurestore_client.http2")

LIST_TABLES = SERVICE + "ListTables"
ONCE = RetryPolicy(attempts_max=1)
Connect = Callable[..., Any]


class Answering:
    """A script that counts its calls, and waits for ``go`` before it answers."""

    def __init__(self) -> None:
        self.calls = 0
        self.resets = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self.status = 0

    def __call__(self, connection: Any) -> None:
        for event in connection.events():
            if event.error_code != -1:
                self.resets.set()
            elif event.ended:
                self.calls += 1
                if self.go.is_set():
                    connection.answer(event.stream_id, status=self.status)


@pytest.fixture
def three(http2_server: Any) -> tuple[list[Answering], list[Any]]:
    scripts = [Answering() for _ in range(3)]
    return scripts, [http2_server(script) for script in scripts]


def addresses(servers: list[Any]) -> list[str]:
    return [server.address for server in servers]


@pytest.mark.parametrize("balancing", ["round_robin", "least_in_flight"])
def test_calls_one_after_the_other_go_round(three: Any, connect_native: Connect, balancing: str) -> None:
    scripts, servers = three
    client = connect_native(",".join(addresses(servers)), balancing=balancing)
    for _ in range(30):
        client.list_tables()
    assert [script.calls for script in scripts] == [10, 10, 10]


async def test_least_in_flight_spares_the_slow_one(three: Any) -> None:
    scripts, servers = three
    scripts[1].go.clear()
    options: Any = {"transport": "native", "balancing": "least_in_flight"}
    async with featurestore_client.connect_async(addresses(servers), **options) as client:
        pending = {asyncio.create_task(client.list_tables()) for _ in range(3)}
        while len(pending) > 1:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for _ in range(20):
            await client.list_tables()
        assert scripts[1].calls == 1
        assert abs(scripts[0].calls - scripts[2].calls) <= 3, "what it would have got is shared"
        for stuck in pending:
            stuck.cancel()
        await asyncio.wait(pending)


def test_a_dead_address_costs_no_call(three: Any, connect_native: Connect) -> None:
    scripts, servers = three
    client = connect_native(addresses(servers), retry=ONCE)
    servers[1].close()
    for _ in range(30):
        client.apply({})  # which is never done twice
    assert scripts[1].calls == 0
    assert abs(scripts[0].calls - scripts[2].calls) <= 3, "what it would have got is shared"


def test_a_dead_address_costs_no_stream(three: Any, connect_native: Connect) -> None:
    scripts, servers = three
    client = connect_native(addresses(servers), retry=ONCE)
    servers[1].close()
    for _ in range(9):
        if isinstance(client, featurestore_client.Client):
            assert list(client._transport.stream(LIST_TABLES, iter([b""]), timeout_s=20)) == [b""]
        else:
            assert client._loop.run_until_complete(responses(client._client)) == [b""]
    assert scripts[1].calls == 0


async def test_a_stream_whose_requests_are_drawn_is_not_made_again(http2_server: Any) -> None:
    def refusing(connection: Any) -> None:
        for event in connection.events():
            if event.ended:
                connection.session.reset(event.stream_id, http2.REFUSED_STREAM)
                connection.flush()

    servers = [http2_server(refusing) for _ in range(2)]
    async with featurestore_client.connect_async(addresses(servers), transport="native") as client:
        with pytest.raises(UnavailableError, match="refused"):
            await responses(client)
    assert [len(server.connections) for server in servers] == [1, 0]


async def responses(client: Any) -> list[bytes]:
    """Of a stream of one request."""

    async def one() -> AsyncIterator[bytes]:
        yield b""

    return [each async for each in client._transport.stream(LIST_TABLES, one(), timeout_s=20)]


def test_an_address_is_tried_again_when_its_delay_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    balancer: Balancer[str] = Balancer(["a", "b"], "round_robin")
    balancer.endpoints[0].failed()
    assert {balancer.pick().transport for _ in range(10)} == {"b"}
    now_s += 0.6
    assert Counter(balancer.pick().transport for _ in range(10))["a"] == 1, "one call finds out how it is"
    balancer.endpoints[0].succeeded()
    assert Counter(balancer.pick().transport for _ in range(10)) == {"a": 5, "b": 5}


def test_where_all_are_set_aside_the_first_to_be_due_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1_000.0)
    balancer: Balancer[str] = Balancer(["a", "b"], "round_robin")
    for endpoint in balancer.endpoints:
        endpoint.failed()
    balancer.endpoints[0].aside_until_s, balancer.endpoints[1].aside_until_s = 1_002.0, 1_001.0
    assert {balancer.pick().transport for _ in range(4)} == {"b"}
    assert balancer.healthy() is None


def test_an_address_that_lets_calls_run_out_of_time_is_set_aside() -> None:
    balancer: Balancer[str] = Balancer(["a", "b"], "round_robin")
    for _ in range(TIMEOUTS_MAX):
        balancer.endpoints[0].timed_out()
    assert {balancer.pick().transport for _ in range(4)} == {"b"}


def test_all_dead_is_unavailable_in_one_round(three: Any, connect_native: Connect) -> None:
    _, servers = three
    client = connect_native(addresses(servers), retry=ONCE)
    for server in servers:
        server.close()
    started_s = time.monotonic()
    with pytest.raises(UnavailableError):
        client.list_tables()
    assert time.monotonic() - started_s < 2


# ------------------------------------------------------------------------------------------------------------ hedging


async def test_a_slow_answer_is_overtaken_and_its_call_cancelled(three: Any) -> None:
    scripts, servers = three
    scripts[0].go.clear()
    options: Any = {"transport": "native", "hedge_after_s": 0.05}
    async with featurestore_client.connect_async(addresses(servers[:2]), **options) as client:
        started_s = time.monotonic()
        assert await client.list_tables() == []
        assert 0.04 < time.monotonic() - started_s < 2
        assert [script.calls for script in scripts] == [1, 1, 0]
        assert await asyncio.to_thread(scripts[0].resets.wait, 10)


async def test_a_quick_answer_is_not_hedged(three: Any) -> None:
    scripts, servers = three
    options: Any = {"transport": "native", "hedge_after_s": 5}
    async with featurestore_client.connect_async(addresses(servers[:2]), **options) as client:
        for _ in range(10):
            await client.list_tables()
    assert sum(script.calls for script in scripts) == 10


async def test_what_cannot_be_repeated_is_not_hedged(three: Any) -> None:
    scripts, servers = three
    scripts[0].go.clear()
    options: Any = {"transport": "native", "hedge_after_s": 0.01, "timeout_s": 0.3}
    async with featurestore_client.connect_async(addresses(servers[:2]), **options) as client:
        with pytest.raises(featurestore_client.DeadlineExceededError):
            await client.apply({}, timeout_s=0.3)
    assert [script.calls for script in scripts] == [1, 0, 0]


async def test_a_hedge_that_fails_leaves_the_first_call_its_time(three: Any) -> None:
    scripts, servers = three
    scripts[0].go.clear()
    options: Any = {"transport": "native", "hedge_after_s": 0.02, "retry": ONCE}
    async with featurestore_client.connect_async(addresses(servers[:2]), **options) as client:
        servers[1].close()
        call = asyncio.create_task(client.list_tables())
        await asyncio.sleep(0.2)
        assert not call.done()
        servers[0].connections[0].answer(1)
        assert await call == []


async def test_an_error_of_the_call_itself_is_an_answer(three: Any) -> None:
    scripts, servers = three
    scripts[0].go.clear()
    scripts[1].status = 5
    options: Any = {"transport": "native", "hedge_after_s": 0.02}
    async with featurestore_client.connect_async(addresses(servers[:2]), **options) as client:
        with pytest.raises(NotFoundError):
            await client.list_tables()
