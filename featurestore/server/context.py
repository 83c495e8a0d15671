"""What a handler may know of the call it serves, and say beside its answers, whichever engine brought it.

An engine makes one for each call, on the hot path: so it holds plain values, and what costs is worked out when it is asked for.
"""

import time
from collections.abc import Iterable, Mapping

from featurestore.errors import DeadlineExceededError

TOO_LATE = "the deadline had passed before the work was begun; nothing was done"

Metadata = tuple[tuple[str, str | bytes], ...]
"""What goes out beside answers: lower-case keys; the values of keys that end in ``-bin`` are bytes, all others text."""


class CallContext:
    """Who calls, with which metadata, and until when; a handler sets what it wants to send beside its answers."""

    __slots__ = (
        "compress",
        "deadline",
        "initial_metadata",
        "metadata",
        "peer",
        "request_compressed",
        "trailing_metadata",
    )

    def __init__(
        self, peer: str = "", metadata: Mapping[str, str | bytes] | None = None, deadline: float | None = None
    ) -> None:
        self.peer = peer
        self.metadata: Mapping[str, str | bytes] = metadata or {}
        """As ``joined`` makes it: lower-case keys; bytes, decoded, for keys that end in ``-bin``."""
        self.deadline = deadline
        """Of ``time.monotonic``; None: the caller waits forever."""
        self.request_compressed: bool | None = None
        """Whether the last request message came compressed; None where the engine cannot tell."""
        self.initial_metadata: Metadata = ()
        """Taken when the first answer goes out, or when a stream ends well without one."""
        self.trailing_metadata: Metadata = ()
        """Taken when the call ends, well or not."""
        self.compress = False
        """Taken for each answer: it goes out gzip-compressed, where the caller accepts that and the first answer had it set
        too (the encoding is announced with the first one)."""

    @property
    def user_agent(self) -> str:
        """What the caller's program says that it is; may be empty."""
        return self.text("user-agent")

    def text(self, key: str) -> str:
        """The metadata of a key that does not end in ``-bin``; empty where there is none."""
        value = self.metadata.get(key, "")
        return value if isinstance(value, str) else ""

    def check_deadline(self) -> None:
        """Raises DeadlineExceededError when nobody waits for the answer any more: asked before work is begun."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise DeadlineExceededError(TOO_LATE)


def joined(pairs: Iterable[tuple[str, str | bytes]]) -> dict[str, str | bytes]:
    """Metadata by key. Text of a key that came more than once is joined with commas, as HTTP has it, so that a second
    ``authorization`` cannot take the place of the first; of bytes the last one stays."""
    metadata: dict[str, str | bytes] = {}
    for key, value in pairs:
        before = metadata.get(key)
        metadata[key] = f"{before},{value}" if isinstance(before, str) and isinstance(value, str) else value
    return metadata
