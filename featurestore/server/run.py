"""The life of a server process: open, listen, serve until told to stop, drain, close.

SIGTERM and SIGINT drain: health turns NOT_SERVING, streams end after the batch they are at, calls in flight finish, the store
is closed, and the process exits 0. A second signal does not wait for them.
"""

import asyncio
import gc
import logging
import signal
import ssl
import time
from contextlib import suppress

import grpc
import uvloop

from featurestore.address import Address
from featurestore.errors import FailedPreconditionError, InvalidArgumentError
from featurestore.server.api_keys import ApiKeys
from featurestore.server.grpc_aio import GrpcAioServer
from featurestore.server.methods import Methods
from featurestore.service import OnlineStore, ServiceLimits
from featurestore.settings import Settings, read_secret_file
from featurestore.store import Limits

_log = logging.getLogger(__name__)


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
    )


def run_server(settings: Settings) -> None:
    """Serves until a signal. Raises FeatureStoreError, with a sentence, when it cannot begin."""
    address = Address.parse(settings.listen)
    credentials, api_keys = _credentials(settings), _api_keys(settings)
    _check_exposure(settings, address, credentials is not None, api_keys is not None)
    address.check_available()  # before the store is opened, which may take a while
    started = time.monotonic()
    service = open_service(settings)
    tables = service.store.tables()
    rows = sum(table.stats().rows for table in tables)
    fields = {"directory": settings.directory, "segments": settings.segments_directory, "tables": len(tables), "rows": rows}
    _log.info("opened", extra={"fields": {**fields, "seconds": round(time.monotonic() - started, 3)}})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, service, address, credentials, api_keys))


async def _serve(
    settings: Settings,
    service: OnlineStore,
    address: Address,
    credentials: grpc.ServerCredentials | None,
    api_keys: ApiKeys | None,
) -> None:
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    methods = Methods(service, api_keys)
    engine = GrpcAioServer(methods.by_path, address, credentials=credentials, message_bytes_max=settings.message_bytes_max)
    maintenance = asyncio.ensure_future(service.maintain(settings.reclaim_rows_per_s))
    try:
        bound = await engine.start()
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be looked at while requests are answered
        scheme = "grpcs" if credentials is not None else "grpc"
        _log.info("serving", extra={"fields": {"address": f"{scheme}://{bound}", "api_keys": api_keys is not None}})
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
    _log.info("stopped")


def _check_exposure(settings: Settings, address: Address, has_tls: bool, has_keys: bool) -> None:
    if address.is_loopback or settings.insecure or (has_tls and has_keys):
        return
    missing = " and ".join(name for name, there in (("TLS", has_tls), ("API keys", has_keys)) if not there)
    raise FailedPreconditionError(
        f"listen {address} can be reached from other machines, without {missing}: set --tls-certificate, --tls-key and "
        "--api-keys-file; or listen on 127.0.0.1; or say --insecure where the network itself is protected"
    )


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    certificate = read_secret_file(settings.tls_certificate, "tls_certificate")
    key = read_secret_file(settings.tls_key, "tls_key")
    authorities = read_secret_file(settings.tls_client_ca, "tls_client_ca") if settings.tls_client_ca else None
    _check_certificates(settings)
    return grpc.ssl_server_credentials([(key, certificate)], authorities, require_client_auth=authorities is not None)


def _check_certificates(settings: Settings) -> None:
    """gRPC says of a wrong file only that binding failed; OpenSSL says more."""
    assert settings.tls_certificate is not None
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        trial.load_cert_chain(settings.tls_certificate, settings.tls_key, password="")
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        expected = f"a PEM certificate that fits the key in {settings.tls_key} ({reason.lower().replace('_', ' ')})"
        raise InvalidArgumentError.of("tls_certificate", str(settings.tls_certificate), expected) from None
    if settings.tls_client_ca is not None:
        try:
            trial.load_verify_locations(settings.tls_client_ca)
        except ssl.SSLError:
            raise InvalidArgumentError.of("tls_client_ca", str(settings.tls_client_ca), "a PEM file of certificates") from None


def _api_keys(settings: Settings) -> ApiKeys | None:
    keys = [key.get_secret_value() for key in settings.api_keys]
    if settings.api_keys_file is not None:
        text = read_secret_file(settings.api_keys_file, "api_keys_file").decode("utf-8", "replace")
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        keys += [line for line in lines if line]
        if not keys:
            raise InvalidArgumentError.of("api_keys_file", str(settings.api_keys_file), "a file with an API key a line")
    return ApiKeys(keys) if keys else None
