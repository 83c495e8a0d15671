"""An object that lives in a process of its own and is asked over a pipe: a method's name and arguments, one answer back.

Processes are spawned, never forked: a forked child would inherit the parent's memory, and gRPC and threads do not survive a
fork. Invariant: leaving the context ends the process, whatever happened in it.
"""

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from bench.cores import ANY, started_on

STOP_S = 30.0


class Remote:
    """The parent's side. ``factory(*arguments)`` makes the object in the new process; its ``close``, if any, is called last."""

    def __init__(self, name: str, factory: Callable[..., Any], *arguments: Any, cores: frozenset[int] = ANY) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, factory, arguments))
        with started_on(cores):
            self._process.start()
        theirs.close()

    def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method and waits for its answer. Raises RuntimeError with the other side's traceback when it raised."""
        self.begin(method, *arguments)
        return self.answer()

    def begin(self, method: str, *arguments: Any) -> None:
        """Calls a method without waiting, so that several processes work at once."""
        try:
            self._connection.send((method, arguments))
        except (BrokenPipeError, ConnectionResetError):
            self._gone()

    def answer(self) -> Any:
        """The answer to the last ``begin``."""
        try:
            done, answer = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._gone()
        if not done:
            raise RuntimeError(f"{self.name} failed:\n{answer}")
        return answer

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._connection.send(("close", ()))
        except OSError:
            pass  # it is gone already, and whatever ended it was raised where it was asked
        finally:
            self._process.join(STOP_S)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
            self._connection.close()

    def _gone(self) -> None:
        self._process.join(STOP_S)
        raise RuntimeError(f"the process of {self.name} ended with code {self._process.exitcode}")


def _serve(connection: Connection, factory: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    failure = ""
    served: Any = None
    try:
        served = factory(*arguments)
    except Exception:
        failure = traceback.format_exc()
    while True:
        try:
            method, given = connection.recv()
        except (EOFError, KeyboardInterrupt):
            method, given = "close", ()  # the parent is gone
        if method == "close":
            if hasattr(served, "close"):
                served.close()
            return
        if failure:
            connection.send((False, failure))
            continue
        try:
            answer = (True, getattr(served, method)(*given))
        except Exception:
            answer = (False, traceback.format_exc())
        connection.send(answer)
