"""The compiled parts of the client; everything else is in pyproject.toml.

The HTTP/2 session is built where libnghttp2's headers are there. Without them the package is built without it, and depends on
grpcio, which then carries all calls; FEATURESTORE_HTTP2=required makes that an error instead. The reader of tables in shared
memory needs a C compiler and Linux; without, reads go to the server. FEATURESTORE_SANITIZE builds all of it to be run under
sanitizers: ``address,undefined``, or ``thread`` (``make sanitize``).
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

REQUIREMENTS = ["numpy>=1.26", "protobuf>=5.27"]
FALLBACK = ["grpcio>=1.66"]
FLAGS = ["-O3", "-std=c11", "-fno-strict-aliasing", "-Wno-unused-function", "-Wno-deprecated-declarations"]
TABLES_FLAGS = ["-march=x86-64-v2"] if platform.machine() == "x86_64" else []
"""Nothing beyond the baseline of each architecture: a wheel runs on every machine of it."""
SANITIZERS = os.environ.get("FEATURESTORE_SANITIZE")
SANITIZE = [f"-fsanitize={SANITIZERS}", "-O1", "-g", "-fno-omit-frame-pointer", "-Wno-tsan"] if SANITIZERS else []


def _found(option: str) -> list[str]:
    """What pkg-config says of libnghttp2; nothing where it knows nothing."""
    if shutil.which("pkg-config") is None:
        return []
    asked = subprocess.run(["pkg-config", option, "libnghttp2"], capture_output=True, text=True, check=False)  # noqa: S603, S607  no input
    return asked.stdout.split() if asked.returncode == 0 else []


def _has_headers(flags: list[str]) -> bool:
    compiler = os.environ.get("CC", "cc").split()
    program = "#include <nghttp2/nghttp2.h>\n"
    try:
        return not subprocess.run(  # noqa: S603  the builder's own compiler
            [*compiler, *flags, "-fsyntax-only", "-x", "c", "-"], input=program, text=True, capture_output=True, check=False
        ).returncode
    except OSError:
        return False


def _http2() -> list[Extension]:
    flags = _found("--cflags")
    if not _has_headers(flags):
        message = "libnghttp2's headers were not found: built without the HTTP/2 session, calls go over grpcio"
        if os.environ.get("FEATURESTORE_HTTP2") == "required":
            sys.exit(message)
        print(message, file=sys.stderr)
        return []
    libraries = _found("--libs") or ["-lnghttp2"]
    return [
        Extension(
            f"featurestore_client.http2.{name}",
            [f"featurestore_client/http2/{name}.pyx"],
            extra_compile_args=FLAGS + flags + SANITIZE,
            extra_link_args=(libraries if name == "session" else []) + SANITIZE,
        )
        for name in sorted(path.stem for path in Path("featurestore_client/http2").glob("*.pyx"))
    ]


def _tables() -> list[Extension]:
    return [
        Extension(
            ".".join(path.with_suffix("").parts),
            [str(path)],
            extra_compile_args=FLAGS + TABLES_FLAGS + SANITIZE,
            extra_link_args=SANITIZE,
            include_dirs=[numpy.get_include(), "featurestore_client/tables"],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            optional=True,
        )
        for path in sorted(Path("featurestore_client/tables").glob("*.pyx"))
    ]


http2 = _http2()
setup(
    ext_modules=cythonize([*http2, *_tables()], compiler_directives={"language_level": 3, "cdivision": True}),
    install_requires=REQUIREMENTS if http2 else REQUIREMENTS + FALLBACK,
)
