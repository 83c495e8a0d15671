"""Builds of litmus.c and model.cpp, and a longer run of all of them:

python -m tests.memory_order.builds --seconds 10
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
HEADERS = HERE.parents[1] / "clients" / "python" / "featurestore_client" / "tables"
COMPILERS = {
    "native": ("cc", "-O2"),
    "thread": ("cc", "-O1", "-g", "-fsanitize=thread", "-Wno-tsan", "-DRELAXED"),
    "arm64": ("aarch64-linux-gnu-gcc", "-O2", "-static"),
}
"""QEMU gives ARM64's instructions, not its reordering: what a processor may reorder is model.cpp's subject."""
RUNNERS = {"native": (), "thread": (), "arm64": ("qemu-aarch64",)}
PACKAGES = {
    "cc": "gcc",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    "qemu-aarch64": "qemu-user",
    "g++": "g++",
}
# What each protocol of model.cpp needs, and so what it does not hold without.
NEEDS = {
    "row": ("release-fence", "acquire-fence", "release-store", "acquire-load"),
    "block": ("release-fence", "acquire-fence", "release-store", "acquire-load"),
    "entry": ("release-store", "acquire-load"),
    "table": ("release-fence", "acquire-fence", "release-store", "acquire-load"),
    "version": ("release-store", "acquire-load"),
}


def missing(*programs: str) -> str:
    """Why these cannot be used here; empty where they can."""
    packages = [PACKAGES[program] for program in programs if shutil.which(program) is None]
    return f"needs {', '.join(packages)}" if packages else ""


def litmus_missing(build: str) -> str:
    """Why that build cannot be made or run here."""
    return missing(COMPILERS[build][0], *RUNNERS[build])


def model_missing() -> str:
    """Why the model cannot be built here."""
    return missing("g++") or ("" if Path("/usr/include/relacy/relacy.hpp").exists() else "needs relacy-dev")


def build_litmus(build: str, directory: Path, headers: Path = HEADERS) -> Path:
    """The program, from these headers."""
    program = directory / f"litmus-{build}"
    flags = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{headers}")
    subprocess.run([*COMPILERS[build], *flags, "-o", program, HERE / "litmus.c"], check=True)
    return program


def run_litmus(build: str, program: Path, seconds: float) -> subprocess.CompletedProcess[str]:
    """Its outcome."""
    command = [*RUNNERS[build], str(program), str(seconds)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def build_model(directory: Path) -> Path:
    """The model of all protocols."""
    program = directory / "model"
    subprocess.run(["g++", "-std=c++11", "-Og", "-w", "-o", program, HERE / "model.cpp"], check=True)
    return program


def run_model(program: Path, protocol: str, without: str = "nothing") -> subprocess.CompletedProcess[str]:
    """Its outcome."""
    command = [str(program), protocol, without]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def main() -> int:
    """From the command line. Says what could not be run."""
    parser = argparse.ArgumentParser(description="the memory-ordering tests in each build")
    parser.add_argument("--seconds", type=float, default=10, help="of each protocol in each build")
    arguments = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        for build in COMPILERS:
            if reason := litmus_missing(build):
                print(f"litmus, {build}: not run, {reason}", flush=True)
                continue
            done = run_litmus(build, build_litmus(build, Path(name)), arguments.seconds)
            failures += done.returncode != 0
            print(f"litmus, {build}: {'failed' if done.returncode else 'held'}\n{done.stdout}", end="", flush=True)
        if reason := model_missing():
            print(f"model: not run, {reason}")
            return failures
        model = build_model(Path(name))
        for protocol in NEEDS:
            done = run_model(model, protocol)
            failures += done.returncode != 0
            print(f"model, {protocol}: {'failed' if done.returncode else 'held'}\n{done.stdout}", end="", flush=True)
    return failures


if __name__ == "__main__":
    sys.exit(main())
