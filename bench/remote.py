"""An object that lives in a process of its own and is asked over a pipe: a method's name and arguments, one answer back.

The process is started afresh, never forked (a forked child would inherit the parent's memory, and gRPC and threads do not
survive a fork), by the Python of the parent or of another environment: what it imports there is what it is asked to make, so
two environments need nothing in common but the bench's own modules and NumPy. Invariant: leaving the context ends the process,
whatever happened in it; a process whose parent is gone ends too.
"""

import multiprocessing
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.cores import ANY, started_on

STOP_S = 30.0
ROOT = Path(__file__).parents[1]
PROTOCOL = 4
"""Of pickle: the one that every Python and NumPy that takes part reads and writes."""


class Remote:
    """The parent's side. ``factory(*arguments)`` makes the object in the new process; its ``close``, if any, is called last."""

    def __init__(
        self,
        name: str,
        factory: Callable[..., Any],
        *arguments: Any,
        cores: frozenset[int] = ANY,
        python: Path | str = sys.executable,
    ) -> None:
        self.name = name
        self._connection, theirs = multiprocessing.Pipe()
        command = [str(python), "-m", "bench.remote", str(theirs.fileno())]
        with started_on(cores):
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        theirs.close()
        self._send(factory, arguments)

    def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method and waits for its answer. Raises RuntimeError with the other side's traceback when it raised."""
        self.begin(method, *arguments)
        return self.answer()

    def begin(self, method: str, *arguments: Any) -> None:
        """Calls a method without waiting, so that several processes work at once."""
        self._send(method, arguments)

    def answer(self) -> Any:
        """The answer to the last ``begin``."""
        try:
            done, answer = pickle.loads(self._connection.recv_bytes())  # noqa: S301  from a process of our own
        except (EOFError, ConnectionResetError):
            self._gone()
        if not done:
            raise RuntimeError(f"{self.name} failed:\n{answer}")
        return answer

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._connection.send_bytes(pickle.dumps(("close", ()), PROTOCOL))
        except OSError:
            pass  # it is gone already, and whatever ended it was raised where it was asked
        finally:
            self._connection.close()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _send(self, *message: Any) -> None:
        try:
            self._connection.send_bytes(pickle.dumps(message, PROTOCOL))
        except (BrokenPipeError, ConnectionResetError):
            self._gone()

    def _gone(self) -> None:
        self._process.wait(STOP_S)
        raise RuntimeError(f"the process of {self.name} ended with code {self._process.returncode}")


def _serve(connection: Connection) -> None:
    failure = ""
    served: Any = None
    try:
        factory, arguments = pickle.loads(connection.recv_bytes())  # noqa: S301  from the process that started this one
        served = factory(*arguments)
    except Exception:
        failure = traceback.format_exc()
    while True:
        try:
            method, given = pickle.loads(connection.recv_bytes())  # noqa: S301  as above
        except (EOFError, ConnectionResetError, KeyboardInterrupt):
            method, given = "close", ()  # the parent is gone
        if method == "close":
            if hasattr(served, "close"):
                served.close()
            return
        if failure:
            answer: tuple[bool, Any] = (False, failure)
        else:
            try:
                answer = (True, getattr(served, method)(*given))
            except Exception:
                answer = (False, traceback.format_exc())
        connection.send_bytes(pickle.dumps(answer, PROTOCOL))


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
