"""Loads that replace: one client's turn at filling a table that is to take the place of a view's.

A load has a name that only who began it knows. It lives while a stream fills it; where there has been none for a while, its
client is gone, and what it has filled is given up. Invariant: a load that ends in any other way than by ``commit`` leaves the
view as it was. Used on one event loop.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from featurestore.errors import FailedPreconditionError, NotFoundError
from featurestore.replace_checks import check_names, drop_failures, null_failures, row_failures
from featurestore.service.online_store import OnlineStore
from featurestore.service.replacing import Replaced, Staged

_log = logging.getLogger(__name__)

OUTCOMES_KEPT = 64
"""Of loads that are over, for a client that asks once more because it did not get the answer."""


@dataclass(frozen=True)
class Checks:
    """What a load must pass before it replaces anything. Fractions are from 0 to 1."""

    rows_min: int = 0
    rows_max: int | None = None
    max_null_fractions: Mapping[str, float] = field(default_factory=dict)
    """By feature; under an empty name for those that are not named."""
    max_drop: float | None = None
    """By which fraction the number of rows may fall. A load without any rows is refused unless this is 1."""


class _Load:
    def __init__(self, staged: Staged) -> None:
        self.staged = staged
        self.streams: set[object] = set()
        self.heard_s = time.monotonic()
        self.ending: asyncio.Future[Replaced] | None = None


class Loads:
    """The loads of one store."""

    def __init__(self, service: OnlineStore) -> None:
        self._service = service
        self.idle_s = service.limits.replace_idle_s
        self._loads: dict[str, _Load] = {}
        self._outcomes: dict[str, Replaced] = {}

    async def begin(self, project: str, view: str, *, source: str, rows: int) -> str:
        """Begins a load. Returns its name. ``rows`` and what is raised: as ``OnlineStore.stage``."""
        return await self._service.finish(self._begin(project, view, source, rows))

    async def _begin(self, project: str, view: str, source: str, rows: int) -> str:
        staged = await self._service.stage(project, view, source=source, rows=rows)
        name = secrets.token_hex(16)
        self._loads[name] = _Load(staged)
        asyncio.get_running_loop().call_later(self.idle_s, self._look_after, name)
        return name

    def staged(self, name: str) -> Staged:
        """Where the rows of a load go. From any thread. NotFoundError where there is no such load, or none any more."""
        return self._find(name).staged

    def join(self, name: str, stream: object) -> None:
        """Rows of the load that came in a stream are written next; for each batch, and then ``leave`` once.

        Raises as ``staged`` does, and FailedPreconditionError where the load is being committed: it takes no more.
        """
        load = self._find(name)
        if load.ending is not None:
            raise FailedPreconditionError("the load is being committed: it takes no more rows")
        load.streams.add(stream)

    def leave(self, name: str, stream: object) -> None:
        """A stream has ended."""
        load = self._loads.get(name)
        if load is not None:
            load.streams.discard(stream)
            load.heard_s = time.monotonic()

    async def commit(self, name: str, checks: Checks) -> Replaced:
        """Replaces the view's rows by those of the load. Asked once more, it answers the same.

        FailedPreconditionError where a check fails; the load is still there then, and ends by ``abort`` or another try.
        """
        done = self._outcomes.get(name)
        if done is not None:
            return done
        load = self._find(name)
        plan = load.staged.plan
        check_names(checks.max_null_fractions, plan.view, [*plan.features])
        if load.ending is None:
            load.ending = self._service.begin(self._commit(name, load, checks))
        return await asyncio.shield(load.ending)

    async def _commit(self, name: str, load: _Load, checks: Checks) -> Replaced:
        try:
            await self._service.after_writes(load.staged.plan.table)  # that began before: none does from now on
            await self._service.beside_the_loop(lambda: self._check(load.staged, checks))
            outcome = await self._service.replace(load.staged)
        except BaseException:
            load.ending, load.heard_s = None, time.monotonic()
            raise
        del self._loads[name]
        self._outcomes[name] = outcome
        while len(self._outcomes) > OUTCOMES_KEPT:
            del self._outcomes[next(iter(self._outcomes))]
        return outcome

    async def abort(self, name: str) -> None:
        """Gives a load up. Nothing happens where there is none of that name (any more)."""
        load = self._loads.get(name)
        if load is None:
            return
        if load.ending is not None:
            raise FailedPreconditionError("the load is being committed: it cannot be given up any more")
        del self._loads[name]
        await self._service.discard(load.staged)

    async def roll_back(self, project: str, view: str, number: int | None) -> Replaced:
        """Brings an earlier version back, the latest one for None: a new one, with its rows. NotFoundError without it."""
        return await self._service.finish(self._roll_back(project, view, number))

    async def _roll_back(self, project: str, view: str, number: int | None) -> Replaced:
        staged = await self._service.stage_version(project, view, number)
        try:
            return await self._service.replace(staged)
        except BaseException:
            await self._service.discard(staged)
            raise

    def _find(self, name: str) -> _Load:
        load = self._loads.get(name)
        if load is None:
            raise NotFoundError(
                f"there is no such load (any more): it was given up, had no stream for {self.idle_s:g} s, or the server was "
                "started again; begin it again. The view's versions say whether it was committed before that"
            )
        return load

    def _look_after(self, name: str) -> None:
        load = self._loads.get(name)
        if load is None:
            return
        left_s = load.heard_s + self.idle_s - time.monotonic()
        if left_s > 0 or load.streams or load.ending is not None:
            asyncio.get_running_loop().call_later(left_s if left_s > 0 else self.idle_s, self._look_after, name)
            return
        staged = load.staged
        fields = {"view": staged.plan.view, "source": staged.source, "idle_s": self.idle_s}
        _log.warning("load given up", extra={"fields": fields})
        self._service.begin(self.abort(name))

    def _check(self, staged: Staged, checks: Checks) -> None:
        """Raises FailedPreconditionError with all checks that the load does not pass."""
        table = staged.plan.table
        rows, former = table.stats().rows, self._service.table(*staged.name).stats().rows
        nulls = table.null_counts() if checks.max_null_fractions else {}
        failed = [
            *row_failures(rows, checks.rows_min, checks.rows_max),
            *drop_failures(rows, former, checks.max_drop),
            *null_failures(nulls, rows, checks.max_null_fractions),
        ]
        if failed:
            raise FailedPreconditionError(f"view {staged.plan.view!r} was not replaced: " + "; ".join(failed))
