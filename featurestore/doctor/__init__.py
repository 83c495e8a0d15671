"""Looks at a directory and a machine, and says what to change: one list of checks, each a function of a ``Place``.

Invariant: nothing is changed, and nothing is locked, so that it may run at any time, beside a server too.
"""

from collections.abc import Mapping
from typing import Any

from featurestore import __version__
from featurestore.doctor import directory, machine
from featurestore.doctor.finding import Finding, Verdict, ok, warning
from featurestore.doctor.place import Place

__all__ = ["Finding", "Place", "Verdict", "examine", "examine_status"]


def examine(place: Place) -> list[Finding]:
    """All checks, in order."""
    found = []
    for check in (*directory.CHECKS, *machine.CHECKS):
        try:
            found.append(check(place))
        except OSError as error:
            what = f"cannot be looked at: {error.filename or place.directory}: {error.strerror}"
            found.append(warning(check.__name__.replace("_", " "), what, "run it as the server's user"))
    return found


def examine_status(status: Mapping[str, Any]) -> list[Finding]:
    """What a server tells of itself."""
    version = status["version"]
    same = ok("server", f"version {version}")
    if version != __version__:
        same = warning("server", f"version {version}, this is {__version__}", "run the doctor of the server's own version")
    return [same, directory.processes_finding([dict(process) for process in status["processes"]])]
