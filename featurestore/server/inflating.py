"""Compressed messages of the native engine: short ones are inflated at once, all others beside the event loop.

A few KB of gzip can be 64 MB: a tenth of a second in which no call would be answered. Invariant: the loop inflates no more than
``SHORT_BYTES`` of a message, and one thread, which gives way to it, one message at a time: so whoever sends such messages waits
for others who do, and nobody else does. Whether the caller may call at all is asked before (``Method.check``).
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from featurestore_client.grpc_framing import FramingError, decompressed

from featurestore.priority import step_back

SHORT_BYTES = 64 << 10
"""Of an inflated message: some 100 us."""
SHORT_PACKED_BYTES = 16 << 10


class Inflater:
    """Of one server."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "featurestore-inflate", initializer=step_back)

    def at_once(self, body: bytes, message_bytes_max: int) -> bytes | None:
        """What a message is, where it is short; None: ask ``beside``. Raises FramingError."""
        if len(body) > SHORT_PACKED_BYTES:
            return None
        try:
            return decompressed(body, min(SHORT_BYTES, message_bytes_max))
        except FramingError as error:
            if error.status == "RESOURCE_EXHAUSTED" and message_bytes_max > SHORT_BYTES:
                return None
            raise

    async def beside(self, body: bytes, message_bytes_max: int) -> bytes:
        """What any message is, after those that came before. Raises FramingError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, decompressed, body, message_bytes_max)

    def close(self) -> None:
        """Nothing is inflated any more, but for the message it is at."""
        self._thread.shutdown(wait=False, cancel_futures=True)
