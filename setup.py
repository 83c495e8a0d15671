"""The compiled part of the build; everything else is in pyproject.toml."""

import os
import platform
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

# Nothing beyond the baseline of each architecture: a wheel runs on every machine of it.
FLAGS = ["-O3", "-std=c11", "-fno-strict-aliasing", "-Wno-unused-function"]
if platform.machine() == "x86_64":
    FLAGS.append("-march=x86-64-v2")
SANITIZERS = os.environ.get("FEATURESTORE_SANITIZE")
SANITIZE = [f"-fsanitize={SANITIZERS}", "-O1", "-g", "-fno-omit-frame-pointer", "-Wno-tsan"] if SANITIZERS else []
"""As the client's setup.py says."""
CLIENT = "clients/python"
"""Its declarations of what lies in memory (``featurestore_client/**/*.pxd``); an sdist carries a copy of those
(MANIFEST.in)."""

extensions = [
    Extension(
        ".".join(path.with_suffix("").parts),
        [str(path)],
        extra_compile_args=FLAGS + SANITIZE,
        extra_link_args=SANITIZE,
        include_dirs=[numpy.get_include(), f"{CLIENT}/featurestore_client/tables"],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
    )
    for path in sorted(Path("featurestore").glob("**/*.pyx"))
]
setup(ext_modules=cythonize(extensions, include_path=[CLIENT], compiler_directives={"language_level": 3, "cdivision": True}))
