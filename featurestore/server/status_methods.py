"""GetStatus: what each process of this server is at, from the board that they share."""

from featurestore import __version__
from featurestore.server.context import CallContext
from featurestore.server.messages import parse
from featurestore.server.status import ProcessSlot, StatusBoard
from featurestore.server.wire import featurestore_pb2 as public


class StatusMethods:
    """The handler, in the process whose row is ``own``."""

    def __init__(self, board: StatusBoard, own: ProcessSlot) -> None:
        self._board = board
        self._own = own

    def get_status(self, data: bytes, context: CallContext) -> bytes:
        """GetStatus."""
        parse(public.GetStatusRequest, data)
        self._own.beat()
        response = public.GetStatusResponse(version=__version__)
        for process in self._board.read():
            response.processes.add(**process._asdict())
        recovered = self._board.recovered
        if recovered is not None:
            response.recovered.CopyFrom(public.Recovered(**recovered._asdict()))
        return response.SerializeToString()
