"""``serve --workers N``: what the processes of a server are. One owns the store and writes; N read, from its mapped segments,
on the same addresses; ``supervisor.py`` keeps them running.

                     callers: TCP (SO_REUSEPORT), the unix socket (one, inherited)
                        |                |                |
                    reader 1         reader 2         reader N      GetFeatures: from the segments
                        |                |                |         everything else: as bytes to the owner
                        +--------- owner.sock ------------+
                                         |
                                       owner                        definitions, writes, upkeep

Invariant: what is acknowledged by the owner is in the segments, or in the registry's file, before the acknowledgement: so that
whichever reader a caller asks next has it.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from featurestore_client.tables.table import follow_all

from featurestore.address import Address, UnixAddress
from featurestore.server.api_keys import ApiKeys
from featurestore.server.forwarding import Owner, reader_methods
from featurestore.server.listener import Listener
from featurestore.server.logs import configure_logs
from featurestore.server.methods import Methods, own_methods
from featurestore.server.opening import Engines, choose_engines, open_reader, open_service_logged
from featurestore.server.serving import Ready, Served, log_serving, serve
from featurestore.server.shared_memory import SharedMemory
from featurestore.server.status import Role, StatusBoard
from featurestore.server.supervisor import Seat, Supervisor
from featurestore.service import Progress
from featurestore.settings import Settings

FOLLOW_S = 1.0
"""After which a reader that nobody asks lets go of tables that were replaced."""
OWNER_SOCKET_MODE = 0o600
"""Whoever may connect there is past the API keys."""


def run_workers(
    settings: Settings, listeners: Sequence[Listener], api_keys: ApiKeys | None, progress: Callable[[], Progress]
) -> None:
    """Serves until a signal. Raises FeatureStoreError, with a sentence, when it cannot begin or go on."""
    engines = choose_engines(settings)
    with ExitStack() as stack:
        shared = SharedListeners(listeners, engines, stack)
        board = StatusBoard.create(2 + settings.workers, settings.segments_directory)
        stack.callback(board.remove)
        board.slots[0].name(Role.SUPERVISOR).started(os.getpid())
        processes = _Processes(settings, engines, shared, api_keys, board, progress)
        owner = Seat("owner", processes.run_owner, board.slots[1].name(Role.OWNER))
        readers = [
            Seat(f"reader {number}", partial(processes.run_reader, number), slot.name(Role.READER, number))
            for number, slot in enumerate(board.slots[2:], start=1)
        ]

        def serving(urls: list[str], engine: str) -> None:
            board.publish()
            log_serving(urls, engine, api_keys, workers=settings.workers)

        Supervisor(owner, readers, board.slots[0], settings.drain_timeout_s).run(serving)


class SharedListeners:
    """The server's addresses, held by the supervisor for all readers, however often they are started."""

    def __init__(self, listeners: Sequence[Listener], engines: Engines, held: ExitStack) -> None:
        self._for_all: list[Listener] = []
        self._for_one: list[Listener] = []
        for listener in listeners:
            if isinstance(listener.address, Address):
                # Bound and not listening: the port is the server's, and no connection comes here.
                bound = held.enter_context(listener._replace(is_shared=True).bind())
                address = Address(listener.address.host, bound.getsockname()[1])
                self._for_all.append(Listener(address, listener.tls, is_shared=True))
            elif engines.inherits:
                opened = held.enter_context(listener.open())
                held.callback(listener.remove)
                self._for_all.append(listener._replace(inherited=opened))
            else:
                self._for_one.append(listener)

    def of_reader(self, number: int) -> list[Listener]:
        """Where a reader listens. grpcio opens its sockets itself: with it one reader alone has the unix socket."""
        return self._for_all + (self._for_one if number == 1 else [])


class _Processes:
    """What each of them does, once it is forked."""

    def __init__(
        self,
        settings: Settings,
        engines: Engines,
        shared: SharedListeners,
        api_keys: ApiKeys | None,
        board: StatusBoard,
        progress: Callable[[], Progress],
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._engines = engines
        self._shared = shared
        self._api_keys = api_keys
        self._board = board
        self._owner = UnixAddress(settings.segments_directory.resolve() / "owner.sock")

    def run_owner(self, ready: Ready) -> None:
        """Owns the store, and answers the readers."""
        settings, board = self._settings, self._board
        configure_logs(settings.log_format, settings.log_level, "owner")
        service = open_service_logged(settings, self._progress)
        board.note_recovered(service.recovered)

        def open_served() -> Served:
            methods = Methods(own_methods(service, board, board.slots[1]))
            engine = self._engines.internal(methods, [Listener(self._owner, mode=OWNER_SOCKET_MODE)])
            return Served(methods, engine, service.close, lambda: service.maintain(settings.reclaim_rows_per_s))

        serve(open_served, board.slots[1], settings.drain_timeout_s, ready)

    def run_reader(self, number: int, ready: Ready) -> None:
        """Answers callers."""
        settings, board, slot = self._settings, self._board, self._board.slots[1 + number]
        configure_logs(settings.log_format, settings.log_level, f"reader {number}")
        reader = open_reader(settings)

        def open_served() -> Served:
            owner = Owner(self._owner.path)

            async def close() -> None:
                await owner.close()
                await reader.close()

            is_shared = settings.shared_memory != "off"
            shared = SharedMemory(settings.segments_directory, lambda: reader.catalog, is_shared=is_shared)
            methods = Methods(reader_methods(reader, shared, owner, board, slot), self._api_keys)
            return Served(methods, self._engines.public(methods, self._shared.of_reader(number)), close, _follow)

        serve(open_served, slot, settings.drain_timeout_s, ready)


async def _follow() -> None:
    while True:
        await asyncio.sleep(FOLLOW_S)
        follow_all()
