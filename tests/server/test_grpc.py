"""The gRPC surface of a real server process on each engine, through grpcio's own client and the public descriptors."""

import signal
import subprocess
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from featurestore.server.wire import featurestore_pb2 as public
from tests.conftest import ENGINES, require_engine

SERVICE = "/featurestore.v1.FeatureStore/"
DEFINITIONS = public.Definitions(
    entities=[{"name": "user", "join_keys": [{"name": "user_id", "type": "int64"}]}],
    feature_views=[
        {"name": "users", "entity": "user", "features": [{"name": "a", "type": "float32"}, {"name": "b", "type": "float32"}]}
    ],
)


def call(channel: grpc.Channel, message, **options):
    name = type(message).__name__.removesuffix("Request")
    answer = getattr(public, name + "Response")
    method = channel.unary_unary(SERVICE + name, type(message).SerializeToString, answer.FromString)
    return method(message, timeout=options.pop("timeout", 20), **options)


def read(*keys: int) -> public.GetFeaturesRequest:
    return public.GetFeaturesRequest(selection={"features": ["users:a", "users:b"]}, keys=[{"name": "user_id", "int64s": keys}])


def batch(*keys: int) -> public.WriteBatch:
    return public.WriteBatch(
        keys=[{"name": "user_id", "int64s": keys}],
        features=[{"name": "a", "float32s": keys}, {"name": "b", "float32s": keys}],
    )


@pytest.fixture(
    scope="module", params=[(engine, workers) for engine in ENGINES for workers in (0, 2)], ids="{0[0]}-{0[1]}".format
)
def start(request, start_server):
    """Starts servers of each engine, of one process and of several."""
    engine, workers = request.param
    require_engine(engine)
    return partial(start_server, "--grpc-engine", engine, "--workers", str(workers))


@pytest.fixture(scope="module")
def server(start):
    return start()


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.target) as channel:
        call(channel, public.ApplyRequest(definitions=DEFINITIONS))
        yield channel


def details_of(error: grpc.RpcError) -> public.ErrorDetails:
    status = public.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    details = public.ErrorDetails()
    assert status.details[0].Unpack(details)
    return details


def test_writes_and_reads_through_the_public_contract(channel):
    counts = call(channel, public.WriteFeaturesRequest(view="users", batch=batch(1, 2))).counts
    assert counts.rows == 2
    answer = call(channel, read(2, 1))
    assert list(answer.matrix.float32s) == [2, 2, 1, 1]


def test_errors_carry_field_value_and_expectation(channel):
    request = read(1)
    request.selection.features[:] = ["user:a"]
    with pytest.raises(grpc.RpcError) as raised:
        call(channel, request)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    violation = details_of(raised.value).violations[0]
    assert (violation.field, violation.value, violation.expected) == ("feature view", "'user'", "one like 'users'")
    with pytest.raises(grpc.RpcError) as raised:
        call(
            channel, public.GetFeaturesRequest(selection={"features": ["users:a"]}, keys=[{"name": "user_id", "bools": [True]}])
        )
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    violation = details_of(raised.value).violations[0]
    assert (violation.field, violation.value) == ("keys.user_id", "'values in bools'")
    assert violation.expected == "int64 values, in int64s"


def test_many_mistakes_at_once_fit_into_the_headers(channel):
    definitions = public.Definitions()
    for number in range(300):
        definitions.feature_views.add(name=f"view_{number}_ü", entity="nobody", features=[{"name": "1", "type": "flot32"}])
    with pytest.raises(grpc.RpcError) as raised:
        call(channel, public.ApplyRequest(definitions=definitions))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "900 mistakes" in raised.value.details()
    assert len(details_of(raised.value).violations) > 5


def test_a_hostile_name_does_not_come_back_whole(channel):
    request = public.WriteFeaturesRequest(view="ü\n" * 1_000_000, batch=batch(1))
    with pytest.raises(grpc.RpcError) as raised:
        call(channel, request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(raised.value.details()) < 1_000


def test_unknown_methods_are_unimplemented(channel):
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(SERVICE + "GetEverything")(b"", timeout=20)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_over_the_limit_is_resource_exhausted(start):
    server = start("--message-bytes-max", "100000")
    with grpc.insecure_channel(server.target) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(SERVICE + "GetFeatures")(bytes(200_000), timeout=20)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        call(channel, public.ListTablesRequest())


def test_reflection_shows_the_public_contract(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == {
        "featurestore.v1.FeatureStore",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("featurestore.v1.FeatureStore")
    own = public.DESCRIPTOR.services_by_name["FeatureStore"]
    assert [method.name for method in service.methods] == [method.name for method in own.methods]
    column = GetMessageClass(pool.FindMessageTypeByName("featurestore.v1.Column"))
    assert column(float32s=[1, 2]).SerializeToString() == public.Column(float32s=[1, 2]).SerializeToString()


def test_health_is_serving_and_unknown_services_are_not_found(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "featurestore.v1.FeatureStore"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as raised:
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=20)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="other"), timeout=20)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


class Feed:
    """Requests of a stream, handed over one by one."""

    def __init__(self, *messages) -> None:
        self._messages = list(messages)
        self._arrived = threading.Condition()
        self._ended = False

    def send(self, message) -> None:
        with self._arrived:
            self._messages.append(message)
            self._arrived.notify()

    def end(self) -> None:
        with self._arrived:
            self._ended = True
            self._arrived.notify()

    def __iter__(self):
        return self

    def __next__(self):
        with self._arrived:
            self._arrived.wait_for(lambda: self._messages or self._ended)
            if not self._messages:
                raise StopIteration
            return self._messages.pop(0)


def ingest(channel: grpc.Channel, feed: Feed):
    method = channel.stream_stream(
        SERVICE + "IngestFeatures", public.IngestFeaturesRequest.SerializeToString, public.IngestFeaturesResponse.FromString
    )
    return method(iter(feed), timeout=30)


def test_ingestion_acknowledges_while_the_stream_is_open(channel):
    feed = Feed(public.IngestFeaturesRequest(view="users", sequence=1, batch=batch(10)))
    answers = ingest(channel, feed)
    assert next(answers).sequence == 1
    feed.send(public.IngestFeaturesRequest(sequence=2, batch=batch(11, 12)))
    answer = next(answers)
    assert (answer.sequence, answer.counts.rows) == (2, 3)
    feed.end()
    assert list(answers) == []


def test_sigterm_ends_streams_after_their_batch_and_exits_0(start):
    server = start()
    with grpc.insecure_channel(server.target) as channel:
        call(channel, public.ApplyRequest(definitions=DEFINITIONS))
        feed = Feed(public.IngestFeaturesRequest(view="users", sequence=1, batch=batch(10)))
        answers = ingest(channel, feed)
        assert next(answers).sequence == 1
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        began = time.monotonic()
        server.process.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as raised:
            next(answers)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "draining" in raised.value.details()
        feed.end()
        assert server.stop() == 0
        assert time.monotonic() - began < 8  # well before the drain's time is over


def test_signals_that_go_on_to_the_end_do_not_change_how_it_ends(start):
    server = start()
    while server.process.returncode is None:
        server.process.send_signal(signal.SIGTERM)
        # Some come after all is closed. They are fewer than 20,000 a second: the kernel rounds what is left of a sleep that a
        # signal interrupts up by 50 us, so that one of grpcio's in C, however short, would never end.
        with suppress(subprocess.TimeoutExpired):
            server.process.wait(0.0003)
    assert server.stop() == 0
    assert server.events[-1]["event"] == "stopped"


def test_rows_survive_a_restart_of_the_server(start_server):
    first = start_server()
    with grpc.insecure_channel(first.target) as channel:
        call(channel, public.ApplyRequest(definitions=DEFINITIONS))
        call(channel, public.WriteFeaturesRequest(view="users", batch=batch(1, 2)))
    assert first.stop() == 0
    second = start_server(directory=first.directory)
    with grpc.insecure_channel(second.target) as channel:
        assert list(call(channel, read(2)).matrix.float32s) == [2, 2]


# ---------------------------------------------------------------------------------------------------------------- security


def secure_channel(server, certificates: Path, *, with_certificate: bool = False) -> grpc.Channel:
    parts = ("client.key", "client.pem") if with_certificate else ()
    credentials = grpc.ssl_channel_credentials(
        (certificates / "ca.pem").read_bytes(), *((certificates / part).read_bytes() for part in parts)
    )
    return grpc.secure_channel(server.target, credentials)


def test_tls_and_api_keys_protect_a_server_for_other_machines(start, certificates, tmp_path: Path):
    keys = tmp_path / "keys.txt"
    keys.write_text("# who: what for\nfirst-secret  # the model server\n\nsecond-secret\n")
    tls = ("--tls-certificate", f"{certificates}/server.pem", "--tls-key", f"{certificates}/server.key")
    server = start("--listen", "0.0.0.0:0", *tls, "--api-keys-file", str(keys))
    assert server.url.startswith("grpcs://")
    port = server.target.rpartition(":")[2]
    with grpc.secure_channel(
        f"127.0.0.1:{port}", grpc.ssl_channel_credentials((certificates / "ca.pem").read_bytes())
    ) as channel:
        for key in ("first-secret", "second-secret"):
            call(channel, public.ListTablesRequest(), metadata=[("authorization", f"Bearer {key}")])
        for metadata in ([], [("authorization", "Bearer wrong")], [("authorization", "first-secret")]):
            for request in (public.ListTablesRequest(), public.TakeSnapshotRequest(), read(1)):
                with pytest.raises(grpc.RpcError) as raised:
                    call(channel, request, metadata=metadata)
                assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as raised:
            next(ingest(channel, Feed(public.IngestFeaturesRequest(view="users", sequence=1, batch=batch(10)))))
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
        for name in ("ExportFeatures", "Backup"):
            with pytest.raises(grpc.RpcError) as raised:
                next(channel.unary_stream(f"/featurestore.v1.FeatureStore/{name}")(b"", timeout=20))
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert "secret" not in server.log


def test_mutual_tls_asks_for_a_certificate(start, certificates):
    tls = ("--tls-certificate", f"{certificates}/server.pem", "--tls-key", f"{certificates}/server.key")
    server = start(*tls, "--tls-client-ca", f"{certificates}/ca.pem")
    with secure_channel(server, certificates, with_certificate=True) as channel:
        call(channel, public.ListTablesRequest())
    with secure_channel(server, certificates) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            call(channel, public.ListTablesRequest(), timeout=10)
        assert raised.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def test_a_key_that_is_not_the_certificates_is_told(start_server, certificates):
    tls = ("--tls-certificate", f"{certificates}/server.pem", "--tls-key", f"{certificates}/client.key")
    server = start_server(*tls, ready=False)
    assert server.wait() == 1
    assert "tls_certificate: got" in server.log
    assert "expected a PEM certificate that fits the key in" in server.log
    assert "(key values mismatch)" in server.log
    assert "Traceback" not in server.log
    tls = ("--tls-certificate", f"{certificates}/server.csr", "--tls-key", f"{certificates}/server.key")
    server = start_server(*tls, ready=False)
    assert server.wait() == 1
    assert "expected a PEM certificate" in server.log
