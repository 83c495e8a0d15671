"""The generated code: current, and the twin in step with the public contract, field by field and byte by byte."""

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from featurestore_client.wire import featurestore_raw_pb2 as client_twin
from google.protobuf.descriptor import FieldDescriptor

from featurestore.server.wire import featurestore_pb2 as public
from featurestore.server.wire import featurestore_raw_pb2 as twin

ROOT = Path(__file__).resolve().parents[2]
PACKED = {
    FieldDescriptor.TYPE_BOOL: "?",
    FieldDescriptor.TYPE_FLOAT: "<f4",
    FieldDescriptor.TYPE_DOUBLE: "<f8",
    FieldDescriptor.TYPE_SFIXED32: "<i4",
    FieldDescriptor.TYPE_SFIXED64: "<i8",
}
OPAQUE = {("GetFeaturesRequest", "selection"), ("GetFeaturesResponse", "schema")}


def load_generator():
    specification = importlib.util.spec_from_file_location("generate", ROOT / "proto" / "generate.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_generated_code_is_current():
    ran = subprocess.run(
        [sys.executable, "proto/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "generated code is current\n"), ran.stderr


def test_check_names_a_file_that_is_out_of_date(monkeypatch, capsys):
    generator = load_generator()
    texts = generator.generate()
    stale = next(iter(texts))
    monkeypatch.setattr(generator, "generate", lambda: {**texts, stale: "something else"})
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    with pytest.raises(SystemExit) as exited:
        generator.main()
    assert stale.name in str(exited.value)


def test_client_and_server_share_one_twin():
    assert client_twin.GetFeaturesRequest is twin.GetFeaturesRequest


def test_twin_has_every_message_and_field():
    assert set(twin.DESCRIPTOR.message_types_by_name) == set(public.DESCRIPTOR.message_types_by_name)
    assert not twin.DESCRIPTOR.services_by_name
    for name, message in public.DESCRIPTOR.message_types_by_name.items():
        raw_fields = twin.DESCRIPTOR.message_types_by_name[name].fields_by_name
        assert list(raw_fields) == [field.name for field in message.fields]
        for field in message.fields:
            raw = raw_fields[field.name]
            assert raw.number == field.number
            if (field.is_repeated and field.type in PACKED) or (name, field.name) in OPAQUE:
                assert (raw.type, raw.is_repeated) == (FieldDescriptor.TYPE_BYTES, False)
            else:
                assert (raw.type, raw.is_repeated) == (field.type, field.is_repeated)
                if field.message_type is not None:
                    assert raw.message_type.full_name.replace(".raw.", ".") == field.message_type.full_name


def fill(message, raw, chance: random.Random, depth: int = 0) -> None:
    """The same random content in a public message and in its twin."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.3:
            continue
        if field.is_repeated and field.type in PACKED:
            values = np.array([chance.randrange(-100, 100) for _ in range(chance.randrange(1, 40))]).astype(PACKED[field.type])
            getattr(message, field.name).extend(values.tolist())
            setattr(raw, field.name, values.tobytes())
        elif (message.DESCRIPTOR.name, field.name) in OPAQUE:
            part = getattr(message, field.name)
            fill(part, getattr(twin, part.DESCRIPTOR.name)(), chance, depth + 1)
            if part.ByteSize() == 0:
                message.ClearField(field.name)  # bytes cannot tell an empty message from none; nobody sends one
            setattr(raw, field.name, part.SerializeToString(deterministic=True))
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in ("a", "b"):
                if field.message_type.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING:
                    getattr(message, field.name)[key] = getattr(raw, field.name)[key] = key * 3
        elif field.message_type is not None and field.message_type.file.name.startswith("google/"):
            continue
        elif field.message_type is not None:
            if depth > 4:
                continue
            if field.is_repeated:
                for _ in range(chance.randrange(1, 3)):
                    fill(getattr(message, field.name).add(), getattr(raw, field.name).add(), chance, depth + 1)
            else:
                getattr(message, field.name).SetInParent()
                getattr(raw, field.name).SetInParent()
                fill(getattr(message, field.name), getattr(raw, field.name), chance, depth + 1)
        else:
            value = scalar(field, chance)
            if field.is_repeated:
                getattr(message, field.name).append(value)
                getattr(raw, field.name).append(value)
            else:
                setattr(message, field.name, value)
                setattr(raw, field.name, value)


def scalar(field, chance: random.Random):
    if field.type == FieldDescriptor.TYPE_STRING:
        return chance.choice(["x", "Zürich", "名前"])
    if field.type == FieldDescriptor.TYPE_BYTES:
        return chance.randbytes(chance.randrange(1, 30))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    if field.type == FieldDescriptor.TYPE_ENUM:
        return chance.choice(field.enum_type.values).number
    return chance.randrange(1, 1000)


@pytest.mark.parametrize("name", sorted(public.DESCRIPTOR.message_types_by_name))
def test_twin_has_the_same_bytes(name):
    chance = random.Random(name)
    filled = 0
    for _ in range(50):
        message, raw = getattr(public, name)(), getattr(twin, name)()
        fill(message, raw, chance)
        data = message.SerializeToString(deterministic=True)
        assert raw.SerializeToString(deterministic=True) == data
        assert getattr(twin, name).FromString(data) == raw
        assert getattr(public, name).FromString(raw.SerializeToString()) == message
        filled += len(data)
    assert filled > 0 or not message.DESCRIPTOR.fields
