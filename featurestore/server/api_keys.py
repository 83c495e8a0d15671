"""API keys: ``authorization: Bearer KEY`` in a call's metadata.

Keys are kept and compared as digests, in constant time, so that neither memory dumps nor timing tell one.
"""

import hmac
from collections.abc import Iterable
from hashlib import sha256

from featurestore.errors import UnauthenticatedError
from featurestore.server.context import CallContext

_SCHEME = "bearer "


class ApiKeys:
    """The keys that open this server."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [sha256(key.encode()).digest() for key in keys]

    def check(self, context: CallContext) -> None:
        """Raises UnauthenticatedError unless the call carries one of the keys."""
        header = context.text("authorization")
        if not header:
            raise UnauthenticatedError("no API key: send the metadata 'authorization: Bearer KEY' (the client: api_key=...)")
        digest = sha256(header[len(_SCHEME) :].strip().encode("utf-8", "replace")).digest()
        known = [hmac.compare_digest(digest, candidate) for candidate in self._digests]
        if header[: len(_SCHEME)].lower() != _SCHEME or not any(known):
            raise UnauthenticatedError(
                "the API key is not one of this server's: check it, or ask whoever runs the server for one"
            )
