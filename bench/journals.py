"""Journals to choose from, each doing the same: a message is on the disk, or with the system, before it is acknowledged.

Threads append messages of one size; ``always`` waits for the disk, and writers share a sync, ``interval`` syncs once a second,
``never`` leaves it to the system. SQLite with its write-ahead log, one row a message; LMDB, one value a message; and the
store's own. To the libraries sharing is given here: a thread commits all that came meanwhile as one transaction.
"""

import asyncio
import queue
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

import lmdb

from featurestore.durability import Fsync, Journal, Kind, Message
from featurestore.durability.unsynced import Waiters

MAP_BYTES = 32 << 30


class Candidate(ABC):
    """One journal; ``append`` returns when the message may be acknowledged."""

    @abstractmethod
    def append(self, message: bytes) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class Library(Candidate):
    """What both libraries share: ``commit`` of some messages as one transaction, and syncing."""

    def __init__(self, fsync: Fsync) -> None:
        self._ended = threading.Event()
        self._waiting: queue.SimpleQueue[tuple[bytes, Future[None]]] = queue.SimpleQueue()
        self._shared = fsync == "always"
        work: dict[Fsync, Callable[[], object]] = {
            "always": self._commit_shared,
            "interval": self._sync_paced,
            "never": self._ended.wait,
        }
        self._thread = threading.Thread(target=work[fsync])
        self._thread.start()

    def append(self, message: bytes) -> None:
        if not self._shared:
            self.commit([message])
            return
        done: Future[None] = Future()
        self._waiting.put((message, done))
        done.result()

    @abstractmethod
    def commit(self, messages: Sequence[bytes]) -> None: ...

    @abstractmethod
    def sync(self) -> None: ...

    def _commit_shared(self) -> None:
        while not self._ended.is_set():
            group = [self._waiting.get()]
            while not self._waiting.empty():
                group.append(self._waiting.get())
            self.commit([message for message, _ in group])
            for _, done in group:
                done.set_result(None)

    def _sync_paced(self) -> None:
        while not self._ended.wait(1.0):
            self.sync()

    def close(self) -> None:
        self._ended.set()
        self._waiting.put((b"", Future()))  # wakes the one that waits for a message
        self._thread.join()


class Sqlite(Library):
    """WAL mode; ``synchronous`` FULL for always, else NORMAL, with which a loss of power costs the last writes and no more.

    NORMAL syncs at checkpoints alone: for interval once a second, in a thread, else where SQLite thinks fit. One connection a
    thread.
    """

    def __init__(self, directory: Path, fsync: Fsync) -> None:
        self._path = directory / "journal.sqlite"
        self._synchronous = "full" if fsync == "always" else "normal"
        self._checkpoint_pages = 0 if fsync == "interval" else 1_000  # 1,000 is SQLite's default
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._connection().execute("create table journal (sequence integer primary key, message blob)")
        super().__init__(fsync)

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=60, isolation_level=None, check_same_thread=False)
            connection.execute("pragma journal_mode = wal")
            connection.execute(f"pragma synchronous = {self._synchronous}")
            connection.execute(f"pragma wal_autocheckpoint = {self._checkpoint_pages}")
            self._local.connection = connection
            self._connections.append(connection)
        return connection

    def commit(self, messages: Sequence[bytes]) -> None:
        connection = self._connection()
        connection.execute("begin immediate")
        connection.executemany("insert into journal (message) values (?)", [(message,) for message in messages])
        connection.execute("commit")

    def sync(self) -> None:
        self._connection().execute("pragma wal_checkpoint(passive)")

    def close(self) -> None:
        super().close()
        for connection in self._connections:
            connection.close()


class Lmdb(Library):
    """Keys appended in order; ``sync`` on for always, else off, with a sync once a second."""

    def __init__(self, directory: Path, fsync: Fsync) -> None:
        synced = fsync == "always"
        self._environment: Any = lmdb.open(str(directory), map_size=MAP_BYTES, sync=synced, metasync=synced, meminit=False)
        self._sequence = 0
        self._lock = threading.Lock()
        super().__init__(fsync)

    def commit(self, messages: Sequence[bytes]) -> None:
        with self._lock, self._environment.begin(write=True) as transaction:
            for message in messages:
                self._sequence += 1
                transaction.put(self._sequence.to_bytes(8, "big"), message, append=True)

    def sync(self) -> None:
        self._environment.sync(True)

    def close(self) -> None:
        super().close()
        self._environment.close()


class Own(Candidate):
    """``featurestore.durability.Journal``, waited for as the server does: on an event loop."""

    def __init__(self, directory: Path, fsync: Fsync) -> None:
        self._journal = Journal(directory, 1, 0, fsync=fsync, fsync_interval_s=1.0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def append(self, message: bytes) -> None:
        sequence = self._journal.append(Message(Kind.WRITE, message, 0), "default", "v", 1)
        self._journal.applied(sequence)
        if self._journal.waiters is not None:
            asyncio.run_coroutine_threadsafe(self._synced(self._journal.waiters, sequence), self._loop).result()

    async def _synced(self, waiters: Waiters, sequence: int) -> None:
        await waiters.synced(sequence)

    async def _close(self) -> None:
        self._journal.close()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


CANDIDATES: dict[str, Callable[[Path, Fsync], Candidate]] = {"own file": Own, "SQLite": Sqlite, "LMDB": Lmdb}


def append_for(candidate: Candidate, message: bytes, threads: int, seconds: float) -> tuple[list[int], float]:
    """So many threads append for so long. Returns each append's nanoseconds, and the seconds that it took."""
    durations: list[list[int]] = [[] for _ in range(threads)]
    began = perf_counter()
    ends_ns = perf_counter_ns() + int(seconds * 1e9)

    def work(mine: list[int]) -> None:
        before = perf_counter_ns()
        while before < ends_ns:
            candidate.append(message)
            after = perf_counter_ns()
            mine.append(after - before)
            before = after

    workers = [threading.Thread(target=work, args=(mine,)) for mine in durations]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [each for mine in durations for each in mine], perf_counter() - began
