"""One process that serves, from listening to the end of its drain: the same whether it is the whole server or a part of one.

SIGTERM and SIGINT drain: health turns NOT_SERVING, streams end after the batch they are at, calls in flight finish, what was
served is closed. A second signal does not wait for them, and a third says nothing new.
"""

import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import uvloop

from featurestore.server.api_keys import ApiKeys
from featurestore.server.methods import Methods
from featurestore.server.status import BEAT_S, Counts, ProcessSlot, State

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""That a person, or who runs the server, ends it by."""
_log = logging.getLogger(__name__)


class Engine(Protocol):
    """What speaks gRPC: serves a table of methods on some listeners."""

    name: str

    async def start(self) -> list[str]:
        """Listens; returns the URLs, with the ports that were got. FailedPreconditionError, in a sentence, when it cannot."""
        ...

    async def stop(self, drain_timeout_s: float) -> None:
        """Takes no more calls, lets those in flight end for so long, then cancels them."""
        ...

    def counts(self) -> Counts:
        """(connections that are open, or None where that cannot be told; calls that were begun)."""
        ...


Ready = Callable[[list[str], str], None]
"""Called once a process serves: the URLs, and the engine's name."""


@dataclass(frozen=True)
class Served:
    """What a process serves, made on its event loop. ``upkeep`` runs beside it; ``close`` ends it after the drain."""

    methods: Methods
    engine: Engine
    close: Callable[[], Awaitable[None]]
    upkeep: Callable[[], Coroutine[Any, Any, None]] | None = None


def serve(open_served: Callable[[], Served], slot: ProcessSlot, drain_timeout_s: float, ready: Ready) -> None:
    """Serves until a signal. Raises FeatureStoreError when it cannot begin."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(open_served, slot, drain_timeout_s, ready))


async def _serve(open_served: Callable[[], Served], slot: ProcessSlot, drain_timeout_s: float, ready: Ready) -> None:
    signals = _signals_queued()
    try:
        await _serve_until(signals, open_served, slot, drain_timeout_s, ready)
    finally:
        ignore_signals()
    _log.info("stopped")


def _signals_queued() -> asyncio.Queue[int]:
    """The signals to end, as they come."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            # Not as a handler of the loop's: those are taken away one by one, and leave the default behind.
            signal.signal(number, lambda received, _: loop.call_soon_threadsafe(queue.put_nowait, received))
    return queue


def ignore_signals() -> None:
    """Has them say nothing any more, for good: one in the last moments must not make the exit code say otherwise."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


async def _serve_until(
    signals: asyncio.Queue[int], open_served: Callable[[], Served], slot: ProcessSlot, drain_timeout_s: float, ready: Ready
) -> None:
    served = open_served()
    engine = served.engine
    slot.counts = engine.counts
    beside = [asyncio.ensure_future(_beat(slot))]
    if served.upkeep is not None:
        beside.append(asyncio.ensure_future(served.upkeep()))
    try:
        urls = await engine.start()
        gc.freeze()  # what lives as long as the process need not be looked at while requests are answered, nor now
        slot.turn(State.SERVING)
        ready(urls, engine.name)
        received = signal.Signals(await signals.get())
        _log.info("draining", extra={"fields": {"signal": received.name, "timeout_s": drain_timeout_s}})
        slot.turn(State.DRAINING)
        served.methods.drain()
        stopping = asyncio.ensure_future(engine.stop(drain_timeout_s))
        impatient = asyncio.ensure_future(signals.get())
        await asyncio.wait((stopping, impatient), return_when=asyncio.FIRST_COMPLETED)
        impatient.cancel()
        if not stopping.done():
            ignore_signals()
            await engine.stop(0)
        await stopping
    finally:
        for each in beside:
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each
        await served.close()


def log_serving(urls: Sequence[str], engine: str, api_keys: ApiKeys | None, **more: object) -> None:
    """The line that says that the server is there: ``urls`` are its TCP address, and its unix socket if it has one."""
    fields = {"address": urls[0], "api_keys": api_keys is not None, "engine": engine, **more}
    _log.info("serving", extra={"fields": {**fields, **({"unix_socket": urls[1]} if urls[1:] else {})}})


async def _beat(slot: ProcessSlot) -> None:
    while True:
        slot.beat()
        await asyncio.sleep(BEAT_S)
