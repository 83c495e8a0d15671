"""What a ``Remote`` does in a thread of its own, from when it is told to begin until it is told to end."""

import threading
import time
from abc import ABC, abstractmethod

from featurestore.priority import give_way

WAKES_APART_S, WAKE_S = 0.1, 0.0004


class Background(ABC):
    """``work`` is done in between."""

    def begin(self) -> None:
        """Works from now on."""
        self.is_over = False
        self._thread = threading.Thread(target=self.work)
        self._thread.start()

    @abstractmethod
    def work(self) -> None:
        """Goes on until ``is_over``."""

    def end(self) -> object:
        """No longer. What it has come to, if anything."""
        self.is_over = True
        self._thread.join()
        return None


class Burner(Background):
    """Keeps a core busy; or, where it ``gives_way``, what nobody else wants of it."""

    def __init__(self, gives_way: bool = False) -> None:
        if gives_way:
            give_way()

    def work(self) -> None:
        while not self.is_over:
            pass


class Waker(Background):
    """Wakes up ten times a second and has a little to do, as most that a machine runs."""

    def work(self) -> None:
        while not self.is_over:
            ends = time.perf_counter() + WAKE_S
            while time.perf_counter() < ends:
                pass
            time.sleep(WAKES_APART_S)
