from collections.abc import Awaitable, Callable

from featurestore.server.api_keys import ApiKeys
from featurestore.server.context import CallContext

class Guard:
    def __init__(self, handler: Callable[[bytes, CallContext], bytes | Awaitable[bytes]], api_keys: ApiKeys | None) -> None: ...
    def call(self, data: bytes, context: CallContext) -> bytes | Awaitable[bytes]: ...
