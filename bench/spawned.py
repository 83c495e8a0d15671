"""A small server of the benchmarks' own, in a process of its own, which is there until the context is left."""

import multiprocessing
from collections.abc import Callable
from typing import Any, Self

from bench.cores import ANY, started_on

START_S = 30.0
STOP_S = 30.0


class SpawnedServer:
    """``serve`` is called there with ``arguments`` and a function, which it tells where it listens: that is ``place``."""

    def __init__(self, what: str, serve: Callable[..., None], *arguments: Any, cores: frozenset[int] = ANY) -> None:
        context = multiprocessing.get_context("spawn")
        connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, serve, arguments), daemon=True)
        with started_on(cores):
            self._process.start()
        theirs.close()
        if not connection.poll(START_S):
            self._process.kill()
            raise RuntimeError(f"{what} was not ready within {START_S:g} s")
        self.place = connection.recv()
        connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(connection: Any, serve: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    serve(*arguments, connection.send)
