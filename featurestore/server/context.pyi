from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

TOO_LATE: Final[str]

Metadata = tuple[tuple[str, str | bytes], ...]
"""What goes out beside answers: lower-case keys; the values of keys that end in ``-bin`` are bytes, all others text."""

class InlineHead:
    inline: Callable[[bytes, CallContext], bytes | Awaitable[bytes]] | None
    metadata: Mapping[str, str | bytes]
    sheds: bool
    takes_turns: bool
    def __init__(self) -> None: ...

class CallContext:
    peer: str
    metadata: Mapping[str, str | bytes]
    """As ``joined`` makes it: lower-case keys; bytes, decoded, for keys that end in ``-bin``."""
    deadline: float | None
    """Of ``time.monotonic``; None: the caller waits forever."""
    request_compressed: bool | None
    """Whether the last request message came compressed; None where the engine cannot tell."""
    initial_metadata: Metadata
    """Taken when the first answer goes out, or when a stream ends well without one."""
    trailing_metadata: Metadata
    """Taken when the call ends, well or not."""
    compress: bool
    """Taken for each answer: it goes out gzip-compressed, where the caller accepts that and the first answer had it set
    too (the encoding is announced with the first one)."""
    def __init__(
        self,
        peer: str = "",
        metadata: Mapping[str, str | bytes] | None = None,
        deadline: float | None = None,
        request_compressed: bool | None = None,
    ) -> None: ...
    @property
    def user_agent(self) -> str: ...
    def text(self, key: str) -> str: ...
    def check_deadline(self) -> None: ...

def joined(pairs: Iterable[tuple[str, str | bytes]]) -> dict[str, str | bytes]: ...
