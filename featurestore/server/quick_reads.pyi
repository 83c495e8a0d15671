from collections.abc import Awaitable, Callable

from featurestore_client.tables.reader import Projection
from featurestore_client.tables.table import TableReader

from featurestore.server.context import CallContext
from featurestore.server.feature_methods import PreparedRead
from featurestore.server.read_wire import AnswerFormat
from featurestore.service import OnlineReader
from featurestore.service.plan_cache import PlanCache

class QuickRead:
    def __init__(
        self, table: TableReader, projection: Projection, key_name: str, answers: AnswerFormat, rows_max: int
    ) -> None: ...

class QuickReads:
    def __init__(
        self,
        service: OnlineReader,
        plans: PlanCache[bytes, PreparedRead],
        get_any: Callable[[bytes, CallContext], bytes | Awaitable[bytes]],
    ) -> None: ...
    def get(self, data: bytes, context: CallContext) -> bytes | Awaitable[bytes]: ...
