"""Makes the next items of something in a thread, while the ones before are worked on."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class _End:
    """After the last item: of what it ended with, if that was not its end."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class ReadAhead(Generic[_Item]):
    """Iterates over the items, of which at most ``items_max`` are made ahead. A context manager: the thread ends with it."""

    def __init__(self, items: Iterable[_Item], items_max: int) -> None:
        self._items = items
        self._made: queue.Queue[_Item | _End] = queue.Queue(items_max)
        self._given_up = False
        self._thread = threading.Thread(target=self._make, name="featurestore-read-ahead", daemon=True)

    def __enter__(self) -> Iterator[_Item]:
        self._thread.start()
        return self._taken()

    def __exit__(self, *_: object) -> None:
        self._given_up = True
        while self._thread.is_alive():
            try:
                self._made.get(timeout=0.01)  # the thread may be waiting for room
            except queue.Empty:
                continue

    def _make(self) -> None:
        end = _End()
        try:
            for item in self._items:
                self._made.put(item)
                if self._given_up:
                    return
        except BaseException as error:
            end = _End(error)
        self._made.put(end)

    def _taken(self) -> Iterator[_Item]:
        while not isinstance(item := self._made.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
