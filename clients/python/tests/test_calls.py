"""Deadlines, retries, errors and what is remembered between calls, for both kinds of client, over real sockets."""

import inspect
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import featurestore_client
import grpc
import numpy as np
import pytest
from featurestore_client import (
    AsyncClient,
    CancelledError,
    Client,
    DeadlineExceededError,
    ErrorCode,
    FeatureStoreError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    RetryPolicy,
    UnavailableError,
    UnimplementedError,
    Violation,
    reads,
)
from featurestore_client.wire import featurestore_raw_pb2 as wire

QUICK = RetryPolicy(backoff_s=0.001, backoff_max_s=0.01)
Connect = Callable[..., Any]


def schema(*types: str) -> bytes:
    features = [wire.AnswerFeature(name=f"f{i}", type=text) for i, text in enumerate(types)]
    join_keys = [wire.JoinKey(name="carrier", type="string")]
    return wire.AnswerSchema(features=features, views=["v"], join_keys=join_keys).SerializeToString()


class Store:
    """A GetFeatures handler that answers as a server does: with the schema only to those who do not know it."""

    def __init__(self) -> None:
        self.requests: list[wire.GetFeaturesRequest] = []
        self.schema_id = 1
        self.types: tuple[str, ...] = ("float32", "float32")

    def __call__(self, encoded: bytes, context: grpc.ServicerContext) -> bytes:
        request = wire.GetFeaturesRequest.FromString(encoded)
        self.requests.append(request)
        rows = len(request.keys[0].offsets) // 4 - 1
        values = np.full((rows, len(self.types)), self.schema_id)
        column = (
            wire.Column(float32s=values.astype(np.float32).tobytes())
            if self.types[0] == "float32"
            else wire.Column(int64s=values.astype(np.int64).tobytes())
        )
        answer = wire.GetFeaturesResponse(rows=rows, schema_id=self.schema_id, matrix=column)
        if request.known_schema_id != self.schema_id:
            answer.schema = schema(*self.types)
        return answer.SerializeToString()


def refuse(code: grpc.StatusCode, message: str, details: bytes = b"") -> Callable[[Any, grpc.ServicerContext], Any]:
    def handler(_request: Any, context: grpc.ServicerContext) -> Any:
        if details:
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(code, message)

    return handler


def test_names_are_resolved_once(server: Any, connect: Connect) -> None:
    store = server.handlers["GetFeatures"] = Store()
    client = connect(server.address)
    for _ in range(3):
        batch = client.get("delay_model_v1", {"carrier": ["AA", "UA"]}, event_timestamps=True)
        assert batch.to_numpy().tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert [request.known_schema_id for request in store.requests] == [0, 1, 1]
    selection = wire.FeatureSelection.FromString(store.requests[0].selection)
    assert selection == wire.FeatureSelection(project="default", service="delay_model_v1", event_timestamps=True)
    assert {request.selection for request in store.requests} == {store.requests[0].selection}


def test_so_many_selections_are_remembered_and_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "SELECTIONS_MAX", 2)
    selections = reads.Selections()
    for number in range(4):
        selections.find(f"service_{number}", "default", False, False)
    assert [features for features, *_ in selections.known] == ["service_2", "service_3"]


def test_a_changed_schema_is_learned_and_the_next_call_names_it(server: Any, connect: Connect) -> None:
    store = server.handlers["GetFeatures"] = Store()
    client = connect(server.address)
    assert client.get(["v:a", "v:b"], {"carrier": "AA"}).names == ("f0", "f1")
    store.schema_id, store.types = 2, ("int64", "int64", "int64")
    changed = client.get(["v:a", "v:b"], {"carrier": "AA"})
    assert changed.names == ("f0", "f1", "f2")
    assert changed.to_numpy().dtype == np.int64
    client.get(("v:a", "v:b"), {"carrier": "AA"})
    assert [request.known_schema_id for request in store.requests] == [0, 1, 2]


def test_an_answer_without_a_schema_that_was_named_is_a_defect(server: Any, connect: Connect) -> None:
    server.handlers["GetFeatures"] = lambda _request, _context: wire.GetFeaturesResponse(
        rows=1, schema_id=9
    ).SerializeToString()
    with pytest.raises(InternalError, match="schema 9"):
        connect(server.address).get("s", {"carrier": "AA"})


FOREIGN_CODES = (ErrorCode.UNKNOWN, ErrorCode.ABORTED, ErrorCode.OUT_OF_RANGE, ErrorCode.DATA_LOSS)
"""That no feature store answers with, and that have no class."""
TRIED_AGAIN = (ErrorCode.UNAVAILABLE, ErrorCode.CANCELLED)
OUR_CODES = [code for code in ErrorCode if code not in (*TRIED_AGAIN, *FOREIGN_CODES)]


@pytest.mark.parametrize("code", OUR_CODES)
def test_each_code_has_its_error_with_message_and_violations(server: Any, connect: Connect, code: ErrorCode) -> None:
    details = wire.ErrorDetails(violations=[wire.Violation(field="service", value="'x'", expected="y", object="o")])
    status = wire.Status(message="no such thing")
    status.details.add(type_url="type.googleapis.com/google.rpc.Help", value=b"\xff")
    status.details.add(type_url="type.googleapis.com/featurestore.v1.ErrorDetails", value=details.SerializeToString())
    server.handlers["GetFeatures"] = refuse(grpc.StatusCode[code.value], "no such thing", status.SerializeToString())
    with pytest.raises(FeatureStoreError) as caught:
        connect(server.address).get("x", {"carrier": ["AA"]})
    error = caught.value
    assert type(error).__name__ == "".join(word.title() for word in code.value.split("_")) + "Error"
    assert error.code is code
    assert str(error) == error.message == "no such thing"
    assert error.violations == (Violation("service", "'x'", "y", "o"),)


def test_foreign_status_details_do_not_hide_the_error(server: Any, connect: Connect) -> None:
    server.handlers["GetFeatures"] = refuse(grpc.StatusCode.NOT_FOUND, "gone", b"\xff\xff\xff")
    with pytest.raises(NotFoundError, match="gone") as caught:
        connect(server.address).get("x", {"carrier": ["AA"]})
    assert caught.value.violations == ()


def test_an_unknown_method_is_unimplemented(server: Any, connect: Connect) -> None:
    with pytest.raises(UnimplementedError):
        connect(server.address).list_projects()


def test_a_stalled_call_ends_at_its_deadline(server: Any, connect: Connect) -> None:
    over = threading.Event()
    server.handlers["ListProjects"] = lambda _request, _context: over.wait(20) and b""
    started_s = time.monotonic()
    try:
        with pytest.raises(DeadlineExceededError, match=r"ListProjects did not end within 0\.2 s"):
            connect(server.address, timeout_s=0.2).list_projects()
        assert time.monotonic() - started_s < 5
    finally:
        over.set()


def test_a_deadline_covers_all_calls_of_a_method(server: Any, connect: Connect) -> None:
    server.describes({"carrier": "string"}, {"delay": "float32"})
    over = threading.Event()
    for method in ("DescribeFeatureView", "DescribeEntity", "WriteFeatures"):
        answer = server.handlers.get(method, lambda _request, _context: b"")
        server.handlers[method] = lambda request, context, answer=answer: over.wait(0.3) or answer(request, context)
    started_s = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        connect(server.address).write("delays", {"carrier": ["AA"]}, timeout_s=0.5)
    assert time.monotonic() - started_s < 0.8


def test_a_timeout_must_be_one(server: Any, connect: Connect) -> None:
    for timeout_s in (0, -1, "5"):
        with pytest.raises(InvalidArgumentError, match="timeout_s: got"):
            connect(server.address).list_tables(timeout_s=timeout_s)


class Failing:
    """Refuses the first calls with UNAVAILABLE, then answers."""

    def __init__(self, failures: int, answer: bytes) -> None:
        self.left = failures
        self.answer = answer

    def __call__(self, _request: Any, context: grpc.ServicerContext) -> bytes:
        if self.left:
            self.left -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
        return self.answer


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("GetFeatures", lambda client: client.get("s", {"carrier": ["AA"]})),
        ("ListTables", lambda client: client.list_tables()),
        ("WriteFeatures", lambda client: client.write("delays", {"carrier": ["AA"]}, event_timestamps=5)),
        ("DeleteFeatures", lambda client: client.delete("delays", {"carrier": ["AA"]}, event_timestamps=5)),
        ("Apply", lambda client: client.apply({}, dry_run=True)),
    ],
)
def test_what_can_be_repeated_is(server: Any, connect: Connect, method: str, call: Callable[[Any], Any]) -> None:
    server.describes({"carrier": "string"}, {"delay": "float32"})
    store = Store()
    answer = store(wire.GetFeaturesRequest(keys=[wire.Column(offsets=bytes(8))]).SerializeToString(), None)  # type: ignore[arg-type]
    server.handlers[method] = Failing(3, answer if method == "GetFeatures" else b"")
    call(connect(server.address, retry=QUICK))
    assert server.calls.count(method) == 4


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("WriteFeatures", lambda client: client.write("delays", {"carrier": ["AA"]})),
        ("DeleteFeatures", lambda client: client.delete("delays", {"carrier": ["AA"]})),
        ("Apply", lambda client: client.apply({})),
    ],
)
def test_what_cannot_be_repeated_is_not(server: Any, connect: Connect, method: str, call: Callable[[Any], Any]) -> None:
    server.describes({"carrier": "string"}, {"delay": "float32"})
    server.handlers[method] = Failing(1, b"")
    with pytest.raises(UnavailableError, match=r"draining \(server grpc://127.0.0.1"):
        call(connect(server.address, retry=QUICK))
    assert server.calls.count(method) == 1


def test_only_unavailable_is_repeated(server: Any, connect: Connect) -> None:
    server.handlers["GetFeatures"] = refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")
    with pytest.raises(FeatureStoreError, match="too many"):
        connect(server.address, retry=QUICK).get("s", {"carrier": ["AA"]})
    assert server.calls == ["GetFeatures"]


def test_attempts_are_bounded_by_number_and_by_deadline(server: Any, connect: Connect) -> None:
    server.handlers["ListTables"] = Failing(1_000, b"")
    with pytest.raises(UnavailableError):
        connect(server.address, retry=RetryPolicy(attempts_max=3, backoff_s=0.001)).list_tables()
    assert len(server.calls) == 3
    started_s = time.monotonic()
    with pytest.raises(UnavailableError):
        connect(server.address, retry=RetryPolicy(attempts_max=1_000, backoff_s=0.05), timeout_s=0.3).list_tables()
    assert time.monotonic() - started_s < 2


def test_a_restarted_server_is_found_again(server: Any, connect: Connect) -> None:
    server.handlers["GetFeatures"] = Store()
    client = connect(server.address, timeout_s=20)
    assert client.get("s", {"carrier": ["AA"]}).rows == 1
    server.stop()
    again = threading.Timer(0.3, server.start)
    again.start()
    try:
        assert client.get("s", {"carrier": ["AA"]}).rows == 1
    finally:
        again.join()


def test_what_no_server_can_have_seen_is_repeated_whatever_it_is(server: Any, connect_native: Connect) -> None:
    server.handlers["Apply"] = lambda _request, _context: b""
    client = connect_native(server.address)
    client.apply({})
    server.stop()
    again = threading.Timer(0.3, server.start)
    again.start()
    try:
        client.apply({})
    finally:
        again.join()
    assert server.calls == ["Apply", "Apply"]


def test_no_server_is_unavailable_with_the_address(server: Any, connect: Connect) -> None:
    server.stop()
    with pytest.raises(UnavailableError, match=server.address):
        connect(server.address, retry=RetryPolicy(attempts_max=2, backoff_s=0.001)).list_tables()


def test_a_closed_client_says_so(server: Any, connect: Connect) -> None:
    server.handlers["ListTables"] = lambda _request, _context: b""
    client = featurestore_client.connect(server.address)
    with client:
        assert client.list_tables() == []
    with pytest.raises(CancelledError, match="closed"):
        client.list_tables()


@pytest.mark.parametrize("connect_as", [featurestore_client.connect, featurestore_client.connect_async])
def test_a_client_is_not_pickled_and_says_what_to_do_instead(connect_as: Callable[[str], object]) -> None:
    with pytest.raises(TypeError, match="connect in the process that uses it"):
        pickle.dumps(connect_as("grpc://127.0.0.1"))


def test_the_api_key_goes_along(server: Any, connect: Connect) -> None:
    server.handlers["ListTables"] = lambda _request, _context: b""
    connect(server.address, api_key="secret").list_tables()
    assert server.metadata[0]["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:7400", "http://127.0.0.1:7400", "grpc://", "grpc://host:99999", "grpc://host/path", "", "grpc://u@host"],
)
def test_a_wrong_address_is_refused(address: str) -> None:
    with pytest.raises(
        InvalidArgumentError,
        match="expected featurestore://host, shm://host, grpc://host:port, grpcs://host:port with TLS, or unix:///path",
    ):
        featurestore_client.connect(address)


def test_tls_options_need_tls() -> None:
    with pytest.raises(InvalidArgumentError, match="expected grpcs:// where TLS options are given"):
        featurestore_client.connect("grpc://host", ca_certificate=b"pem")
    with pytest.raises(InvalidArgumentError, match="client_certificate and client_key together"):
        featurestore_client.connect("grpcs://host", client_key=b"pem")
    with pytest.raises(InvalidArgumentError, match=r"ca_certificate: got '/nowhere\.pem'"):
        featurestore_client.connect("grpcs://host", ca_certificate="/nowhere.pem")


def test_tls_with_certificates_on_both_sides(server: Any, connect: Connect, certificates: Path) -> None:
    server.stop()
    pair = ((certificates / "server.key").read_bytes(), (certificates / "server.pem").read_bytes())
    authority = (certificates / "ca.pem").read_bytes()
    server.start(grpc.ssl_server_credentials([pair], authority, require_client_auth=True))
    server.handlers["ListTables"] = lambda _request, _context: b""
    address = server.address.replace("grpc:", "grpcs:")
    shown = {"client_certificate": certificates / "client.pem", "client_key": str(certificates / "client.key")}
    assert connect(address, ca_certificate=authority, server_name="store.test", **shown).list_tables() == []
    once = RetryPolicy(attempts_max=1)
    with pytest.raises(UnavailableError):
        connect(address, ca_certificate=authority, server_name="store.test", retry=once).list_tables()
    with pytest.raises(UnavailableError):
        connect(address, server_name="store.test", retry=once, **shown).list_tables()


def test_a_remembered_view_that_has_changed_is_asked_for_again(server: Any, connect: Connect) -> None:
    server.describes({"carrier": "string"}, {"delay": "float32"})
    written: list[wire.WriteFeaturesRequest] = []
    server.handlers["WriteFeatures"] = lambda request, _context: (
        written.append(wire.WriteFeaturesRequest.FromString(request))
        or wire.WriteFeaturesResponse(counts=wire.WriteCounts(rows=1, inserted=1)).SerializeToString()
    )
    client = connect(server.address)
    assert client.write("delays", {"carrier": ["AA"], "delay": [1]}) == (1, 1, 0, 0, 0)
    client.write("delays", {"carrier": ["AA"], "delay": [1]})
    assert server.calls.count("DescribeFeatureView") == 1
    server.describes({"carrier": "string"}, {"delay": "float32", "late": "bool"})
    client.write("delays", {"carrier": ["AA"], "late": [True]})
    assert server.calls.count("DescribeFeatureView") == 2
    assert written[-1].batch.features[0].bools == b"\x01"
    with pytest.raises(InvalidArgumentError, match="column: got 'earl'"):
        client.write("delays", {"carrier": ["AA"], "earl": [True]})


def test_definitions_go_out_and_come_back_in_one_shape(server: Any, connect: Connect) -> None:
    received: list[wire.ApplyRequest] = []

    def apply(request: bytes, _context: Any) -> bytes:
        received.append(wire.ApplyRequest.FromString(request))
        change = wire.Change(action=1, kind="entity", project="default", name="carrier", effect="new")
        return wire.ApplyResponse(changes=[change], applied=True).SerializeToString()

    server.handlers["Apply"] = apply
    document = {
        "entities": [{"name": "carrier", "join_keys": [{"name": "carrier", "type": "string"}]}],
        "feature_views": [
            {
                "name": "delays",
                "entity": "carrier",
                "features": [{"name": "delay", "type": "float32"}],
                "ttl": 900,
                "tags": {"a": "b"},
            }
        ],
        "feature_services": [{"name": "m_v1", "features": ["delays:delay as d"]}],
    }
    client = connect(server.address)
    result = client.apply(document, prune=True)
    assert result.applied
    assert (result.changes[0].action, result.changes[0].name) == ("create", "carrier")
    assert received[0].prune
    definitions = received[0].definitions
    assert definitions.feature_views[0].ttl == "900s"
    assert definitions.feature_services[0].features[0] == wire.FeatureReference(view="delays", feature="delay", name="d")
    server.handlers["ListFeatureViews"] = lambda _request, _context: wire.ListFeatureViewsResponse(
        feature_views=definitions.feature_views
    ).SerializeToString()
    listed = client.list_feature_views()
    assert listed[0]["tags"] == {"a": "b"}
    assert listed[0]["retention"] is None
    assert listed[0]["source"] is None
    client.apply({"feature_views": listed})
    assert received[1].definitions.feature_views == definitions.feature_views


@pytest.mark.parametrize(
    ("definitions", "message"),
    [
        ({"entity": []}, "definitions: got 'entity', expected only projects, entities, feature_views, feature_services"),
        ({"entities": [{"nam": "x"}]}, 'has no field named "nam"'),
        ({"feature_services": [{"name": "x", "features": ["a"]}]}, "features: got 'a', expected 'view:feature'"),
        ("carrier.yaml", "definitions: got 'carrier.yaml', expected a mapping"),
        ([5], "definitions: got 5, expected a Project, Entity, FeatureView or FeatureService"),
    ],
)
def test_definitions_of_another_shape_are_refused(server: Any, connect: Connect, definitions: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        connect(server.address).apply(definitions)
    assert message in str(caught.value)


@pytest.mark.parametrize("keys", [{}, None, ["AA"]])
def test_keys_must_be_a_mapping(server: Any, connect: Connect, keys: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="keys: got"):
        connect(server.address).get("s", keys)


@pytest.mark.parametrize("features", [5, ["a", 5], [["a"]]])
def test_features_must_be_names(server: Any, connect: Connect, features: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="expected a service's name, or a list of 'view:feature'"):
        connect(server.address).get(features, {"carrier": ["AA"]})


def test_many_threads_share_a_client(server: Any) -> None:
    server.handlers["GetFeatures"] = Store()
    failures: list[BaseException] = []
    with featurestore_client.connect(server.address) as client:

        def ask(service: str) -> None:
            try:
                for rows in range(1, 30):
                    assert client.get(service, {"carrier": ["AA"] * rows}).to_numpy().shape == (rows, 2)  # type: ignore[union-attr]
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=ask, args=(f"s{i % 3}",)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_both_clients_have_the_same_methods() -> None:
    for name, method in vars(Client).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            other = getattr(AsyncClient, name)
            assert inspect.iscoroutinefunction(other), name
            assert inspect.signature(method).parameters == inspect.signature(other).parameters, name


def test_the_client_needs_nothing_of_the_server() -> None:
    unwanted = ("featurestore", "pyarrow", "pandas", "pydantic")
    code = f"import featurestore_client, sys; print([m for m in sys.modules if m.split('.')[0] in {unwanted}])"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"


def test_an_overloaded_server_says_when_to_try_again(server: Any, connect: Connect) -> None:
    def overloaded(_request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "250"),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded")

    server.handlers["ListTables"] = overloaded
    client = connect(server.address)
    with pytest.raises(ResourceExhaustedError, match="overloaded") as raised:
        client.list_tables()
    assert raised.value.retry_after_s == 0.25
    server.handlers["ListTables"] = refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "a limit")
    with pytest.raises(ResourceExhaustedError, match="a limit") as raised:
        client.list_tables()
    assert raised.value.retry_after_s is None
