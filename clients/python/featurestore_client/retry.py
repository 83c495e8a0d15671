"""When a call is tried again, and how long after.

Invariant: a call is repeated only after UNAVAILABLE, only where doing it twice does no harm or no server can have seen it, and
never past its deadline.
"""

import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self

from featurestore_client.errors import InvalidArgumentError, NotSentError, UnavailableError


@dataclass(frozen=True)
class RetryPolicy:
    """Delays that double from ``backoff_s`` to ``backoff_max_s``, each drawn at random below that (full jitter)."""

    attempts_max: int = 10
    """Of one call, the first included; 1 never tries again."""
    backoff_s: float = 0.05
    backoff_max_s: float = 1.0

    def delay_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row."""
        # A floor of a tenth keeps a burst of attempts from falling into one instant.
        ceiling_s: float = min(self.backoff_max_s, self.backoff_s * 2 ** min(failures - 1, 30))
        return random.uniform(0.1, 1.0) * ceiling_s  # noqa: S311  nobody gains by guessing it


ATTEMPT_S_MIN = 0.005
"""What must be left of the deadline for another attempt: with less it would end as one that took too long."""


class Deadline:
    """When a method that may take several calls is to end."""

    __slots__ = ("_ends_s",)

    def __init__(self, timeout_s: float) -> None:
        self._ends_s = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """What is left of it; never 0, so that a call that comes too late ends as one that took too long."""
        return max(1e-6, self._ends_s - time.monotonic())


class Requests:
    """The requests of an asyncio stream, which may begin elsewhere while none has been asked for: one that was is gone."""

    __slots__ = ("_requests", "are_drawn")

    def __init__(self, requests: AsyncIterator[bytes]) -> None:
        self._requests = requests
        self.are_drawn = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self.are_drawn = True
        return await anext(self._requests)


class Attempts:
    """The attempts of one call within its deadline, from the first failure on."""

    __slots__ = ("_deadline", "_failures", "_policy", "_repeatable")

    def __init__(self, policy: RetryPolicy, deadline: Deadline, *, repeatable: bool) -> None:
        self._policy = policy
        self._repeatable = repeatable
        self._failures = 0
        self._deadline = deadline

    def delay_after(self, error: UnavailableError) -> float:
        """How long to wait before the next attempt. Raises the error where there is none."""
        self._failures += 1
        delay_s = self._policy.delay_s(self._failures)
        is_safe = self._repeatable or isinstance(error, NotSentError)
        if not is_safe or self._failures >= self._policy.attempts_max or delay_s + ATTEMPT_S_MIN >= self._deadline.left_s():
            raise error
        return delay_s


def checked_timeout(timeout_s: float) -> float:
    """The timeout, if it is one. Raises InvalidArgumentError."""
    if not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= 86_400:
        raise InvalidArgumentError.of("timeout_s", timeout_s, "seconds above 0, at most 86400")
    return timeout_s
