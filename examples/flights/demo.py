"""The whole way of a feature, from real flights to a model that reads it: what ``make demo`` runs.

    python examples/flights/demo.py

Each step is a command that is printed before it is run, and that could as well have been typed. This file only runs them, one
after the other, and takes away what it made: the server is stopped at the end, whatever happens, and its directory removed.
Data, model and picture stay in examples/flights/build.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import definitions

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
EXAMPLE = HERE.relative_to(REPOSITORY)
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 15
LOG_LINES_SHOWN = 20


class DemoError(Exception):
    """Why the demo cannot go on, as a sentence."""


def step(title: str) -> None:
    print(f"\n\033[1m# {title}\033[0m" if sys.stdout.isatty() else f"\n# {title}", flush=True)


def show(command: str) -> None:
    print(f"$ {command}", flush=True)


def run(*command: str) -> None:
    show(shlex.join(command))
    program = [sys.executable, *command[1:]] if command[0] == "python" else command
    try:
        finished = subprocess.run(program, cwd=REPOSITORY, check=False)  # noqa: S603  the commands of this file
    except FileNotFoundError:
        raise DemoError(f"{command[0]} is not on the PATH: `make demo` installs it in .venv and runs this with it") from None
    if finished.returncode:
        raise DemoError(f"`{shlex.join(command)}` failed with status {finished.returncode}, see above")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """A server in the background on a free port, as long as the block runs. Yields its address."""
    port = free_port()
    command = ["featurestore", "serve", "--listen", f"127.0.0.1:{port}"]
    command += ["--directory", str(directory / "data"), "--segments", str(directory / "segments")]
    log = directory / "server.log"
    show(f"{shlex.join(command)} 2> {log} &")
    with log.open("wb") as output:
        try:
            # A session of its own: Ctrl-C at the terminal reaches the demo, which then stops the server in order.
            process = subprocess.Popen(  # noqa: S603  the command of this file
                command, cwd=REPOSITORY, stdout=output, stderr=output, start_new_session=True
            )
        except FileNotFoundError:
            raise DemoError("featurestore is not on the PATH: `make demo` installs it in .venv and runs this with it") from None
    try:
        _await_listening(process, port, log)
        yield f"grpc://127.0.0.1:{port}"
        step("stop the server: what it was doing is finished first")
        show(f"kill -TERM {process.pid}")
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise DemoError(f"the server did not stop within {STOP_TIMEOUT_S} s of SIGTERM. Its log:\n{_tail(log)}") from None
        if status:
            raise DemoError(f"the server stopped with status {status}, not 0. Its log:\n{_tail(log)}")
        print("the server has stopped with status 0")
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_listening(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoError(f"the server ended at its start with status {process.returncode}. Its log:\n{_tail(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise DemoError(f"the server did not listen on port {port} within {START_TIMEOUT_S} s. Its log:\n{_tail(log)}")


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    return "\n".join(f"  {line}" for line in lines) or "  (empty)"


def demo(directory: Path) -> None:
    build = EXAMPLE / "build"
    step("feature rows from the flights of 2013, each with the time at which it became known")
    run("python", str(EXAMPLE / "features.py"))

    step("a model of the delay, trained on the months before the held-out one")
    run("python", str(EXAMPLE / "model.py"))

    step("an empty feature store")
    with server(directory) as address:
        show(f"export FEATURESTORE_SERVER={address}")
        os.environ["FEATURESTORE_SERVER"] = address

        step("define entities, feature views and the service that the model reads")
        run("featurestore", "apply", str(EXAMPLE / "definitions.py"), "--yes")

        step("load every row that was known before the held-out month")
        for view in definitions.views:
            run("featurestore", "ingest", view.name, str(build / "history" / f"{view.name}.parquet"))
        run("featurestore", "list", "tables")

        step("look at one plane, as it stood at the end of November")
        names = ("plane_delays:last_delay", "plane_delays:mean_delay_last_10", "plane_facts:manufacturer", "plane_facts:seats")
        options = [text for name in names for text in ("--feature", name)]
        run("featurestore", "get", *options, "--key", "tailnum=N718TW", "--event-timestamps")

        step("replay the held-out month: write what becomes known, fetch every flight an hour before it leaves, predict")
        run("python", str(EXAMPLE / "replay.py"))


def main() -> int:
    # A temporary directory of the demo's own; SIGTERM takes the same way out as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="featurestore-demo-") as directory:
            demo(Path(directory))
    except DemoError as error:
        print(f"\nthe demo stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nthe demo was interrupted, and its server stopped", file=sys.stderr)
        return 130
    print(f"\nthe demo took {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
