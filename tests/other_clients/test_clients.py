"""Clients that are not ours, over both engines.

Each reads a null and a key that is not there, is refused with a sentence, meets a deadline, and writes a stream.
"""

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest
from featurestore_client.grpc_framing import frame
from grpc_health.v1 import health_pb2

from featurestore.server.wire import featurestore_pb2 as public
from tests.other_clients.conftest import HERE, ROOT, run

GET = "/featurestore.v1.FeatureStore/GetFeatures"
INGEST = "/featurestore.v1.FeatureStore/IngestFeatures"
WATCH = "/grpc.health.v1.Health/Watch"
"""A call that does not end by itself."""
UNKNOWN = "feature service 'delay_model_ü' does not exist: expected one like 'delay_model_v1'"
SEEN = {
    "values": [[3.25, None], [7.5, 0.25], [None, None]],
    "statuses": [["PRESENT", "NULL"], ["PRESENT", "PRESENT"], ["NOT_FOUND", "NOT_FOUND"]],
    "error": {"code": 5, "message": UNKNOWN},
    "deadline": 4,
    "ingested": {"sequence": 2, "rows": 2},
}
SEEN_SECURED = {
    "services": 0,
    "error": {
        "code": 16,
        "message": "no API key: send the metadata 'authorization: Bearer KEY' (the client: api_key=...)",
    },
}

# ------------------------------------------------------------------------------------------------------- Go and JavaScript


def test_a_go_client_is_served(go_client: Path, target: str, written: set[str]) -> None:
    assert json.loads(run(go_client, target)) == SEEN
    written |= {"G1", "G2"}


def test_a_go_client_is_served_over_tls_with_an_api_key(go_client: Path, secured_target: str, certificates: Path) -> None:
    assert json.loads(run(go_client, "-ca", certificates / "ca.pem", "-key", "secret", secured_target)) == SEEN_SECURED


def test_a_javascript_client_is_served(node_modules: Path, target: str, written: set[str]) -> None:
    assert json.loads(javascript(node_modules, target)) == SEEN
    written |= {"J1", "J2"}


def test_a_javascript_client_is_served_over_tls_with_an_api_key(
    node_modules: Path, secured_target: str, certificates: Path
) -> None:
    assert json.loads(javascript(node_modules, secured_target, certificates / "ca.pem", "secret")) == SEEN_SECURED


def javascript(node_modules: Path, *arguments: str | Path) -> str:
    command = ("node", HERE / "javascript" / "client.js", ROOT / "proto", *arguments)
    return run(*command, environment={"NODE_PATH": str(node_modules)})


# --------------------------------------------------------------------------------------------- buf curl: all from reflection


def test_reflection_tells_a_tool_all_that_it_needs(node_modules: Path, target: str, written: set[str]) -> None:
    assert buf(node_modules, target, "", "--list-services").split() == [
        "featurestore.v1.FeatureStore",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    methods = public.DESCRIPTOR.services_by_name["FeatureStore"].methods
    listed = buf(node_modules, target, "", "--list-methods").split()
    assert {f"featurestore.v1.FeatureStore/{method.name}" for method in methods} < set(listed)

    answer = json.loads(buf(node_modules, target, GET, "--data", json.dumps(reading("delay_model_v1"))))
    assert answer["matrix"] == {"float32s": [3.25, "NaN", 7.5, 0.25, "NaN", "NaN"]}
    assert base64.b64decode(answer["rowStatuses"]) == bytes([0, 0, 2])
    assert base64.b64decode(answer["nulls"]) == bytes([0b10, 0, 0])

    refused = buf(node_modules, target, GET, "--data", json.dumps(reading("delay_model_ü")), code=8 * 5)
    assert json.loads(refused)["code"] == "not_found"
    assert json.loads(refused)["message"] == UNKNOWN
    assert json.loads(refused)["details"][0]["type"] == "featurestore.v1.ErrorDetails"

    late = buf(node_modules, target, WATCH, "--timeout", "1500ms", code=8 * 4)
    assert '"deadline_exceeded"' in late

    batches = "".join(json.dumps(ingesting(number, f"B{number}")) for number in (1, 2))
    acknowledged = buf(node_modules, target, INGEST, "--data", "@-", text=batches)
    assert [int(number) for number in re.findall(r'"sequence": "(\d+)"', acknowledged)] == [1, 2]
    written |= {"B1", "B2"}


def buf(node_modules: Path, target: str, path: str, *options: str, text: str | None = None, code: int = 0) -> str:
    """buf exits with eight times the status of the call."""
    (program,) = node_modules.glob("@bufbuild/buf-linux-*/bin/buf")
    return run(
        program,
        "curl",
        "--protocol",
        "grpc",
        "--http2-prior-knowledge",
        *options,
        f"http://{target}{path}",
        text=text,
        code=code,
    )


def reading(service: str) -> dict[str, object]:
    return {"selection": {"service": service}, "keys": [{"name": "carrier", "data": "VUFBQVpa", "offsets": [0, 2, 4, 6]}]}


def ingesting(sequence: int, carrier: str) -> dict[str, object]:
    keys = [{"name": "carrier", "data": base64.b64encode(carrier.encode()).decode(), "offsets": [0, len(carrier)]}]
    batch = {"keys": keys, "features": [{"name": "mean_delay", "float32s": [1.5]}]}
    return {"view": "carrier_delays", "sequence": sequence, "batch": batch}


# ------------------------------------------------------------------------------------- nghttp and h2load, which know HTTP/2


@pytest.fixture
def body(tmp_path: Path):
    """Puts the messages of a request, framed, into a file."""

    def make(*messages) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.bin"
        path.write_bytes(b"".join(frame(message.SerializeToString()) for message in messages))
        return str(path)

    return make


def get(service: str) -> public.GetFeaturesRequest:
    column = {"name": "carrier", "data": b"UAAAZZ", "offsets": [0, 2, 4, 6]}
    return public.GetFeaturesRequest(selection={"service": service}, keys=[column])


def call(target: str, path: str, body: str, *more: str) -> dict[str, str]:
    """What nghttp shows of the answer's headers and trailers."""
    headers = [argument for name in ("content-type: application/grpc", "te: trailers", *more) for argument in ("-H", name)]
    shown = run("nghttp", "-nv", "-d", body, *headers, f"http://{target}{path}")
    return dict(re.findall(r"recv \(stream_id=\d+(?:, sensitive)?\) (:?[a-z-]+): (.*)", shown))


def messages_of(data: bytes) -> list[bytes]:
    """Uncompressed messages, without their frames."""
    messages = []
    while data:
        assert data[0] == 0
        length = int.from_bytes(data[1:5], "big")
        messages.append(data[5 : 5 + length])
        data = data[5 + length :]
    return messages


@pytest.mark.usefixtures("nghttp")
def test_nghttp_is_served(target: str, body, written: set[str]) -> None:
    def sent(path: str, data: str) -> list[bytes]:
        headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
        command = ["nghttp", "-d", data, *headers, f"http://{target}{path}"]
        return messages_of(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)

    answer = public.GetFeaturesResponse.FromString(sent(GET, body(get("delay_model_v1")))[0])
    assert (answer.rows, answer.row_statuses, answer.nulls) == (3, bytes([0, 0, 2]), bytes([0b10, 0, 0]))
    assert answer.matrix.float32s[0] == 3.25

    headers = call(target, GET, body(get("delay_model_v1")))
    assert headers[":status"] == "200"
    assert headers["content-type"] == "application/grpc"
    assert headers["grpc-status"] == "0"

    refused = call(target, GET, body(get("delay_model_ü")))
    assert (refused[":status"], refused["grpc-status"]) == ("200", "5")
    assert refused["grpc-message"] == UNKNOWN.replace("ü", "%C3%BC")

    late = call(target, WATCH, body(health_pb2.HealthCheckRequest()), "grpc-timeout: 200m")
    assert late["grpc-status"] == "4"

    def batch(number: int) -> public.IngestFeaturesRequest:
        keys = [{"name": "carrier", "data": b"N%d" % number, "offsets": [0, 2]}]
        features = [{"name": "mean_delay", "float32s": [1.5]}]
        return public.IngestFeaturesRequest(view="carrier_delays", sequence=number, batch={"keys": keys, "features": features})

    acknowledged = [public.IngestFeaturesResponse.FromString(data) for data in sent(INGEST, body(batch(1), batch(2)))]
    assert acknowledged[-1].sequence == 2
    assert acknowledged[-1].counts.rows == 2
    written |= {"N1", "N2"}


@pytest.mark.usefixtures("nghttp")
def test_h2load_is_answered_each_time(target: str, body) -> None:
    load = ("-n", "2000", "-c", "4", "-m", "8", "-d", body(get("delay_model_v1")))
    headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    printed = run("h2load", *load, *headers, f"http://{target}{GET}")
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in printed
    assert "status codes: 2000 2xx" in printed
