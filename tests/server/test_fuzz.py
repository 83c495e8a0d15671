"""Strangers' bytes: whatever they are, the answer is a message or a typed refusal, and the server goes on serving.

Requests are valid ones, changed: at the level of bytes (flipped, cut, doubled, spliced, plain noise) and at the level of the
message (wrong arrays, lengths, offsets, encodings, names, numbers). The bulk goes through the table of methods in this process,
where anything but a FeatureStoreError fails the test with the bytes that caused it; some thousands through a real socket.
``FUZZ_SEED`` and ``FUZZ_REQUESTS`` choose another run.
"""

import os
import random
import socket
import struct

import grpc
import numpy as np
import pytest

from featurestore.errors import ErrorCode, FeatureStoreError
from featurestore.server.context import CallContext
from featurestore.server.methods import PREFIX
from featurestore.server.wire import featurestore_pb2 as public
from featurestore.server.wire import featurestore_raw_pb2 as wire

SEED = int(os.environ.get("FUZZ_SEED", "20240229"))
REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "100000"))

TYPES = ["bool", "int32", "int64", "float32", "float64", "timestamp", "string", "bytes", "float32[3]", "int64[2]"]
ARRAYS = ["bools", "int32s", "int64s", "float32s", "float64s", "data", "offsets", "validity"]
DEFINITIONS = public.Definitions(
    entities=[
        {"name": "user", "join_keys": [{"name": "user_id", "type": "int64"}]},
        {"name": "place", "join_keys": [{"name": "place", "type": "string"}, {"name": "user_id", "type": "int64"}]},
    ],
    feature_views=[
        {
            "name": "all",
            "entity": "user",
            "ttl": "1h",
            "features": [{"name": f"f{i}", "type": kind} for i, kind in enumerate(TYPES)],
        },
        {"name": "floats", "entity": "place", "features": [{"name": f"f{i}", "type": "float32"} for i in range(5)]},
        {"name": "canary", "entity": "user", "features": [{"name": "value", "type": "float64"}]},
    ],
    feature_services=[
        {"name": "both", "features": [{"view": "all", "feature": "f3"}, {"view": "floats", "feature": "f1"}]},
        {"name": "mixed", "features": [{"view": "all", "feature": f"f{i}"} for i in range(len(TYPES))]},
    ],
)
NAMES = [
    "all",
    "floats",
    "both",
    "mixed",
    "user_id",
    "place",
    "default",
    "f0",
    "f6",
    "all:f1",
    "floats:f2 as f0",
    "",
    "\0",
    "ü" * 300,
    "no",
]


def column(chance: random.Random, name: str, kind: str, rows: int) -> wire.Column:
    """A right column."""
    scalar, _, length = kind.rstrip("]").partition("[")
    made = wire.Column(name=name)
    if scalar in ("string", "bytes"):
        values = [chance.choice([b"", b"a", "Zürich".encode(), b"x" * 50]) for _ in range(rows)]
        made.data = b"".join(values)
        made.offsets = np.cumsum([0, *map(len, values)]).astype("<i4").tobytes()
        return made
    array, width = {
        "bool": ("bools", 1),
        "int32": ("int32s", 4),
        "int64": ("int64s", 8),
        "timestamp": ("int64s", 8),
        "float32": ("float32s", 4),
        "float64": ("float64s", 8),
    }[scalar]
    count = rows * int(length or 1)
    if scalar == "int64":
        setattr(made, array, np.array([chance.randrange(50) for _ in range(count)], "<i8").tobytes())
    else:
        setattr(
            made,
            array,
            bytes(chance.randrange(2) for _ in range(count)) if scalar == "bool" else chance.randbytes(count * width),
        )
    return made


def keys(chance: random.Random, view: str, rows: int) -> list[wire.Column]:
    made = [column(chance, "user_id", "int64", rows)]
    if view != "all":
        made.append(column(chance, "place", "string", rows))
    return made


def batch(chance: random.Random, view: str) -> wire.WriteBatch:
    rows = chance.choice([1, 1, 2, 7, 300])
    kinds = TYPES if view == "all" else ["float32"] * 5
    picked = sorted(chance.sample(range(len(kinds)), chance.randrange(1, len(kinds) + 1)))
    features = [column(chance, f"f{index}", kinds[index], rows) for index in picked]
    for feature in features:
        if chance.random() < 0.3:
            feature.validity = chance.randbytes((rows + 7) // 8)
    times = (
        b""
        if chance.random() < 0.5
        else struct.pack("<q", chance.choice([0, 1, -1, 1 << 40, 1 << 62, -(1 << 63), (1 << 63) - 1]))
    )
    return wire.WriteBatch(keys=keys(chance, view, rows), features=features, event_timestamps_us=times)


def right_request(chance: random.Random, method: str):
    """A request that the server would do as asked."""
    view = chance.choice(["all", "floats"])
    match method:
        case "GetFeatures":
            rows = chance.choice([1, 1, 3, 100])
            if chance.random() < 0.5:
                chosen = wire.FeatureSelection(service=chance.choice(["both", "mixed"]), event_timestamps=chance.random() < 0.3)
                view = "floats" if chosen.service == "both" else "all"
            else:
                features = [f"{view}:f{chance.randrange(5)} as n{index}" for index in range(chance.randrange(1, 6))]
                chosen = wire.FeatureSelection(features=features, expired_values=chance.random() < 0.3)
            known = chance.getrandbits(64)
            return wire.GetFeaturesRequest(
                selection=chosen.SerializeToString(), keys=keys(chance, view, rows), known_schema_id=known
            )
        case "WriteFeatures":
            return wire.WriteFeaturesRequest(view=view, batch=batch(chance, view))
        case "IngestFeatures":
            return wire.IngestFeaturesRequest(view=view, sequence=chance.randrange(1 << 30), batch=batch(chance, view))
        case "DeleteFeatures":
            return wire.DeleteFeaturesRequest(view=view, keys=keys(chance, view, chance.choice([1, 5])))
        case "Apply":
            request = wire.ApplyRequest(definitions=wire.Definitions.FromString(DEFINITIONS.SerializeToString()))
            request.dry_run, request.prune = chance.random() < 0.5, chance.random() < 0.2
            return request
        case _:
            request = getattr(wire, method + "Request")()
            for field in request.DESCRIPTOR.fields:
                setattr(request, field.name, chance.choice(NAMES))
            return request


def change_message(chance: random.Random, message) -> None:
    """Makes one thing in the message wrong, or just other."""
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    field = chance.choice(fields)
    held = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return
    if field.message_type is not None and field.is_repeated:
        if not held:
            return
        match chance.randrange(6):
            case 0:
                del held[chance.randrange(len(held))]
            case 1:
                held.append(held[chance.randrange(len(held))])
            case _:
                change_message(chance, chance.choice(held))
    elif field.message_type is not None:
        change_message(chance, held)
    elif field.name in ARRAYS or field.name == "event_timestamps_us":
        setattr(message, field.name, change_bytes(chance, held or chance.randbytes(chance.randrange(40))))
    elif field.name in ("selection", "schema"):
        part = wire.FeatureSelection.FromString(held)
        change_message(chance, part)
        message.selection = part.SerializeToString()
    elif field.is_repeated:
        held.append(chance.choice(NAMES))
    elif field.cpp_type == field.CPPTYPE_STRING:
        setattr(
            message, field.name, chance.choice([*NAMES, *TYPES]) if field.type == field.TYPE_STRING else chance.randbytes(9)
        )
    elif field.cpp_type == field.CPPTYPE_BOOL:
        setattr(message, field.name, not held)
    else:
        setattr(message, field.name, chance.choice([0, 1, 2, (1 << 31) - 1]))


def change_bytes(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        place = chance.randrange(len(changed) + 1)
        match chance.randrange(7):
            case 0:
                changed[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[place:]
            case 2:
                changed[place:place] = chance.randbytes(chance.randrange(1, 9))
            case 3:
                del changed[place : place + chance.choice([1, 4, 8])]
            case 4:
                changed[place:place] = changed[place // 2 : place // 2 + 16]
            case 5:
                changed[place : place + 4] = struct.pack("<i", chance.choice([-1, 0, 1, 1 << 30, -(1 << 31)]))
            case 6:
                changed[place : place + 1] = bytes([0xFF])
    return bytes(changed)


def request_bytes(chance: random.Random, method: str) -> bytes:
    kind = chance.random()
    if kind < 0.02:
        return chance.randbytes(chance.randrange(200))
    message = right_request(chance, method)
    if kind < 0.6:
        for _ in range(chance.choice([1, 1, 2, 4])):
            change_message(chance, message)
    data = message.SerializeToString()
    return change_bytes(chance, data) if kind > 0.5 else data


def prepare(call) -> None:
    """Defines the views, and puts a row where no request above reaches."""
    call("Apply", public.ApplyRequest(definitions=DEFINITIONS).SerializeToString())
    row = wire.WriteBatch(keys=[wire.Column(name="user_id", int64s=struct.pack("<q", -77))])
    row.features.add(name="value", float64s=struct.pack("<d", 2.5))
    call("WriteFeatures", wire.WriteFeaturesRequest(view="canary", batch=row).SerializeToString())


def check_canary(call) -> None:
    selection = wire.FeatureSelection(features=["canary:value"]).SerializeToString()
    request = wire.GetFeaturesRequest(selection=selection, keys=[wire.Column(name="user_id", int64s=struct.pack("<q", -77))])
    answer = public.GetFeaturesResponse.FromString(call("GetFeatures", request.SerializeToString()))
    assert list(answer.matrix.float64s) == [2.5]


def attempt(call, method: str, data) -> bool:
    """Whether the request was done; fails on anything but an answer or a refusal."""
    try:
        call(method, data)
    except Exception as error:
        if not isinstance(error, FeatureStoreError) or error.code is ErrorCode.INTERNAL or not error.message:
            raise AssertionError(f"{method} of {data!r} ended with {error!r}") from error
        return False
    return True


@pytest.mark.timeout(600)
def test_no_request_ends_in_a_defect(make_local):
    local = make_local(read_rows_max=1_000, read_bytes_max=1 << 24, batch_rows_max=1_000, rows_max=100_000)
    chance = random.Random(SEED)
    methods = {path.removeprefix(PREFIX): row.handler for path, row in local.methods.by_path.items() if path.startswith(PREFIX)}
    context = CallContext()

    def call(method: str, data: bytes) -> bytes:
        answer = methods[method](data, context)
        return answer if isinstance(answer, bytes) else local.runner.run(finished(answer))

    async def finished(answer):
        return await answer

    prepare(call)
    often = ["GetFeatures"] * 6 + ["WriteFeatures"] * 6 + ["DeleteFeatures"] * 2
    seldom = ["ListEntities", "ListFeatureViews", "ListFeatureServices", "ListTables", "ListProjects"]
    seldom += ["DescribeEntity", "DescribeFeatureView", "DescribeFeatureService"]
    done = 0
    for number in range(REQUESTS):
        method = chance.choice(seldom if number % 20 == 0 else often)
        done += attempt(call, method, request_bytes(chance, method))
    assert REQUESTS // 10 < done < REQUESTS * 9 // 10, "the changes are too mild, or too wild, to find anything"
    check_canary(call)


@pytest.mark.timeout(600)
def test_no_stream_ends_in_a_defect(local):
    chance = random.Random(SEED + 1)
    prepare(lambda method, data: local.raw(PREFIX + method, data))
    acknowledged = 0
    for _ in range(REQUESTS // 100):
        messages = []
        for sequence in range(1, chance.randrange(2, 6)):
            message = wire.IngestFeaturesRequest(view="all", sequence=sequence, batch=batch(chance, "all"))
            messages.append(message.SerializeToString())
        messages.append(request_bytes(chance, "IngestFeatures"))

        def call(path: str, messages: list[bytes]) -> None:
            nonlocal acknowledged
            acknowledged += len(local.stream(path, messages))

        attempt(call, PREFIX + "IngestFeatures", messages)
        noise = [chance.randbytes(chance.randrange(60)) for _ in range(2)]
        attempt(call, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", noise)
    assert acknowledged > REQUESTS // 1000
    check_canary(lambda method, data: local.raw(PREFIX + method, data))


@pytest.mark.timeout(600)
def test_no_change_of_definitions_ends_in_a_defect(local):
    chance = random.Random(SEED + 2)
    done = 0
    for _ in range(REQUESTS // 50):
        done += attempt(lambda method, data: local.raw(PREFIX + method, data), "Apply", request_bytes(chance, "Apply"))
        if chance.random() < 0.3:
            method = chance.choice(["GetFeatures", "WriteFeatures"])
            attempt(lambda method, data: local.raw(PREFIX + method, data), method, request_bytes(chance, method))
    assert done > REQUESTS // 1000
    tables = {table.view for table in public.ListTablesResponse.FromString(local.raw(PREFIX + "ListTables", b"")).tables}
    views = {
        view.name
        for view in public.ListFeatureViewsResponse.FromString(local.raw(PREFIX + "ListFeatureViews", b"")).feature_views
    }
    assert tables == views


@pytest.mark.timeout(600)
def test_a_real_server_outlives_it(server):
    chance = random.Random(SEED + 3)
    with grpc.insecure_channel(server.target) as channel:
        methods: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}

        def call(method: str, data: bytes) -> bytes:
            if method not in methods:
                methods[method] = channel.unary_unary(PREFIX + method)
            return methods[method](data, timeout=30)

        prepare(call)
        names = ["GetFeatures", "WriteFeatures", "DeleteFeatures", "ListTables", "DescribeFeatureView"]
        allowed = {
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.FAILED_PRECONDITION,
        }
        done = 0
        for _ in range(min(3_000, REQUESTS)):
            method = chance.choice(names)
            data = request_bytes(chance, method)
            try:
                call(method, data)
                done += 1
            except grpc.RpcError as error:
                if error.code() not in allowed:
                    raise AssertionError(f"{method} of {data!r} ended with {error}") from error
        assert done > 100
        host, port = server.target.split(":")
        for _ in range(100):  # not even HTTP/2
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if chance.random() < 0.5 else b""
                connection.sendall(preface + chance.randbytes(chance.randrange(1, 200)))
        check_canary(call)
    assert server.process.poll() is None
    assert not [event for event in server.events if event.get("level") == "ERROR"]
