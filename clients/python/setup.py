"""The compiled HTTP/2 session of the client, where libnghttp2's headers are there; everything else is in pyproject.toml.

Without them the package is built without it, and depends on grpcio, which then carries all calls. FEATURESTORE_HTTP2=required
makes that an error instead; FEATURESTORE_SANITIZE=address builds it to be run under AddressSanitizer.
"""

import os
import shutil
import subprocess
import sys

from setuptools import Extension, setup

REQUIREMENTS = ["numpy>=1.26", "protobuf>=5.27"]
FALLBACK = ["grpcio>=1.66"]
FLAGS = ["-O3", "-std=c11", "-fno-strict-aliasing", "-Wno-unused-function", "-Wno-deprecated-declarations"]
SANITIZE = ["-fsanitize=address", "-fno-omit-frame-pointer", "-g"]
IS_SANITIZED = os.environ.get("FEATURESTORE_SANITIZE") == "address"


def _found(option: str) -> list[str]:
    """What pkg-config says of libnghttp2; nothing where it knows nothing."""
    if shutil.which("pkg-config") is None:
        return []
    asked = subprocess.run(["pkg-config", option, "libnghttp2"], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return asked.stdout.split() if asked.returncode == 0 else []


def _has_headers(flags: list[str]) -> bool:
    compiler = os.environ.get("CC", "cc").split()
    program = "#include <nghttp2/nghttp2.h>\n"
    try:
        return not subprocess.run(  # noqa: S603
            [*compiler, *flags, "-fsyntax-only", "-x", "c", "-"], input=program, text=True, capture_output=True, check=False
        ).returncode
    except OSError:
        return False


def _extensions() -> list[Extension]:
    flags = _found("--cflags")
    if not _has_headers(flags):
        message = "libnghttp2's headers were not found: built without the HTTP/2 session, calls go over grpcio"
        if os.environ.get("FEATURESTORE_HTTP2") == "required":
            sys.exit(message)
        print(message, file=sys.stderr)
        return []
    from Cython.Build import cythonize  # noqa: PLC0415  not needed for a build without it

    sanitize = SANITIZE if IS_SANITIZED else []
    extensions = [
        Extension(
            f"featurestore_client.http2.{name}",
            [f"featurestore_client/http2/{name}.pyx"],
            extra_compile_args=FLAGS + flags + sanitize,
            extra_link_args=libraries + sanitize,
        )
        for name, libraries in (("session", _found("--libs") or ["-lnghttp2"]), ("busy_receive", []))
    ]
    modules: list[Extension] = cythonize(extensions, compiler_directives={"language_level": 3, "cdivision": True})
    return modules


extensions = _extensions()
setup(
    ext_modules=extensions,
    install_requires=REQUIREMENTS if extensions else REQUIREMENTS + FALLBACK,
    # A place of its own for what is sanitized: objects of another build would be taken for current.
    options={"build": {"build_base": "build/sanitized"}} if IS_SANITIZED else {},
)
