"""What a handler may know of the call it serves, and say beside its answers, whichever engine brought it.

An engine makes one for each call, on the hot path: so it is compiled, holds plain values, and what costs is worked out when it is
asked for.
"""

from featurestore_client.clock cimport monotonic_s

from featurestore.errors import DeadlineExceededError

TOO_LATE = "the deadline had passed before the work was begun; nothing was done"

Metadata = tuple[tuple[str, str | bytes], ...]


cdef class InlineHead:
    """What a request's head says, as far as a call needs it that is answered as it is read: how, and what its context has."""

    def __init__(self):
        self.metadata = {}


cdef class CallContext:
    """Who calls, with which metadata, and until when; a handler sets what it wants to send beside its answers."""

    def __init__(self, peer="", metadata=None, deadline=None, request_compressed=None):
        self.peer = peer
        self.metadata = {} if metadata is None else metadata
        self.deadline = deadline
        self.request_compressed = request_compressed
        self.initial_metadata = ()
        self.trailing_metadata = ()
        self.compress = False

    @property
    def user_agent(self):
        """What the caller's program says that it is; may be empty."""
        return self.text("user-agent")

    def text(self, key):
        """The metadata of a key that does not end in ``-bin``; empty where there is none."""
        value = (<object>self).metadata.get(key, "")  # which an engine may work out when it is asked for
        return value if isinstance(value, str) else ""

    def check_deadline(self):
        """Raises DeadlineExceededError when nobody waits for the answer any more: asked before work is begun."""
        if self.deadline is not None and monotonic_s() >= <double>self.deadline:
            raise DeadlineExceededError(TOO_LATE)


def joined(pairs):
    """Metadata by key. Text of a key that came more than once is joined with commas, as HTTP has it, so that a second
    ``authorization`` cannot take the place of the first; of bytes the last one stays."""
    metadata = {}
    for key, value in pairs:
        before = metadata.get(key)
        metadata[key] = f"{before},{value}" if isinstance(before, str) and isinstance(value, str) else value
    return metadata
