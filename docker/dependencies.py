"""Prints what our two distributions depend on, one requirement a line, so that the image can install it before our sources.

Reads the dependencies where they are declared, in the pyproject files; it keeps no list of its own.
"""

import tomllib
from pathlib import Path

OWN = "featurestore-client"

requirements: set[str] = set()
for path in (Path("pyproject.toml"), Path("clients/python/pyproject.toml")):
    declared = tomllib.loads(path.read_text())["project"]["dependencies"]
    requirements.update(requirement for requirement in declared if not requirement.startswith(OWN))
print("\n".join(sorted(requirements)))
