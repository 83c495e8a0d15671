"""From the settings to what a process is made of: the store or a reader of it, the API keys, the engine."""

import logging
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from featurestore.errors import FailedPreconditionError, InvalidArgumentError
from featurestore.server.api_keys import ApiKeys
from featurestore.server.listener import Listener
from featurestore.server.methods import Methods
from featurestore.server.serving import Engine
from featurestore.server.snapshot_process import write_snapshot
from featurestore.server.write_decoding import Replay
from featurestore.service import Durability, LoggedProgress, MappedStore, OnlineStore, Progress, ServiceLimits
from featurestore.settings import Settings, read_secret_file
from featurestore.store import Limits

_log = logging.getLogger(__name__)

_COMMENT = re.compile(r"(^|\s)#.*")
"""Of a line of API keys. A # within a key is the key's: what would be left of it is a key that is easily guessed."""
_SEGMENTS_MODES = {"off": 0o700, "owner": 0o700, "group": 0o750, "all": 0o755}

MakeEngine = Callable[[Methods, Sequence[Listener]], Engine]


class Engines(NamedTuple):
    """What makes engines: for callers, and for what a server's own processes have to say to each other."""

    public: MakeEngine
    internal: MakeEngine
    inherits: bool
    """Whether they can serve a socket that listens already."""


def service_limits(settings: Settings) -> ServiceLimits:
    """What one request may ask for."""
    return ServiceLimits(settings.read_rows_max, settings.read_bytes_max, settings.replace_idle_s)


def open_service(settings: Settings, progress: Callable[[], Progress] = LoggedProgress) -> OnlineStore:
    """The online store of the settings' directory, with their limits. ``progress`` makes what is told how far it is."""
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
            memory_bytes_max=settings.memory_bytes_max,
            key_bytes_max=settings.key_bytes_max,
            value_bytes_max=settings.value_bytes_max,
            batch_rows_max=settings.batch_rows_max,
            read_string_bytes_max=settings.read_bytes_max,
        ),
        limits=service_limits(settings),
        shards=settings.shards,
        delete_window_us=int(settings.delete_window_s * 1_000_000),
        mode=_SEGMENTS_MODES[settings.shared_memory],
        shares_memory=settings.shared_memory != "off",
        durability=Durability(
            Replay,
            (sys.executable, "-m", "featurestore.server.snapshot_process"),
            write_snapshot,
            settings.fsync,
            settings.fsync_interval_s,
            settings.snapshot_bytes_min,
            settings.versions_kept,
            progress,
        ),
    )


def open_service_logged(settings: Settings, progress: Callable[[], Progress] = LoggedProgress) -> OnlineStore:
    """As ``open_service``, for a server: its log says what was opened."""
    started = time.monotonic()
    service = open_service(settings, progress)
    tables = service.store.tables()
    rows = sum(table.stats().rows for table in tables)
    fields = {"directory": settings.directory, "segments": settings.segments_directory, "tables": len(tables), "rows": rows}
    _log.info("opened", extra={"fields": {**fields, "seconds": round(time.monotonic() - started, 3)}})
    return service


def open_reader(settings: Settings) -> MappedStore:
    """A reader of the store that another process opened."""
    return MappedStore(settings.directory, settings.segments_directory, service_limits(settings))


def choose_engines(settings: Settings) -> Engines:
    """Those that the settings want. FailedPreconditionError where they are not there."""
    if settings.grpc_engine != "grpcio":
        try:
            from featurestore.server.grpc_connection import INTERNAL_LIMITS, ConnectionLimits  # noqa: PLC0415  may not be built
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
            polling_us = settings.busy_poll_us
            internal = replace(INTERNAL_LIMITS, message_bytes_max=settings.message_bytes_max)
            return Engines(
                lambda methods, listeners: GrpcNativeServer(methods.by_path, listeners, limits, busy_poll_us=polling_us),
                lambda methods, listeners: GrpcNativeServer(methods.by_path, listeners, internal, busy_poll_us=0),
                inherits=True,
            )

    from featurestore.server.grpc_aio import GrpcAioServer  # noqa: PLC0415  it is a while in being loaded

    def grpcio(methods: Methods, listeners: Sequence[Listener], age_max_s: float | None = None) -> Engine:
        bytes_max = settings.message_bytes_max
        return GrpcAioServer(methods.by_path, listeners, message_bytes_max=bytes_max, connection_age_max_s=age_max_s)

    return Engines(lambda methods, listeners: grpcio(methods, listeners, settings.connection_age_max_s), grpcio, inherits=False)


def api_keys_of(settings: Settings) -> ApiKeys | None:
    """The keys that open the server; None where it asks for none."""
    keys = [(key.get_secret_value().strip(), "api_keys", f"key {n}") for n, key in enumerate(settings.api_keys, start=1)]
    if settings.api_keys_file is not None:
        text = read_secret_file(settings.api_keys_file, "api_keys_file").decode("utf-8", "replace")
        lines = [_COMMENT.sub("", line).strip() for line in text.splitlines()]
        place = f"of {settings.api_keys_file}"
        keys += [(line, "api_keys_file", f"line {n} {place}") for n, line in enumerate(lines, start=1) if line]
        if not keys:
            raise InvalidArgumentError.of("api_keys_file", str(settings.api_keys_file), "a file with an API key a line")
    for key, setting, place in keys:
        if not (key.isascii() and key.isprintable() and key):
            raise InvalidArgumentError.of(setting, place, "a key of printable ASCII, as calls can carry no other")
    return ApiKeys([key for key, *_ in keys]) if keys else None
