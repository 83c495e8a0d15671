"""Environments of the peers: each a venv of its own with what its documentation says to install, and Debian's servers.

``python -m bench.environments`` makes what is missing, once. What cannot be made is said in a sentence, and the run goes on
without those subjects. Invariant: an environment counts as there when its ``made`` file holds what this module asks for.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

HOME = Path(__file__).parents[1] / ".venv" / "peers"
SERVERS = {"redis-server": "Redis", "memcached": "memcached"}
"""Debian packages, each with the command of its name."""


@dataclass(frozen=True)
class Environment:
    """A venv of this name; ``pythons`` are the interpreters that its packages run on, best first."""

    name: str
    packages: tuple[str, ...]
    pythons: tuple[str, ...] = (sys.executable,)

    @property
    def python(self) -> Path:
        return HOME / self.name / "bin" / "python"

    def missing(self) -> str:
        """Why it cannot be used; empty when it can."""
        if self._made.is_file() and self._made.read_text() == self._wanted:
            return ""
        return f"its environment is not there (make bench-peers makes it in {HOME / self.name})"

    def versions(self) -> dict[str, str]:
        """The packages that were asked for, as installed."""
        [site] = (HOME / self.name / "lib").glob("python*/site-packages")
        wanted = {package.partition("=")[0].partition(">")[0].partition("[")[0] for package in self.packages}
        return {each.name: each.version for each in distributions(path=[str(site)]) if each.name in wanted}

    def make(self) -> str:
        """Makes it where it is missing. Why it could not be made, or an empty string."""
        if not self.missing():
            return ""
        base = next((found for name in self.pythons if (found := _interpreter(name))), None)
        if base is None:
            return f"needs {' or '.join(self.pythons)}, which is not installed"
        commands = (
            [base, "-m", "venv", "--clear", str(HOME / self.name)],
            [str(self.python), "-m", "pip", "install", "--quiet", *self.packages],
        )
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
                return f"cannot be installed: {lines[-1] if lines else f'{command[0]} ended with {done.returncode}'}"
        self._made.write_text(self._wanted)
        return ""

    @property
    def _made(self) -> Path:
        return HOME / self.name / "made"

    @property
    def _wanted(self) -> str:
        return "\n".join(self.packages)


ENVIRONMENTS = {
    each.name: each
    for each in (
        Environment("feast", ("feast[redis]==0.67.0", "hiredis>=3", "msgpack>=1", "numpy>=1.26")),
        Environment("memcached", ("libmc==1.4.17", "msgpack>=1", "numpy>=1.26")),
        Environment("quorin", ("quorin==0.1.0", "hiredis>=3"), ("python3.12",)),
    )
}


def _interpreter(name: str) -> str:
    """The path of an interpreter that runs; empty where there is none (a shim of pyenv may stand for one that is not there)."""
    found = shutil.which(name) or ""
    candidates = [found, *map(str, sorted(Path.home().glob(f".pyenv/versions/{name.removeprefix('python')}*/bin/python3")))]
    for path in filter(None, candidates):
        if subprocess.run([path, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return path
    return ""


def _install_servers() -> list[str]:
    """Installs Debian's packages that are missing, where this user may. What is still missing, in sentences."""
    missing = [name for name in SERVERS if not shutil.which(name)]
    if missing and shutil.which("apt-get"):
        prefix = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
        options = ("--yes", "--quiet", "--no-install-recommends")
        for command in (["apt-get", "update", "--quiet"], ["apt-get", "install", *options, *missing]):
            subprocess.run(
                [*prefix, *command], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, capture_output=True, check=False
            )
    return [
        f"{SERVERS[name]} is left out: apt-get install {name} did not work here" for name in missing if not shutil.which(name)
    ]


def main() -> None:
    """Makes all that is missing, and says what could not be made."""
    for sentence in _install_servers():
        print(sentence, flush=True)
    for name, each in ENVIRONMENTS.items():
        if each.missing():
            print(f"installing {', '.join(each.packages)} into {each.python.parents[1]}", flush=True)
        if reason := each.make():
            print(f"{name} is left out: it {reason}", flush=True)


if __name__ == "__main__":
    main()
