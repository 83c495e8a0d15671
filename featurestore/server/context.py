"""What a handler may know of the call it serves, whichever engine brought it."""

import time
from collections.abc import Mapping

from featurestore.errors import DeadlineExceededError

TOO_LATE = "the deadline had passed before the work was begun; nothing was done"


class CallContext:
    """Who calls, with which metadata, and until when (``deadline``: of ``time.monotonic``; None: the caller waits forever)."""

    __slots__ = ("deadline", "metadata", "peer")

    def __init__(self, peer: str = "", metadata: Mapping[str, str] | None = None, deadline: float | None = None) -> None:
        self.peer = peer
        self.metadata: Mapping[str, str] = metadata or {}
        self.deadline = deadline

    def check_deadline(self) -> None:
        """Raises DeadlineExceededError when nobody waits for the answer any more: asked before work is begun."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise DeadlineExceededError(TOO_LATE)
