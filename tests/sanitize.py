"""The compiled parts under sanitizers, and the memory-ordering tests in each build. What cannot be run is said.

    python -m tests.sanitize [--fuzz-sequences 1000000]

Works on a copy of the tree in build/sanitized, whose compiled parts are built for a sanitizer each: ``address,undefined`` runs
the tests of the store, the journal and the HTTP/2 session, and the fuzz of that; ``thread`` the store's test with threads in
one process. ThreadSanitizer knows no fences, and so takes a copy under a row's sequence lock for a race: those functions are
named in sanitize_thread.supp, and what they rely on is the subject of tests/memory_order. Python itself leaks by design.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "build" / "sanitized"
SUPPRESSIONS = ROOT / "tests" / "sanitize_thread.supp"
LIBRARIES = {"address,undefined": "libasan.so", "thread": "libtsan.so"}
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=64:abort_on_error=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": f"halt_on_error=1:report_signal_unsafe=0:suppressions={SUPPRESSIONS}",
}
PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", "-o", "timeout=1200")


def build(sanitizers: str) -> Path:
    """A copy of the tree with its compiled parts built for these."""
    place = PLACE / sanitizers.replace(",", "-")
    shutil.rmtree(place, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    environment = {**os.environ, "FEATURESTORE_SANITIZE": sanitizers, "FEATURESTORE_HTTP2": "required"}
    for directory in (place / "clients" / "python", place):
        command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
        subprocess.run(command, cwd=directory, env=environment, check=True)
    return place


def run(place: Path, sanitizers: str, *arguments: str) -> bool:
    """Runs Python in that copy; whether all went well."""
    library = subprocess.run(
        ["cc", f"-print-file-name={LIBRARIES[sanitizers]}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    own = {
        "PYTHONPATH": os.pathsep.join([str(place), str(place / "clients" / "python")]),
        "PYTHONMALLOC": "malloc",
        "LD_PRELOAD": library,
        **OPTIONS,
    }
    print(f"{sanitizers}: python {' '.join(arguments)}", flush=True)
    return not subprocess.run([sys.executable, *arguments], cwd=place, env={**os.environ, **own}, check=False).returncode


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(description="the compiled parts under sanitizers")
    parser.add_argument("--fuzz-sequences", default="1000000", help="changed conversations with the HTTP/2 session")
    arguments = parser.parse_args()
    went_well = [not subprocess.run([sys.executable, "-m", "tests.memory_order.builds"], cwd=ROOT, check=False).returncode]
    both = "address,undefined"
    place = build(both)
    went_well.append(run(place, both, *PYTEST, "tests/store", "tests/durability"))
    went_well.append(run(place, both, *PYTEST, "clients/python/tests/test_http2_session.py"))
    went_well.append(run(place, both, "-m", "tests.hostile.frame_fuzz", "--sequences", arguments.fuzz_sequences))
    place = build("thread")
    went_well.append(run(place, "thread", *PYTEST, "tests/store/test_concurrency.py", "-k", "threads"))
    return 0 if all(went_well) else 1


if __name__ == "__main__":
    sys.exit(main())
