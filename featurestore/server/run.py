"""``featurestore serve``: checks what can be checked before anything is opened, then serves in one process or in several."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from featurestore_client import local_socket

from featurestore.address import Address, UnixAddress
from featurestore.errors import FailedPreconditionError
from featurestore.server.api_keys import ApiKeys
from featurestore.server.listener import Listener
from featurestore.server.methods import Methods, own_methods
from featurestore.server.opening import api_keys_of, choose_engines, open_service_logged
from featurestore.server.serving import Served, log_serving, serve
from featurestore.server.status import Role, StatusBoard
from featurestore.server.tls import Tls
from featurestore.server.workers import run_workers
from featurestore.service import LoggedProgress, Progress
from featurestore.settings import Settings

_log = logging.getLogger(__name__)


def run_server(settings: Settings, progress: Callable[[], Progress] = LoggedProgress) -> None:
    """Serves until a signal. ``progress`` makes what is told how far the start is.

    Raises FeatureStoreError, with a sentence, when it cannot begin.
    """
    address = Address.parse(settings.listen)
    tls, api_keys = Tls.of(settings), api_keys_of(settings)
    _check_exposure(settings, address, tls is not None, api_keys is not None)
    address.check_available()  # before the store is opened, which may take a while
    listeners = _listeners(settings, address, tls)
    if settings.workers:
        run_workers(settings, listeners, api_keys, progress)
    else:
        _run_alone(settings, listeners, api_keys, progress)


def _run_alone(
    settings: Settings, listeners: Sequence[Listener], api_keys: ApiKeys | None, progress: Callable[[], Progress]
) -> None:
    engines = choose_engines(settings)
    # Until it serves: to the first process of a container the system gives no signal that has no handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    service = open_service_logged(settings, progress)
    board = StatusBoard.create(1, settings.segments_directory)
    slot = board.slots[0].name(Role.SERVER)
    slot.started(os.getpid())
    board.note_recovered(service.recovered)

    def open_served() -> Served:
        methods = Methods(own_methods(service, board, slot), api_keys)
        engine = engines.public(methods, listeners)
        return Served(methods, engine, service.close, lambda: service.maintain(settings.reclaim_rows_per_s))

    def ready(urls: list[str], engine: str) -> None:
        board.publish()
        log_serving(urls, engine, api_keys)

    try:
        serve(open_served, slot, settings.drain_timeout_s, ready)
    finally:
        board.remove()


def _check_exposure(settings: Settings, address: Address, has_tls: bool, has_keys: bool) -> None:
    if address.is_loopback or settings.insecure or (has_tls and has_keys):
        return
    missing = " and ".join(name for name, there in (("TLS", has_tls), ("API keys", has_keys)) if not there)
    raise FailedPreconditionError(
        f"listen {address} can be reached from other machines, without {missing}: set --tls-certificate, --tls-key and "
        "--api-keys-file; or listen on 127.0.0.1; or say --insecure where the network itself is protected"
    )


def _listeners(settings: Settings, address: Address, tls: Tls | None) -> list[Listener]:
    listeners = [Listener(address, tls)]
    if settings.unix_socket not in ("auto", "off"):
        listeners.append(Listener(UnixAddress(Path(settings.unix_socket))))
    elif settings.unix_socket == "auto" and tls is None and address.port:
        _, (ip, *_) = address.to_listen()
        path = local_socket.claim(ip, address.port)
        try:
            if path is not None:
                UnixAddress(path).check_available()
                listeners.append(Listener(UnixAddress(path)))
        except FailedPreconditionError as error:  # of a server that was told this path
            _log.warning("no local socket", extra={"fields": {"reason": str(error)}})
    return listeners
