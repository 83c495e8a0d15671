"""The compiled HTTP/2 session. Importing it raises ImportError where the package was built without libnghttp2.

    session = Session(client=False, apart=b"grpc-timeout")
    for event in session.receive(data_from_the_socket):
        if event.ended and event.error_code == NEVER:
            session.respond(event.stream_id, HEAD, answer_to(event.head, event.data), TRAILERS)
    while data := session.take():
        write_to_the_socket(data)

Calls on a stream that is gone are ignored: a peer may have reset it while its answer was made.
"""

from featurestore_client.http2.headers import Headers
from featurestore_client.http2.message_body import MessageBody
from featurestore_client.http2.session import (
    CANCEL,
    ENHANCE_YOUR_CALM,
    INTERNAL_ERROR,
    NEVER,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    ProtocolError,
    Session,
    StreamEvent,
)

__all__ = [
    "CANCEL",
    "ENHANCE_YOUR_CALM",
    "INTERNAL_ERROR",
    "NEVER",
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "REFUSED_STREAM",
    "Headers",
    "MessageBody",
    "ProtocolError",
    "Session",
    "StreamEvent",
]
