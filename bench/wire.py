"""Requests and answers of the public API as bytes, made from NumPy arrays; and a plain channel to send them over.

The load generator measures a server, not a client library: requests are encoded before the clock starts, and answers are taken
as bytes. Only what sets a run up (definitions, loading, checking answers) decodes any.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from featurestore_client.wire import featurestore_raw_pb2 as raw
from google.protobuf import json_format
from google.protobuf.message import Message

from bench.certificate import Certificate
from bench.dataset import Floats, Strings
from bench.settings import SettingsError

SERVICE = "/featurestore.v1.FeatureStore/"
GET_FEATURES = SERVICE + "GetFeatures"
WRITE_FEATURES = SERVICE + "WriteFeatures"
INGEST_FEATURES = SERVICE + "IngestFeatures"
MESSAGE_BYTES_MAX = 256 << 20
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # A connection of its own for each channel: otherwise all channels of a process to one address share one.
    ("grpc.use_local_subchannel_pool", 1),
)

Answer = TypeVar("Answer", bound=Message)
Keys = Mapping[str, npt.NDArray[np.int64] | Strings]
"""Key columns by join key."""

Features = Mapping[str, npt.NDArray[Any] | Strings]
"""Feature columns by feature."""


def address(url: str) -> str:
    """As grpcio has it: ``host:port`` of ``grpc://host:port``, ``unix:///path`` as it is. Raises SettingsError for others."""
    scheme, separator, rest = url.partition("://")
    if not separator or (scheme == "unix" and rest):
        return url
    if scheme != "grpc" or not rest:
        raise SettingsError(f"server: got {url!r}, expected grpc://host:port or unix:///path")
    return rest.rstrip("/")


def selection(project: str, service: str = "", features: Sequence[str] = ()) -> bytes:
    """What to read, as bytes."""
    return raw.FeatureSelection(project=project, service=service, features=features).SerializeToString()


def column(name: str, values: npt.NDArray[Any] | Strings) -> raw.Column:
    """One column: int64, float32 or float64 arrays, int32 and bool too, or strings."""
    if isinstance(values, Strings):
        return raw.Column(name=name, data=values.data.tobytes(), offsets=values.offsets.tobytes())
    fields = {"<i8": "int64s", "<i4": "int32s", "<f4": "float32s", "<f8": "float64s", "|b1": "bools"}
    return raw.Column(name=name, **{fields[values.dtype.str]: values.tobytes()})


def read_request(selected: bytes, keys: Keys, known_schema_id: int = 0) -> bytes:
    """A GetFeaturesRequest."""
    columns = [column(name, values) for name, values in keys.items()]
    return raw.GetFeaturesRequest(selection=selected, keys=columns, known_schema_id=known_schema_id).SerializeToString()


def write_batch(keys: Keys, features: Features, event_timestamp_us: int | None) -> raw.WriteBatch:
    """A WriteBatch; without an event time it is the server's clock."""
    return raw.WriteBatch(
        keys=[column(name, values) for name, values in keys.items()],
        features=[column(name, values) for name, values in features.items()],
        event_timestamps_us=b"" if event_timestamp_us is None else event_timestamp_us.to_bytes(8, "little"),
    )


def write_request(project: str, view: str, batch: raw.WriteBatch) -> bytes:
    """A WriteFeaturesRequest."""
    return raw.WriteFeaturesRequest(project=project, view=view, batch=batch).SerializeToString()


def definitions(entities: Iterable[Any], views: Iterable[Any], services: Iterable[Any] = ()) -> raw.Definitions:
    """Definitions on the wire, from the model's objects."""
    shape = {
        "entities": [each.model_dump(mode="json") for each in entities],
        "feature_views": [each.model_dump(mode="json") for each in views],
        "feature_services": [each.model_dump(mode="json") for each in services],
    }
    return json_format.ParseDict(shape, raw.Definitions())


def matrix(answer: bytes) -> Floats:
    """The values of a GetFeaturesResponse whose features are all float32, a row a key."""
    decoded = raw.GetFeaturesResponse.FromString(answer)
    return np.frombuffer(decoded.matrix.float32s, np.float32).reshape(decoded.rows, -1)


class Channel:
    """A connection for what is not timed; over TLS to a server of that certificate. A context manager."""

    def __init__(self, host_port: str, certificate: Certificate | None = None) -> None:
        if certificate is None:
            self._channel = grpc.insecure_channel(host_port, options=CHANNEL_OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(certificate.path.read_bytes())
            self._channel = grpc.secure_channel(host_port, credentials, options=CHANNEL_OPTIONS)

    def __enter__(self) -> "Channel":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._channel.close()

    def send(self, path: str, request: bytes, timeout_s: float = 60.0) -> bytes:
        """One call, bytes to bytes. Raises grpc.RpcError."""
        call: Any = self._channel.unary_unary(path)
        answer: bytes = call(request, timeout=timeout_s)
        return answer

    def stream(self, path: str, requests: Iterator[bytes], timeout_s: float = 600.0) -> Iterator[bytes]:
        """One call with a stream each way. Raises grpc.RpcError."""
        call: Any = self._channel.stream_stream(path)
        answers: Iterator[bytes] = call(requests, timeout=timeout_s)
        return answers

    def call(self, method: str, request: Message, answer: type[Answer]) -> Answer:
        """One call of the FeatureStore service, message to message."""
        return answer.FromString(self.send(SERVICE + method, request.SerializeToString()))
