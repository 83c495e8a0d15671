"""The online store: definitions and tables as one thing, and the rules for using both.

Owns who may write when. Each table has a gate that lets one long write, rebuild or reclaim step through at a time, so that
at most one thread waits on a table and the event loop never does: a write of few rows runs on the loop when the gate is open
and the table promises to be quick, everything else takes its turn in a worker thread. Reads never wait.

The methods that give back an awaitable are called on one event loop; what they begin is finished even when the caller goes
away, because half a batch or half a schema change must not depend on a client's patience.
"""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from featurestore_client.tables.catalog import Catalog
from featurestore_client.tables.columns import Column, Values

from featurestore.durability import Held, Journal, Message, Unsynced
from featurestore.errors import FailedPreconditionError, FeatureStoreError, ResourceExhaustedError, UnavailableError
from featurestore.lock import hold
from featurestore.priority import step_back
from featurestore.registry import Definitions, Plan, Registry, ViewVersions
from featurestore.service import table_changes
from featurestore.service.journaled_writes import JournaledWrites
from featurestore.service.online_reader import OnlineReader, ServiceLimits
from featurestore.service.recovery import Durability, Recovered, Recovery
from featurestore.service.replacing import Replaced, Replacing, Staged
from featurestore.service.snapshots import Snapshots, SnapshotTaken, SnapshotWriter
from featurestore.service.write_plan import WritePlan
from featurestore.store import DeleteCounts, FixedBatch, Limits, Store, Table, WriteCounts
from featurestore.store.store import GROUP_MAY_READ

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

RECLAIM_STEPS_PER_S = 4
BEATS_PER_S = 4
WRITES_WAITING_MAX = 1_000
"""Of one table, for its gate: further ones are refused at once, since they would wait for longer than their callers do."""
CAUGHT_UP_RECORDS = 200
"""So few writes may be left when the rows of a view are replaced: writers wait for them."""
CATCH_UPS_MAX = 20
SNAPSHOTS_BESIDE_APPLIES = 2
"""So many may be given up because definitions changed while they were written; for the next one, changes wait."""


class _Gate(asyncio.Lock):
    """A table's, while somebody holds it."""

    waiting = 0
    """Those that hold it, or wait for it."""


class OnlineStore(OnlineReader):
    """Reads, writes and changes features; see the module. ``open`` one on a directory, ``close`` it at the end."""

    def __init__(
        self,
        registry: Registry,
        store: Store,
        limits: ServiceLimits | None = None,
        *,
        shares_memory: bool = True,
        recovery: Recovery | None = None,
        lock: int | None = None,
    ) -> None:
        super().__init__(limits)
        self.store = store
        self._lock = lock
        self._journal: Journal | None = None
        self._writer: SnapshotWriter | None = None
        self._snapshots: Snapshots | None = None
        self._replacing: Replacing | None = None
        self._snapshot_gate = asyncio.Lock()
        self.recovered: Recovered | None = None
        """What the start found and repaired."""
        if recovery is not None:
            self._journal, self.recovered = recovery.begin_journal()
            self._writer = recovery.writer(self._journal)
            self._snapshots = recovery.snapshots(self._journal, store.segments, self._writer)
            self._replacing = recovery.replacing(self._journal, store, registry, self._writer)
        self.shares_memory = shares_memory
        """Whether clients of this machine are told where the tables lie."""
        self._registry = registry
        self.version = 1
        self.catalog = Catalog.create(
            str(store.segments),
            secrets.randbits(64),
            read_rows_max=self.limits.read_rows_max,
            read_bytes_max=self.limits.read_bytes_max,
            key_bytes_max=store.limits.key_bytes_max,
        )
        """Tells other processes, which have the tables mapped, the same."""
        self._gates: dict[int, _Gate] = {}
        self.writes = JournaledWrites(store, registry, self._journal, self._gates)
        self._apply_gate = asyncio.Lock()
        self._writers = ThreadPoolExecutor(4, "featurestore-write", initializer=step_back)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._unsettled = False
        self._memory_bytes_seen = 0

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        segments: Path | None = None,
        store_limits: Limits | None = None,
        limits: ServiceLimits | None = None,
        shards: int = 16,
        delete_window_us: int = 86_400_000_000,
        mode: int = GROUP_MAY_READ,
        shares_memory: bool = True,
        durability: Durability | None = None,
    ) -> "OnlineStore":
        """Opens the definitions and the tables of a directory, and brings the tables in step with the definitions.

        ``mode``: of the directory of segments, which says who may map the tables. ``durability``: how writes outlive the
        tables' memory; without it they do not. FailedPreconditionError when another process holds the directory.
        """
        lock = hold(directory)
        store = None
        try:
            recovery = Recovery(directory, durability) if durability is not None else None
            store = Store.open(
                directory,
                segments=segments,
                limits=store_limits or Limits(),
                shards=shards,
                delete_window_us=delete_window_us,
                mode=mode,
                trust=recovery.trust if recovery is not None else None,
            )
            registry = Registry.open(directory)
            with store.unlimited():
                if recovery is not None:
                    recovery.follow_definitions(store, registry)
                    recovery.replay(store, registry)
                else:
                    table_changes.prepare(store, registry.current)
                    table_changes.settle(store, registry.current)
            return cls(registry, store, limits, shares_memory=shares_memory, recovery=recovery, lock=lock)
        except BaseException:
            if store is not None:
                store.close()
            os.close(lock)
            raise

    @property
    def definitions(self) -> Definitions:
        """The definitions that are in force."""
        return self._registry.current

    def versions(self, project: str, view: str) -> ViewVersions:
        """The versions of a view's rows."""
        return self._registry.versions(project, view)

    async def close(self) -> None:
        """Finishes what is under way and closes the store. InternalError where the disk has not taken all that was written."""
        if self._writer is not None:
            self._writer.close()
        while self._under_way:
            await asyncio.wait(self._under_way)
        self._writers.shutdown()
        await super().close()
        try:
            if self._journal is not None:
                self._journal.close()
                self._journal.note_end()
        finally:
            self.catalog.close()
            self.store.close()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    # ------------------------------------------------------------------------------------------------------------ reading

    def table(self, project: str, view: str) -> Table:
        """The table of a view. NotFoundError with the nearest names."""
        return self.store.table(project, view)

    # ------------------------------------------------------------------------------------------------------------ writing

    def write_plan(self, project: str, view: str) -> WritePlan:
        """What a batch of that view must look like; kept while ``version`` stands. NotFoundError with the nearest names."""
        return WritePlan(project, view, self._registry.current, self.store)

    def write(
        self,
        plan: WritePlan,
        keys: Sequence[Values],
        event_timestamps_us: npt.NDArray[np.int64],
        columns: Mapping[str, Column],
        *,
        rows: int,
        message: Message | None = None,
        begin: Callable[[], None] | None = None,
    ) -> WriteCounts | Awaitable[WriteCounts]:
        """Writes a batch: at once when it is quick, else what is given back is to be awaited.

        ``message`` is what the batch came in, for the journal. ``begin`` is called when the batch's turn has come, just before
        it is written; what it raises ends the write.
        """
        at_us = now_us() if message is None else message.now_us
        apply = partial(plan.table.write, keys, event_timestamps_us, columns, now_us=at_us)
        return self._write_in_turn(plan, rows, message, apply, begin)

    def write_fixed(
        self, plan: WritePlan, batch: FixedBatch, *, message: Message, begin: Callable[[], None]
    ) -> WriteCounts | Awaitable[WriteCounts]:
        """As ``write``, a batch that lies in its message."""
        counts = self.writes.write_quickly(plan, batch, message, begin)
        if isinstance(counts, Unsynced):
            return counts.told_as(WriteCounts(*counts.outcome))
        if counts is not None:
            return WriteCounts(*counts)
        apply = partial(plan.table.write_fixed, batch, now_us=message.now_us)
        return self._write_in_turn(plan, batch.rows, message, apply, begin)

    def delete(
        self,
        plan: WritePlan,
        keys: Sequence[Values],
        event_timestamps_us: npt.NDArray[np.int64],
        *,
        rows: int,
        message: Message | None = None,
        begin: Callable[[], None] | None = None,
    ) -> DeleteCounts | Awaitable[DeleteCounts]:
        """Deletes rows by key, as ``write`` writes them."""
        at_us = now_us() if message is None else message.now_us
        apply = partial(plan.table.delete, keys, event_timestamps_us, now_us=at_us)
        return self._write_in_turn(plan, rows, message, apply, begin)

    def _write_in_turn(
        self,
        plan: WritePlan,
        rows: int,
        message: Message | None,
        apply: Callable[..., _Result],
        begin: Callable[[], None] | None,
    ) -> _Result | Awaitable[_Result]:
        """``apply``: takes ``before``, as ``Table.write`` does."""
        if not self.writes.may_begin(plan.table, message) or not plan.table.writes_inline(rows):
            gate = self._gates.get(id(plan.table))
            if gate is not None and gate.waiting >= WRITES_WAITING_MAX:
                raise ResourceExhaustedError(
                    f"writes_waiting_max: {gate.waiting} writes to view {plan.view!r} wait for their turn; this one was not "
                    "begun. Try again in a second, and write more rows a request"
                )
            return self.finish(self._write_later(plan, rows, message, partial(self.writes.apply, plan, message, apply, begin)))
        return self.writes.acknowledged(*self.writes.apply(plan, message, apply, begin))

    async def _write_later(
        self, plan: WritePlan, rows: int, message: Message | None, write: Callable[[], tuple[_Result, int]]
    ) -> _Result:
        def write_then_make_room() -> tuple[_Result, int]:
            outcome = write()
            plan.table.ready_for(rows)  # so that the next such write need not leave the loop
            return outcome

        async with self._turn(plan.table):
            # What had to wait is quick by now, most likely: in a thread it would make the next one wait, and that one the next.
            quick = self.writes.is_free(message) and plan.table.writes_inline(rows)
            result, sequence = write() if quick else await self._in_thread(write_then_make_room)
        outcome = self.writes.acknowledged(result, sequence)
        return await outcome if isinstance(outcome, Unsynced) else outcome

    @asynccontextmanager
    async def _turn(self, table: Table) -> AsyncIterator[None]:
        """Waits for a table's gate, and holds it."""
        # By the table's identity: a view that is dropped and made again is another table, and the old one has no more writers.
        gate = self._gates.setdefault(id(table), _Gate())
        gate.waiting += 1
        try:
            async with gate:
                yield
        finally:
            gate.waiting -= 1
            if not gate.waiting:
                del self._gates[id(table)]

    async def after_writes(self, table: Table) -> None:
        """Waits until what is being written to a table, and what waits for its turn there, is done."""
        async with self._turn(table):
            pass

    async def _in_turn(self, table: Table, call: Callable[[], _Result]) -> _Result:
        async with self._turn(table):
            return await self._in_thread(call)

    async def finish(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Awaits work that goes on to its end even if the caller is cancelled."""
        return await asyncio.shield(self.begin(work))

    def begin(self, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """Begins work that ``close`` waits for."""
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen: whoever asked may have gone away

    # -------------------------------------------------------------------------------------------------------- definitions

    async def apply(
        self,
        desired: Definitions,
        *,
        prune: bool = False,
        dry_run: bool = False,
        base_version: int | None = None,
        begin: Callable[[], None] | None = None,
    ) -> Plan:
        """Plans a change of the definitions and, unless ``dry_run``, makes it: all of it or nothing.

        Tables are rebuilt beside the event loop; reads go on meanwhile, writes to a changed table wait. With the
        ``base_version`` of an earlier plan FailedPreconditionError where that one would not be made any more. ``begin`` is as
        in ``write``.
        """
        return await self.finish(self._apply(desired, prune, dry_run, base_version, begin))

    async def _apply(
        self, desired: Definitions, prune: bool, dry_run: bool, base_version: int | None, begin: Callable[[], None] | None
    ) -> Plan:
        async with AsyncExitStack() as gates:
            await gates.enter_async_context(self._apply_gate)
            if begin is not None:
                begin()
            plan = await self._in_thread(lambda: self._registry.plan(desired, prune=prune, base_version=base_version))
            if dry_run or not plan.changes:
                return plan
            await self._hold_changed_tables(gates, self._registry.current, plan.result)
            await self._in_thread(lambda: self._change(plan))
            await self._settle()
            return plan

    async def _hold_changed_tables(self, gates: AsyncExitStack, *definitions: Definitions) -> None:
        changed = sorted({name for each in definitions for name in table_changes.changed_tables(self.store, each)})
        if self._replacing is not None:
            self._replacing.refuse_changes(changed)
        for project, view in changed:
            await gates.enter_async_context(self._turn(self.store.table(project, view)))

    def _change(self, plan: Plan) -> None:
        table_changes.drop_what_comes_again(self.store, self._registry.current, plan.result)
        undo = table_changes.prepare(self.store, plan.result)
        try:
            self._registry.commit(plan)
        except BaseException:
            table_changes.undo_all(undo)
            raise
        self._move()

    def _move(self) -> None:
        self.version += 1
        self.catalog.move()

    async def _settle(self) -> None:
        """Drops what the definitions no longer have. They are committed, so a failure is logged and tried again later."""
        try:
            await self._in_thread(lambda: table_changes.settle(self.store, self._registry.current))
            if self._replacing is not None:
                await self._in_thread(self._replacing.tidy)
            self._unsettled = False
            self._move()  # a plan made since the commit would compile its projection again at each read
        except Exception as error:
            if not self._unsettled:  # told once: a full store may stay so for days
                _log.error(
                    "dropped features or tables still hold memory; tried again in the background",
                    exc_info=not isinstance(error, FeatureStoreError),
                    extra={"fields": {"reason": str(error)}},
                )
            self._unsettled = True

    async def _in_thread(self, call: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._writers, call)

    # ------------------------------------------------------------------------------------------------ snapshots and backups

    async def take_snapshot(self) -> SnapshotTaken:
        """Writes all rows down, and takes away the part of the journal that they stand for. Readers and writers go on.

        FailedPreconditionError where there is no journal, InternalError where it cannot be written.
        """
        _, snapshots, _ = self._on_disk()
        with snapshots.waited_for():
            return await self.finish(self._take_snapshot())

    async def _take_snapshot(self) -> SnapshotTaken:
        journal, _, replacing = self._on_disk()
        async with self._snapshot_gate:
            for _ in range(SNAPSHOTS_BESIDE_APPLIES):
                await asyncio.to_thread(journal.begin_file)
                async with self._apply_gate:
                    take = self._snapshot_of_now()
                if (taken := await asyncio.to_thread(take)) is not None:
                    break
            else:
                async with self._apply_gate:
                    taken = await asyncio.to_thread(self._snapshot_of_now())
            assert taken is not None, "no definition changed while it was written"
            await self._in_thread(replacing.tidy)
            return taken

    def _snapshot_of_now(self) -> Callable[[], SnapshotTaken | None]:
        """What takes a snapshot of everything up to the last record that is applied, which was taken by the definitions of now:
        they do not change while this is called. None where they do while it is taken."""
        journal, snapshots, replacing = self._on_disk()
        base, definitions, current = journal.applied_to, self._registry.version, self._registry.current
        return lambda: snapshots.take(
            base, definitions, lambda: self._registry.current is current, lambda: replacing.needed_after(definitions)
        )

    @asynccontextmanager
    async def held_files(self) -> AsyncIterator[Held]:
        """The files from which the store comes again as it is now, while they are copied. Raises as ``take_snapshot`` does."""
        holding = self.begin(self._hold_files())
        try:
            yield await asyncio.shield(holding)
        finally:
            await asyncio.wait((holding,))
            if holding.exception() is None:
                await asyncio.to_thread(holding.result().release)

    async def _hold_files(self) -> Held:
        _, snapshots, replacing = self._on_disk()
        if snapshots.are_all:
            await self.take_snapshot()
        async with self._apply_gate:  # so that records, definitions and versions are of one instant
            return await asyncio.to_thread(
                snapshots.hold, self._registry.content, replacing.needed_files, replacing.needed_after
            )

    def _on_disk(self) -> tuple[Journal, Snapshots, Replacing]:
        if self._journal is None or self._snapshots is None or self._replacing is None:
            raise FailedPreconditionError(
                "the store keeps no journal, so that there is nothing on disk to take a snapshot or a backup of: open it by "
                "`featurestore serve` or featurestore.open, which keep one"
            )
        return self._journal, self._snapshots, self._replacing

    def _begin_snapshot_if_due(self) -> None:
        if self._snapshots is None:
            return
        if self._snapshot_gate.locked():
            self._snapshots.hurry_if_overdue(self._memory_bytes_seen)
        elif self._snapshots.is_due(self._memory_bytes_seen):
            self.begin(self._take_due_snapshot())

    async def _take_due_snapshot(self) -> None:
        try:
            await self._take_snapshot()
        except UnavailableError:
            pass  # the store is being closed
        except FeatureStoreError as error:
            _log.error("snapshot failed", extra={"fields": {"reason": error.message}})

    # ---------------------------------------------------------------------------------------------------- replacing all rows

    async def stage(self, project: str, view: str, *, source: str, rows: int = 0) -> Staged:
        """An empty table beside a view's own, which ``replace`` puts in its place; until then ``discard`` gives it up.

        ``rows``: about how many it will have; 0: as many as the view has. Raises as ``Replacing.stage`` does.
        """
        replacing = self._replaces()

        def call() -> Staged:
            return replacing.stage(project, view, source=source, started_us=now_us(), rows=rows)

        return await self.finish(self._changing(call))

    async def stage_version(self, project: str, view: str, number: int | None) -> Staged:
        """The same, filled with the rows of a version that was kept; None: of the latest. NotFoundError where there is none."""
        return await self.finish(self._stage_version(self._replaces(), project, view, number))

    async def _stage_version(self, replacing: Replacing, project: str, view: str, number: int | None) -> Staged:
        version = replacing.kept(project, view, number)
        source = f"version {version.number}" + (f" ({version.source})" if version.source else "")
        staged = await self.stage(project, view, source=source, rows=version.rows)
        try:
            await self._in_thread(lambda: replacing.fill(staged, version))
        except BaseException:
            await self.discard(staged)
            raise
        return staged

    async def replace(self, staged: Staged) -> Replaced:
        """Makes what is staged the rows of its view, at one instant for all who read; with what was written to it meanwhile.

        What is raised has changed nothing.
        """
        return await self.finish(self._replace(self._replaces(), staged))

    async def _replace(self, replacing: Replacing, staged: Staged) -> Replaced:
        await self._in_thread(lambda: replacing.catch_up(staged))
        await self._in_thread(lambda: replacing.write_down(staged))
        for _ in range(CATCH_UPS_MAX):  # the fewer are left, the shorter writers wait
            if await self._in_thread(lambda: replacing.catch_up(staged)) < CAUGHT_UP_RECORDS:
                break
        table = self.table(*staged.name)
        async with self._apply_gate, self._turn(table):
            current, before = await self._in_thread(lambda: replacing.swap(staged, now_us()))
            self._move()
        kept = False
        try:
            await self._in_thread(lambda: replacing.write_down_former(staged, before))
            kept = await self._changing(lambda: replacing.keep(staged, before))
        except (FeatureStoreError, OSError) as error:
            _log.error("version not kept", extra={"fields": {"view": staged.plan.view, "reason": str(error)}})
        try:
            await self.discard(staged)
        except (FeatureStoreError, OSError) as error:  # the rows are replaced all the same; what is left goes another time
            _log.error("former rows left", extra={"fields": {"view": staged.plan.view, "reason": str(error)}})
        fields = {"project": staged.plan.project, "view": staged.plan.view, "version": current.number, "rows": current.rows}
        _log.info("replaced", extra={"fields": {**fields, "source": current.source}})
        return Replaced(current, before, kept)

    async def discard(self, staged: Staged) -> None:
        """Gives up what is staged."""
        replacing = self._replaces()
        await self.finish(self._in_turn(staged.plan.table, lambda: replacing.discard(staged)))

    def _replaces(self) -> Replacing:
        if self._replacing is None:
            raise FailedPreconditionError("this store keeps no journal, so that its rows cannot be replaced as a whole")
        return self._replacing

    async def _changing(self, call: Callable[[], _Result]) -> _Result:
        async with self._apply_gate:
            return await self._in_thread(call)

    # -------------------------------------------------------------------------------------------------------- maintenance

    async def reclaim(self, rows_max: int) -> int:
        """One bounded step of removing old rows, ``rows_max`` a table at most. Returns how many were freed."""
        freed = 0
        for table in self.store.tables():
            step = self._in_turn(table, lambda table=table: table.reclaim(now_us=now_us(), rows_max=rows_max))  # type: ignore[misc]
            freed += await self.finish(step)
        return freed

    async def keep_up(self, rows_max: int) -> int:
        """One step of the background work: old rows, and drops that could not be done yet. Returns how many rows went."""
        if self._unsettled:
            async with AsyncExitStack() as gates:
                await gates.enter_async_context(self._apply_gate)
                await self._hold_changed_tables(gates, self._registry.current)
                await self._settle()
        await self._tidy_memory()
        return await self.reclaim(rows_max)

    async def _tidy_memory(self) -> None:
        # Not while a load is under way: it needs the processor, and its pages will be more.
        memory_bytes = self.store.memory.used
        if memory_bytes == self._memory_bytes_seen:
            for table in self.store.tables():
                if await self._in_turn(table, table.tidy_memory):
                    return
        self._memory_bytes_seen = memory_bytes

    async def maintain(self, reclaim_rows_per_s: int) -> None:
        """Keeps up until cancelled, looking at no more than so many rows of a table a second, and shows that it is alive."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beat())
            tasks.create_task(self._maintain(reclaim_rows_per_s))

    async def _beat(self) -> None:
        while True:
            self.catalog.beat()
            await asyncio.sleep(1 / BEATS_PER_S)

    async def _maintain(self, reclaim_rows_per_s: int) -> None:
        rows_max = max(1, reclaim_rows_per_s // RECLAIM_STEPS_PER_S)
        while True:
            try:
                await self.keep_up(rows_max)
                self._begin_snapshot_if_due()
            except Exception:
                _log.exception("upkeep failed; tried again")
            await asyncio.sleep(1 / RECLAIM_STEPS_PER_S)


def now_us() -> int:
    """The server's clock, in microseconds since 1970 UTC."""
    return time.time_ns() // 1_000
