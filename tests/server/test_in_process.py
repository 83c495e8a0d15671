"""The client's transport without a network: its streams, its end. What is read and written by it: ``tests/conformance``."""

import threading

import pytest
from featurestore_client import errors

from featurestore.server.in_process import InProcessTransport
from featurestore.server.methods import PREFIX, own_methods
from featurestore.server.opening import open_service
from featurestore.server.status import StatusBoard
from featurestore.server.wire import featurestore_pb2 as public
from featurestore.settings import load_settings

DEFINITIONS = public.Definitions(
    entities=[{"name": "user", "join_keys": [{"name": "user_id", "type": "int64"}]}],
    feature_views=[{"name": "users", "entity": "user", "features": [{"name": "a", "type": "float32"}]}],
)


def opened(directory, **settings):
    settings, _ = load_settings({"directory": directory, **settings})
    service, board = open_service(settings), StatusBoard.of_this_process()
    return InProcessTransport(own_methods(service, board, board.slots[0]), service.close)


@pytest.fixture
def transport(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATURESTORE_SEGMENTS", str(tmp_path / "segments"))
    transport = opened(tmp_path / "store")
    transport.unary(PREFIX + "Apply", public.ApplyRequest(definitions=DEFINITIONS).SerializeToString(), timeout_s=10)
    yield transport
    transport.close()


def message(sequence: int, keys: list[int], view: str = "users") -> bytes:
    batch = public.WriteBatch(keys=[{"name": "user_id", "int64s": keys}], features=[{"name": "a", "float32s": keys}])
    return public.IngestFeaturesRequest(view=view, sequence=sequence, batch=batch).SerializeToString()


def test_a_stream_is_answered_while_it_is_open(transport):
    answered = threading.Semaphore(0)

    def requests():
        for sequence in (1, 2, 3):
            yield message(sequence, [sequence])
            assert answered.acquire(timeout=10)  # the next one comes only after the answer to this

    seen = []
    for data in transport.stream(PREFIX + "IngestFeatures", requests(), timeout_s=30):
        seen.append(public.IngestFeaturesResponse.FromString(data).sequence)
        answered.release()
    assert seen == [1, 2, 3]


def test_what_the_callers_own_iterator_raises_comes_back_as_it_is(transport):
    def requests():
        yield message(1, [1])
        raise KeyError("the file ended early")

    answers = transport.stream(PREFIX + "IngestFeatures", requests(), timeout_s=30)
    assert public.IngestFeaturesResponse.FromString(next(answers)).sequence == 1
    with pytest.raises(KeyError, match="the file ended early"):
        next(answers)


def test_a_mistake_in_a_stream_is_the_clients_error(transport):
    answers = transport.stream(PREFIX + "IngestFeatures", iter([message(1, [1]), message(1, [2])]), timeout_s=30)
    next(answers)
    with pytest.raises(errors.InvalidArgumentError, match="sequence"):
        next(answers)


def test_leaving_a_stream_early_ends_it(transport):
    answers = transport.stream(PREFIX + "IngestFeatures", iter([message(n, [n]) for n in range(1, 100)]), timeout_s=30)
    next(answers)
    answers.close()
    transport.unary(PREFIX + "ListTables", b"", timeout_s=10)


def test_time_that_is_up_is_told(transport):
    with pytest.raises(errors.DeadlineExceededError):
        transport.unary(PREFIX + "ListTables", b"", timeout_s=0)


def test_a_directory_that_another_holds_is_told(transport, tmp_path):
    with pytest.raises(errors.FailedPreconditionError, match="is held by process"):
        opened(tmp_path / "store")


def test_a_closed_transport_says_so(transport):
    transport.close()
    with pytest.raises(errors.UnavailableError, match="closed"):
        transport.unary(PREFIX + "ListTables", b"", timeout_s=10)


def test_a_write_waits_for_the_disk_where_that_is_promised(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATURESTORE_SEGMENTS", str(tmp_path / "segments"))
    transport = opened(tmp_path / "store", fsync="always")
    transport.unary(PREFIX + "Apply", public.ApplyRequest(definitions=DEFINITIONS).SerializeToString(), timeout_s=10)
    batch = public.WriteBatch(keys=[{"name": "user_id", "int64s": [1]}], features=[{"name": "a", "float32s": [1.0]}])
    request = public.WriteFeaturesRequest(view="users", batch=batch).SerializeToString()
    answer = public.WriteFeaturesResponse.FromString(transport.unary(PREFIX + "WriteFeatures", request, timeout_s=10))
    assert answer.counts.inserted == 1
    transport.close()
