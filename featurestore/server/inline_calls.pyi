from collections.abc import Awaitable, Callable
from typing import Protocol

from featurestore_client.http2 import Session, StreamEvent
from featurestore_client.http2.event_loop import BusyPolling, DirectWriter

from featurestore.server.admission import Admission
from featurestore.server.context import CallContext
from featurestore.server.grpc_calls import Call, RequestHead, RequestHeads
from featurestore.server.write_turns import WriteTurns

Settle = Callable[[StreamEvent, RequestHead, CallContext, bytes | Awaitable[bytes] | Exception], None]

class Owed(Protocol):
    unsent_bytes_max: int

class InlineCalls:
    refuses: bool
    sends: bool
    is_over: bool
    def __init__(
        self,
        session: Session,
        heads: RequestHeads,
        calls: dict[int, Call],
        connections: Owed,
        admission: Admission,
        turns: WriteTurns,
        polling: BusyPolling,
        writer: DirectWriter,
        peer: str,
        message_bytes_max: int,
        settle: Settle,
        wait: Callable[[StreamEvent, float | None], None],
        flush_soon: Callable[[], None],
    ) -> None: ...
    def answer(self, event: StreamEvent, deadline: float | None) -> bool: ...
    def receive(self, data: bytes) -> list[StreamEvent] | None: ...
