"""Long writes take turns: a read that comes with many of them passes them. A real server, and raw frames."""

import featurestore_client
import numpy as np
import pytest
from featurestore_client.wire import featurestore_raw_pb2 as raw

from tests.conftest import RunningServer
from tests.hostile import frames
from tests.hostile.peers import Peer

SERVICE = "/featurestore.v1.FeatureStore/"
ROWS, WRITES, BEFORE, WIDTH = 100, 12, -1, 16


@pytest.fixture(scope="module")
def numbers(server: RunningServer) -> RunningServer:
    """A server with one view of numbers, whose rows are there: to overwrite them takes no thread."""
    user = {"name": "user", "join_keys": [{"name": "user", "type": "int64"}]}
    features = [{"name": "value", "type": "int64"}, {"name": "more", "type": f"float32[{WIDTH}]"}]
    view = {"name": "numbers", "entity": "user", "features": features}
    with featurestore_client.connect(server.url) as client:
        client.apply({"entities": [user], "feature_views": [view]})
        zeros = np.zeros((ROWS * WRITES, WIDTH), np.float32)
        client.write("numbers", {"user": np.arange(ROWS * WRITES), "value": np.full(ROWS * WRITES, BEFORE), "more": zeros})
    return server


def write(number: int) -> bytes:
    """The message that writes ``number`` to ROWS keys of its own."""
    keys = np.arange(number * ROWS, (number + 1) * ROWS)
    batch = raw.WriteBatch(
        keys=[raw.Column(name="user", int64s=keys.tobytes())],
        features=[
            raw.Column(name="value", int64s=np.full(ROWS, number).tobytes()),
            raw.Column(name="more", float32s=np.zeros(ROWS * WIDTH, np.float32).tobytes()),
        ],
    )
    return raw.WriteFeaturesRequest(view="numbers", batch=batch).SerializeToString()


def one_call(stream: int, method: str, body: bytes) -> bytes:
    return frames.call(stream, SERVICE + method, **{"grpc-timeout": "20S"}) + frames.data(
        stream, frames.message(body), end=True
    )


def ended(peer: Peer) -> list[int]:
    """The streams whose answers have ended, in that order."""
    return [stream for kind, flags, stream, _ in peer.received if kind == frames.HEADERS and flags & frames.END_STREAM]


def test_a_read_passes_the_writes_that_came_before_it(numbers: RunningServer):
    peer = Peer(int(numbers.target.rpartition(":")[2]))
    writes = [2 * number + 1 for number in range(WRITES)]
    read = 2 * WRITES + 1
    selected = raw.FeatureSelection(features=["numbers:value"]).SerializeToString()
    keys = raw.Column(name="user", int64s=np.int64(WRITES * ROWS - 1).tobytes())
    request = raw.GetFeaturesRequest(selection=selected, keys=[keys]).SerializeToString()
    burst = b"".join(one_call(stream, "WriteFeatures", write(number)) for number, stream in enumerate(writes))
    peer.send(burst + one_call(read, "GetFeatures", request))
    while len(ended(peer)) < WRITES + 1:
        assert peer.read(), "the server ended the connection"
    peer.close()
    assert sorted(ended(peer)) == [*writes, read]
    body = b"".join(payload for kind, _, stream, payload in peer.received if (kind, stream) == (frames.DATA, read))
    matrix = raw.GetFeaturesResponse.FromString(body[5:]).matrix
    assert np.frombuffer(matrix.int64s, np.int64).tolist() == [BEFORE]  # the last write has not been done yet
    with featurestore_client.connect(numbers.url) as client:
        found = client.get(["numbers:value"], {"user": np.arange(WRITES * ROWS)})
        assert found["value"].tolist() == [number for number in range(WRITES) for _ in range(ROWS)]


def test_who_goes_away_while_its_writes_wait_disturbs_nobody(numbers: RunningServer):
    for _ in range(20):
        peer = Peer(int(numbers.target.rpartition(":")[2]))
        peer.send(b"".join(one_call(2 * number + 1, "WriteFeatures", write(number)) for number in range(WRITES)))
        peer.close()
    with featurestore_client.connect(numbers.url) as client:
        client.write("numbers", {"user": [7], "value": [1], "more": [[0] * WIDTH]})
        assert client.get(["numbers:value"], {"user": [7]})["value"].tolist() == [1]
    assert "error" not in numbers.log.lower()
