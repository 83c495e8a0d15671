"""Writers that know what was acknowledged, and hold a restarted server against it.

Each writer has keys of its own and one call in flight, so that of each key two states are possible after the server was
killed: what was acknowledged last, and what the call in flight would have made of it. Both are known value for value. What is
found is what is acknowledged from then on. Values are unique, and a whole row follows from two of them, so that a mixture of
two writes is seen.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import featurestore_client
from featurestore_client.errors import FeatureStoreError

ENTITY = {"name": "e", "join_keys": [{"name": "k", "type": "int64"}]}
KEYS_OF_WRITER = 1_000_000
REPLACERS_KEYS = range(-200, 0)
ROWS_MAX = 60
REACH_MAX = 700
READ_ROWS = 5_000
FIRST_EVENT_US = 1_700_000_000_000_000
FEATURES = ("a", "text", "vector", "checksum", "b", "b_text")


def definitions(extra: int) -> dict[str, Any]:
    """The view, with some more features between the checked ones, so that they move with each change."""
    features = [
        {"name": "a", "type": "int64"},
        {"name": "text", "type": "string"},
        {"name": "vector", "type": "float64[8]"},
        {"name": "checksum", "type": "int64"},
        {"name": "b", "type": "int64"},
        {"name": "b_text", "type": "string"},
    ]
    more = [{"name": f"extra_{i}", "type": "string" if i % 2 else "int32"} for i in range(extra)]
    return {"entities": [ENTITY], "feature_views": [{"name": "v", "entity": "e", "features": [*more, *features]}]}


class Row(NamedTuple):
    """What of a row is not the same for all: the value of its last full write and that of its last partial one."""

    a: int | None
    b: int | None


State = Row | None
"""None: there is no row."""

Change = Callable[[State], State]


class Writer:
    """Writes and deletes at random, and remembers."""

    def __init__(self, number: int, rng: random.Random) -> None:
        self._first = number * KEYS_OF_WRITER
        self._rng = rng
        self._reach = 50
        self._value = 0
        self.known: dict[int, State] = {}
        self._pending: tuple[list[int], Change] | None = None
        self.acknowledged = 0
        self.between_calls = threading.Lock()
        """Held by whoever needs to know that no call is in flight."""

    def step(self, client: featurestore_client.Client) -> None:
        """One call. What it raises leaves it pending."""
        with self.between_calls:
            self._step(client)

    def _step(self, client: featurestore_client.Client) -> None:
        self._value += 1
        value = self._value
        self._reach = min(self._reach + 10, REACH_MAX)  # new keys, so that tables grow; then the journal outgrows them
        count = self._rng.choice((1, 3, self._rng.randrange(1, ROWS_MAX)))
        keys = sorted({self._first + self._rng.randrange(self._reach) for _ in range(count)})
        kind = self._rng.random()
        if kind < 0.6:
            self._call(keys, lambda before: Row(value, before.b if before else None), lambda: self._write(client, keys, value))
        elif kind < 0.85:
            self._call(keys, lambda before: Row(before.a if before else None, value), lambda: self._update(client, keys, value))
        else:
            self._call(keys, lambda _: None, lambda: client.delete("v", {"k": keys}, event_timestamps=FIRST_EVENT_US + value))

    def _call(self, keys: list[int], change: Change, call: Callable[[], object]) -> None:
        self._pending = (keys, change)
        call()
        for key in keys:
            self.known[key] = change(self.known.get(key))
        self._pending = None
        self.acknowledged += 1

    @staticmethod
    def _write(client: featurestore_client.Client, keys: list[int], value: int) -> None:
        columns = {
            "k": keys,
            "a": [value] * len(keys),
            "text": [text_of(key, value) for key in keys],
            "vector": [[value + i for i in range(8)] for _ in keys],
            "checksum": [value * 31 + key for key in keys],
        }
        client.write("v", columns, event_timestamps=FIRST_EVENT_US + value)

    @staticmethod
    def _update(client: featurestore_client.Client, keys: list[int], value: int) -> None:
        columns = {"k": keys, "b": [value] * len(keys), "b_text": [text_of(key, value) for key in keys]}
        client.write("v", columns, event_timestamps=FIRST_EVENT_US + value)

    def rows(self) -> dict[str, list[Any]]:
        """All that is known to be there, as columns of a load."""
        event = FIRST_EVENT_US + self._value  # older than whatever is written from now on
        found = [(key, state) for key, state in self.known.items() if state is not None]
        a = [state.a for _, state in found]
        b = [state.b for _, state in found]
        keys = [key for key, _ in found]
        return load_columns(keys, a, b, event)

    def check_some(self, client: featurestore_client.Client, count: int) -> None:
        """Holds so many keys against what was acknowledged; no call is in flight."""
        keys = [self._first + number for number in self._rng.sample(range(REACH_MAX), count)]
        for key, found in zip(keys, read(client, keys), strict=True):
            assert found == self.known.get(key), f"key {key}: got {found}, expected {self.known.get(key)}"

    def check(self, client: featurestore_client.Client) -> None:
        """Holds every key against what it may be now, and takes what it is for known."""
        pending_keys, change = self._pending or ([], lambda state: state)
        keys = sorted(self.known.keys() | set(pending_keys))
        taken = set()
        for start in range(0, len(keys), READ_ROWS):
            some = keys[start : start + READ_ROWS]
            for key, found in zip(some, read(client, some), strict=True):
                known = self.known.get(key)
                changed = change(known) if key in pending_keys else known
                assert found in (known, changed), f"key {key}: got {found}, expected {known} or {changed}"
                if changed != known:
                    taken.add(found == changed)
                self.known[key] = found
        assert len(taken) < 2, f"of the call in flight, on keys {pending_keys}, a part was done"
        self._pending = None


class Replacer:
    """Replaces all rows by what the writers know, which changes nothing for them, however many they write meanwhile.

    Keys of its own tell which version serves.
    """

    def __init__(self, writers: Sequence[Writer]) -> None:
        self._writers = writers
        self._version = 0
        self._pending = 0
        self.acknowledged = 0

    def step(self, client: featurestore_client.Client) -> None:
        """One load. What it raises leaves it pending."""
        self._pending = self._version + 1
        held = [writer for writer in self._writers if writer.between_calls.acquire()]
        loads = [writer.rows() for writer in self._writers]

        def rows() -> Iterator[dict[str, list[Any]]]:
            while held:  # the load has begun: what is written from now on is not in it
                held.pop().between_calls.release()
            yield from (load for load in loads if load["k"])
            yield load_columns(
                [*REPLACERS_KEYS], [self._pending] * len(REPLACERS_KEYS), [None] * len(REPLACERS_KEYS), FIRST_EVENT_US
            )

        try:
            client.replace("v", rows())
        finally:
            while held:
                held.pop().between_calls.release()
        self._version, self._pending = self._pending, 0
        self.acknowledged += 1

    def check(self, client: featurestore_client.Client) -> None:
        """Which version serves: the one that was acknowledged last, or the one in flight; wholly."""
        (found,) = {0 if state is None or state.a is None else state.a for state in read(client, [*REPLACERS_KEYS])}
        assert found in {self._version, self._pending or self._version}, f"version {found}, expected {self._version}"
        self._version, self._pending = found, 0


def load_columns(keys: list[int], a: list[int | None], b: list[int | None], event_us: int) -> dict[str, list[Any]]:
    """Rows of those two values each."""
    return {
        "k": keys,
        "a": a,
        "text": [None if value is None else text_of(key, value) for key, value in zip(keys, a, strict=True)],
        "vector": [None if value is None else [float(value + i) for i in range(8)] for value in a],
        "checksum": [None if value is None else value * 31 + key for key, value in zip(keys, a, strict=True)],
        "b": b,
        "b_text": [None if value is None else text_of(key, value) for key, value in zip(keys, b, strict=True)],
        "event_timestamp": [event_us] * len(keys),
    }


def text_of(key: int, value: int) -> str:
    """Of a length that changes from write to write."""
    return f"{key}:{value}," * (value % 7)


def read(client: featurestore_client.Client, keys: list[int]) -> list[State]:
    """The rows of those keys, each of them whole."""
    batch = client.get([f"v:{name}" for name in FEATURES], {"k": keys})
    columns = batch.to_dict()
    states: list[State] = []
    for place, key in enumerate(keys):
        a, text, vector, checksum, b, b_text = (columns[name][place] for name in FEATURES)
        if a is not None:
            assert text == text_of(key, a), f"key {key}: text {text!r} is not of {a}"
            assert [*vector] == [float(a + i) for i in range(8)], f"key {key}: vector {vector} is not of {a}"
            assert checksum == a * 31 + key, f"key {key}: checksum {checksum} is not of {a}"
        if b is not None:
            assert b_text == text_of(key, b), f"key {key}: b_text {b_text!r} is not of {b}"
        states.append(None if a is None and b is None else Row(a, b))
    return states


def connect(url: str) -> featurestore_client.Client:
    """A client that does not try again what failed."""
    return featurestore_client.connect(url, timeout_s=60, retry=featurestore_client.RetryPolicy(attempts_max=1))


class Round:
    """Writers at work on a server until it is killed, while its schema changes."""

    def __init__(self, url: str, writers: list[Writer], *, alters: bool = False, replacer: Replacer | None = None) -> None:
        self._url = url
        self._writers = writers
        self._enough = threading.Semaphore(0)
        self._failures: list[BaseException] = []
        self._killed = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(writer,)) for writer in writers]
        if alters:
            self._threads.append(threading.Thread(target=self._alter))
        if replacer is not None:
            self._threads.append(threading.Thread(target=lambda: self._until_killed(replacer.step)))
        for thread in self._threads:
            thread.start()

    def wait_for(self, calls: int) -> None:
        """Until so many calls were acknowledged."""
        for _ in range(calls):
            assert self._enough.acquire(timeout=60), self._failures or "no call is answered any more"

    def end(self, kill: Callable[[], None]) -> None:
        """Kills the server in the middle of it, and waits until all have noticed."""
        self._killed.set()
        kill()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _work(self, writer: Writer) -> None:
        def step(client: featurestore_client.Client) -> None:
            writer.step(client)
            self._enough.release()

        self._until_killed(step)

    def _alter(self) -> None:
        extra = 0

        def alter(client: featurestore_client.Client) -> None:
            nonlocal extra
            extra = (extra + 1) % 4
            client.apply(definitions(extra))

        self._until_killed(alter)

    def _until_killed(self, step: Callable[[featurestore_client.Client], None]) -> None:
        try:
            with connect(self._url) as client:
                while True:
                    step(client)
        except FeatureStoreError as error:
            if not self._killed.is_set():
                self._failures.append(error)
        except BaseException as error:
            self._failures.append(error)
