from collections.abc import Awaitable, Callable

from featurestore.server.context import CallContext
from featurestore.server.write_decoding import PreparedWrite
from featurestore.service import OnlineStore
from featurestore.service.plan_cache import PlanCache

class QuickWrites:
    def __init__(
        self,
        service: OnlineStore,
        plans: PlanCache[tuple[str, str], PreparedWrite],
        answer_of: Callable[[tuple[int, int, int, int, int]], bytes],
        write_any: Callable[[bytes, CallContext], bytes | Awaitable[bytes]],
    ) -> None: ...
    def write(self, data: bytes, context: CallContext) -> bytes | Awaitable[bytes]: ...
