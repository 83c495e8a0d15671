"""BeginReplace, CommitReplace, AbortReplace and Rollback: between messages and the service's loads."""

from collections.abc import Awaitable

from featurestore.errors import InvalidArgumentError
from featurestore.registry import Version
from featurestore.server.columns import checked_view
from featurestore.server.context import CallContext
from featurestore.server.messages import parse
from featurestore.server.wire import featurestore_pb2 as public
from featurestore.service import Checks, Loads, Replaced

SOURCE_BYTES_MAX = 1_000


class ReplaceMethods:
    """The handlers."""

    def __init__(self, loads: Loads) -> None:
        self._loads = loads

    def begin(self, data: bytes, context: CallContext) -> Awaitable[bytes]:
        """BeginReplace."""
        request = parse(public.BeginReplaceRequest, data)
        if len(request.source.encode()) > SOURCE_BYTES_MAX:
            raise InvalidArgumentError.of("source", request.source[:40] + "...", f"at most {SOURCE_BYTES_MAX} bytes")
        return self._begin(request, *checked_view(request.project, request.view))

    async def _begin(self, request: public.BeginReplaceRequest, project: str, view: str) -> bytes:
        load = await self._loads.begin(project, view, source=request.source, rows=request.rows)
        return public.BeginReplaceResponse(load=load, idle_s=self._loads.idle_s).SerializeToString()

    def commit(self, data: bytes, context: CallContext) -> Awaitable[bytes]:
        """CommitReplace."""
        request = parse(public.CommitReplaceRequest, data)
        for name, fraction in request.max_null_fractions.items():
            _check_fraction("max_null_fractions." + name if name else "max_null_fractions", fraction)
        if request.HasField("max_drop"):
            _check_fraction("max_drop", request.max_drop)
        checks = Checks(
            request.rows_min,
            request.rows_max if request.HasField("rows_max") else None,
            dict(request.max_null_fractions),
            request.max_drop if request.HasField("max_drop") else None,
        )
        return self._commit(request.load, checks)

    async def _commit(self, load: str, checks: Checks) -> bytes:
        return _encoded(public.CommitReplaceResponse, await self._loads.commit(load, checks))

    def abort(self, data: bytes, context: CallContext) -> Awaitable[bytes]:
        """AbortReplace."""
        return self._abort(parse(public.AbortReplaceRequest, data).load)

    async def _abort(self, load: str) -> bytes:
        await self._loads.abort(load)
        return public.AbortReplaceResponse().SerializeToString()

    def roll_back(self, data: bytes, context: CallContext) -> Awaitable[bytes]:
        """Rollback."""
        request = parse(public.RollbackRequest, data)
        return self._roll_back(request, *checked_view(request.project, request.view))

    async def _roll_back(self, request: public.RollbackRequest, project: str, view: str) -> bytes:
        return _encoded(public.RollbackResponse, await self._loads.roll_back(project, view, request.version or None))


def version_message(version: Version) -> public.Version:
    """A version on the wire."""
    return public.Version(number=version.number, time_us=version.time_us, rows=version.rows, source=version.source)


def _encoded(response: type[public.CommitReplaceResponse | public.RollbackResponse], replaced: Replaced) -> bytes:
    return response(
        version=version_message(replaced.version),
        former=version_message(replaced.former),
        former_is_kept=replaced.former_is_kept,
    ).SerializeToString()


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InvalidArgumentError.of(name, value, "a fraction from 0 to 1")
