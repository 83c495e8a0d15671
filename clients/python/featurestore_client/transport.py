"""How calls travel: the protocols that a client is given, and what their messages are called.

A transport moves bytes and raises the errors of ``errors.py``; it knows no message. Invariant: a transport never tries a call
again by itself once the other side may have seen it, unless it is told that the call is repeatable; the client decides what is.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Protocol

SERVICE = "/featurestore.v1.FeatureStore/"
GET_FEATURES = SERVICE + "GetFeatures"
WRITE_FEATURES = SERVICE + "WriteFeatures"
INGEST_FEATURES = SERVICE + "IngestFeatures"
DELETE_FEATURES = SERVICE + "DeleteFeatures"
APPLY = SERVICE + "Apply"
EXPORT_FEATURES = SERVICE + "ExportFeatures"
BACKUP = SERVICE + "Backup"
GET_SHARED_MEMORY = SERVICE + "GetSharedMemory"


class Transport(Protocol):
    """Calls that block. Used by several threads at once."""

    def unary(self, method_path: str, request: bytes, *, timeout_s: float) -> bytes:
        """One request, one response. Raises DeadlineExceededError once ``timeout_s`` have passed."""
        ...

    def stream(self, method_path: str, requests: Iterator[bytes], *, timeout_s: float | None) -> Iterator[bytes]:
        """Many requests, many responses, at the same time; ends when ``requests`` has ended and all is answered.

        ``requests`` blocks until there is a next one; whoever sends bounds how many are unanswered. It may be consumed in
        another thread. Where the iterator of responses has a method ``cancel()``, another thread calls it to give up.
        """
        ...

    def close(self) -> None:
        """Ends the calls under way and gives back what they used."""
        ...


class AsyncTransport(Protocol):
    """The same for asyncio."""

    async def unary(self, method_path: str, request: bytes, *, timeout_s: float, repeatable: bool = False) -> bytes:
        """One request, one response. ``repeatable``: doing it twice, even at the same time, does no harm."""
        ...

    def stream(self, method_path: str, requests: AsyncIterator[bytes], *, timeout_s: float | None) -> AsyncIterator[bytes]:
        """Many requests, many responses. It is given up by cancelling the task that consumes it."""
        ...

    async def close(self) -> None:
        """Ends the calls under way and gives back what they used."""
        ...
