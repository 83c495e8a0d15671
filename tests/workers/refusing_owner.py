"""An owner that refuses the first stream, as one does that is told to end, and answers the second with all that came of it."""

import asyncio
from pathlib import Path
from typing import Self, cast

from featurestore_client.grpc_framing import frame
from featurestore_client.http2 import REFUSED_STREAM, Session

from featurestore.server.grpc_calls import OK_HEAD, OK_TRAILERS


class RefusingOwner:
    """Listens while it is entered, and has closed its connections when it is left. ``has_accepted``: a second one has begun."""

    def __init__(self, path: Path) -> None:
        self.has_accepted = asyncio.Event()
        self.streams = 0
        self.connections: list[_Connection] = []
        self._path = path

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Connection(self), self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self.connections:
            connection.transport.close()
            await connection.is_closed.wait()


class _Connection(asyncio.Protocol):
    def __init__(self, owner: RefusingOwner) -> None:
        self.is_closed = asyncio.Event()
        self._owner = owner
        self._session = Session(client=False)
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._session.take())
        self._owner.connections.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed.set()

    def data_received(self, data: bytes) -> None:
        for event in self._session.receive(data):
            if event.head is not None:
                self._owner.streams += 1
                if self._owner.streams == 1:
                    self._session.reset(event.stream_id, REFUSED_STREAM)
                else:
                    self._owner.has_accepted.set()
            self._received += event.data
            if event.ended:
                self._session.respond(event.stream_id, OK_HEAD, frame(self._received), OK_TRAILERS)
        self.transport.write(self._session.take())
