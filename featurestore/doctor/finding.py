"""What one check has to say."""

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """From good to bad."""

    OK = "ok"
    WARNING = "warning"
    """It works now, and will not under load, at a growth, or after a reboot."""
    PROBLEM = "problem"
    """A start, a write or a read fails, or soon will."""


class Finding(NamedTuple):
    """What was found, and what to change: with the command to type where there is one."""

    check: str
    verdict: Verdict
    found: str
    change: str = ""


def ok(check: str, found: str) -> Finding:
    """Nothing is to be changed."""
    return Finding(check, Verdict.OK, found)


def warning(check: str, found: str, change: str) -> Finding:
    """Something should be changed."""
    return Finding(check, Verdict.WARNING, found, change)


def problem(check: str, found: str, change: str) -> Finding:
    """Something has to be changed."""
    return Finding(check, Verdict.PROBLEM, found, change)
