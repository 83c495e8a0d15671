"""The life of a server process: open, listen, serve until told to stop, drain, close.

SIGTERM and SIGINT drain: health turns NOT_SERVING, streams end after the batch they are at, calls in flight finish, the store
is closed, and the process exits 0. A second signal does not wait for them.
"""

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import uvloop
from featurestore_client import local_socket

from featurestore.address import Address, UnixAddress
from featurestore.errors import FailedPreconditionError, InvalidArgumentError
from featurestore.server.api_keys import ApiKeys
from featurestore.server.grpc_aio import GrpcAioServer
from featurestore.server.listener import Listener
from featurestore.server.methods import Methods
from featurestore.server.tls import Tls
from featurestore.service import OnlineStore, ServiceLimits
from featurestore.settings import Settings, read_secret_file
from featurestore.store import Limits

_log = logging.getLogger(__name__)

_SEGMENTS_MODES = {"off": 0o700, "owner": 0o700, "group": 0o750, "all": 0o755}


class Engine(Protocol):
    """What speaks gRPC: serves a table of methods on some listeners."""

    name: str

    async def start(self) -> list[str]:
        """Listens; returns the URLs, with the ports that were got. FailedPreconditionError, in a sentence, when it cannot."""
        ...

    async def stop(self, drain_timeout_s: float) -> None:
        """Takes no more calls, lets those in flight end for so long, then cancels them."""
        ...


def open_service(settings: Settings) -> OnlineStore:
    """The online store of the settings' directory, with their limits."""
    try:
        settings.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidArgumentError.of(
            "directory", str(settings.directory), f"a directory that can be written ({error.strerror})"
        ) from None
    return OnlineStore.open(
        settings.directory,
        segments=settings.segments_directory,
        store_limits=Limits(
            rows_max=settings.rows_max,
            bytes_max=settings.bytes_max,
            key_bytes_max=settings.key_bytes_max,
            value_bytes_max=settings.value_bytes_max,
            batch_rows_max=settings.batch_rows_max,
            read_string_bytes_max=settings.read_bytes_max,
        ),
        limits=ServiceLimits(read_rows_max=settings.read_rows_max, read_bytes_max=settings.read_bytes_max),
        shards=settings.shards,
        delete_window_us=int(settings.delete_window_s * 1_000_000),
        mode=_SEGMENTS_MODES[settings.shared_memory],
        shares_memory=settings.shared_memory != "off",
    )


def run_server(settings: Settings) -> None:
    """Serves until a signal. Raises FeatureStoreError, with a sentence, when it cannot begin."""
    address = Address.parse(settings.listen)
    tls, api_keys = Tls.of(settings), _api_keys(settings)
    _check_exposure(settings, address, tls is not None, api_keys is not None)
    address.check_available()  # before the store is opened, which may take a while
    started = time.monotonic()
    listeners = _listeners(settings, address, tls)
    service = open_service(settings)
    tables = service.store.tables()
    rows = sum(table.stats().rows for table in tables)
    fields = {"directory": settings.directory, "segments": settings.segments_directory, "tables": len(tables), "rows": rows}
    _log.info("opened", extra={"fields": {**fields, "seconds": round(time.monotonic() - started, 3)}})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, service, listeners, api_keys))


async def _serve(settings: Settings, service: OnlineStore, listeners: Sequence[Listener], api_keys: ApiKeys | None) -> None:
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    methods = Methods(service, api_keys)
    engine = _engine(settings, methods, listeners)
    maintenance = asyncio.ensure_future(service.maintain(settings.reclaim_rows_per_s))
    try:
        urls = await engine.start()
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be looked at while requests are answered
        serving = {"address": urls[0], "api_keys": api_keys is not None, "engine": engine.name}
        _log.info("serving", extra={"fields": {**serving, **({"unix_socket": urls[1]} if urls[1:] else {})}})
        received = signal.Signals(await signals.get())
        _log.info("draining", extra={"fields": {"signal": received.name, "timeout_s": settings.drain_timeout_s}})
        methods.drain()
        stopping = asyncio.ensure_future(engine.stop(settings.drain_timeout_s))
        impatient = asyncio.ensure_future(signals.get())
        await asyncio.wait((stopping, impatient), return_when=asyncio.FIRST_COMPLETED)
        impatient.cancel()
        if not stopping.done():
            await engine.stop(0)
        await stopping
    finally:
        maintenance.cancel()
        with suppress(asyncio.CancelledError):
            await maintenance
        await service.close()
    # All is done and in good order: a signal in the last moments must not make the exit code say otherwise.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)  # else closing the loop would bring the default back
        signal.signal(number, signal.SIG_IGN)
    _log.info("stopped")


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
        path = local_socket.claim(address.port)
        try:
            if path is not None:
                UnixAddress(path).check_available()
                listeners.append(Listener(UnixAddress(path)))
        except FailedPreconditionError as error:  # of another server on this port, on another interface
            _log.warning("no local socket", extra={"fields": {"reason": str(error)}})
    return listeners


def _engine(settings: Settings, methods: Methods, listeners: Sequence[Listener]) -> Engine:
    if settings.grpc_engine != "grpcio":
        try:
            from featurestore.server.grpc_connection import ConnectionLimits  # noqa: PLC0415
            from featurestore.server.grpc_native import GrpcNativeServer  # noqa: PLC0415
        except ImportError as error:
            reason = "featurestore-client was built without libnghttp2's headers"
            if not isinstance(error, ModuleNotFoundError):  # it is built, and cannot be loaded
                reason = f"the HTTP/2 session of featurestore-client cannot be loaded ({error})"
            if settings.grpc_engine == "native":
                raise FailedPreconditionError(
                    f"grpc_engine native is not there: {reason}; install them and build it again"
                ) from None
            _log.warning("grpcio serves gRPC", extra={"fields": {"reason": reason}})
        else:
            limits = ConnectionLimits(message_bytes_max=settings.message_bytes_max, age_max_s=settings.connection_age_max_s)
            return GrpcNativeServer(methods.by_path, listeners, limits, busy_poll_us=settings.busy_poll_us)
    return GrpcAioServer(
        methods.by_path,
        listeners,
        message_bytes_max=settings.message_bytes_max,
        connection_age_max_s=settings.connection_age_max_s,
    )


def _api_keys(settings: Settings) -> ApiKeys | None:
    keys = [key.get_secret_value() for key in settings.api_keys]
    if settings.api_keys_file is not None:
        text = read_secret_file(settings.api_keys_file, "api_keys_file").decode("utf-8", "replace")
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        keys += [line for line in lines if line]
        if not keys:
            raise InvalidArgumentError.of("api_keys_file", str(settings.api_keys_file), "a file with an API key a line")
    return ApiKeys(keys) if keys else None
