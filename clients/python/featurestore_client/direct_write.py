"""Writing to an event loop's socket past its transport's queue, for both ends of a connection.

The loop looks at that queue only after all that it has read, and the peer could meanwhile be at work on what is in it.
Invariant: bytes go out in the order in which they were given, and none twice.
"""

import asyncio
import os


def plain_file(transport: asyncio.BaseTransport) -> int:
    """The socket's file descriptor; -1 where there is none to write to, as TLS stands before it."""
    opened = transport.get_extra_info("socket")
    return -1 if opened is None or transport.get_extra_info("ssl_object") is not None else opened.fileno()


def write(transport: asyncio.Transport, file: int, data: bytes) -> None:
    """Writes now what the socket takes, unless the queue holds something; the rest is queued. ``file``: of ``plain_file``."""
    if file >= 0 and not transport.get_write_buffer_size():
        try:
            sent = os.write(file, data)
        except OSError:  # full, or broken, which the transport will find too
            sent = 0
        if sent == len(data):
            return
        data = data[sent:]
    transport.write(data)
