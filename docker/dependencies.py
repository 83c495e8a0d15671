"""Prints what the server's distribution depends on, one requirement a line: the image installs it before our sources.

Reads the dependencies where they are declared; it keeps no list of its own. What the client's needs is among them: the image is
built only if pip finds it so.
"""

import tomllib
from pathlib import Path

OWN = "featurestore-client"

declared = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
print("\n".join(requirement for requirement in declared if not requirement.startswith(OWN)))
