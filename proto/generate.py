"""Generates the Python code of the wire from ``featurestore/v1/featurestore.proto``: ``make proto``; ``--check`` only compares.

Two descriptors come out of the one contract:

- ``featurestore_pb2``: the public messages, as every other language sees them. The server reflects them.
- ``featurestore_raw_pb2``, the twin: the same messages and field numbers in package ``featurestore.v1.raw``, in which each
  packed repeated scalar is one ``bytes`` field, so that a buffer goes out and comes in without a value being touched.
  ``GetFeaturesRequest.selection`` and ``GetFeaturesResponse.schema`` are ``bytes`` too: the server uses the first as a key and
  keeps the second ready-made. A sub-message, a packed array and ``bytes`` are all "a length and then that many bytes" on the
  wire, so both descriptors read and write the same bytes.

The modules hold the serialized descriptors and make the classes with protobuf's public API, rather than protoc's own Python
output: that output demands a runtime at least as new as the compiler, and differs from one compiler to the next, while this
runs on every protobuf that we allow and is the same whichever made it. Invariant: equal contract, equal files, byte for byte.
"""

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = "featurestore/v1/featurestore.proto"
SERVER_WIRE = "featurestore/server/wire"
CLIENT_WIRE = "clients/python/featurestore_client/wire"

PACKED = {
    FieldDescriptorProto.TYPE_BOOL,
    FieldDescriptorProto.TYPE_FLOAT,
    FieldDescriptorProto.TYPE_DOUBLE,
    FieldDescriptorProto.TYPE_SFIXED32,
    FieldDescriptorProto.TYPE_SFIXED64,
}
OPAQUE_MESSAGES = {("GetFeaturesRequest", "selection"), ("GetFeaturesResponse", "schema")}

_SCALAR_TEXT = {
    FieldDescriptorProto.TYPE_DOUBLE: "float",
    FieldDescriptorProto.TYPE_FLOAT: "float",
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_STRING: "str",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
}

HEADER = "# Generated from {contract} by proto/generate.py (make proto). Do not edit.\n"


def compile_contract() -> FileDescriptorProto:
    """The contract as protoc understands it, without what is only for people."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set"
        well_known = files("grpc_tools") / "_proto"
        status = protoc.main(
            [
                "protoc",
                f"--proto_path={ROOT / 'proto'}",
                f"--proto_path={well_known}",
                f"--descriptor_set_out={target}",
                CONTRACT,
            ]
        )
        if status != 0:
            sys.exit("proto/generate.py: protoc refused the contract; its words are above")
        contract = FileDescriptorSet.FromString(target.read_bytes()).file[0]
    for message in contract.message_type:
        _forget_json_names(message)
    return contract


def _forget_json_names(message: DescriptorProto) -> None:
    """They are derived from the field names again when the descriptor is loaded."""
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _forget_json_names(nested)


def derive_twin(contract: FileDescriptorProto) -> FileDescriptorProto:
    """The twin of the contract: see the module's text."""
    twin = FileDescriptorProto()
    twin.CopyFrom(contract)
    twin.name = contract.name.replace(".proto", "_raw.proto")
    twin.package = contract.package + ".raw"
    del twin.service[:]
    for message in twin.message_type:
        _make_raw(message, f".{contract.package}.", f".{twin.package}.")
    return twin


def _make_raw(message: DescriptorProto, package: str, raw_package: str) -> None:
    for field in message.field:
        packed = field.label == FieldDescriptorProto.LABEL_REPEATED and field.type in PACKED
        if packed or (message.name, field.name) in OPAQUE_MESSAGES:
            field.label = FieldDescriptorProto.LABEL_OPTIONAL
            field.type = FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
        elif field.type_name.startswith(package):
            field.type_name = raw_package + field.type_name.removeprefix(package)
    for nested in message.nested_type:
        _make_raw(nested, package, raw_package)


def module_text(file: FileDescriptorProto) -> str:
    """The module that registers the descriptor and makes its classes."""
    serialized = file.SerializeToString(deterministic=True)
    rows = [f"    {serialized[start : start + 64]!r}" for start in range(0, len(serialized), 64)]
    lines = [
        HEADER.format(contract=CONTRACT),
        "from google.protobuf import any_pb2 as _any_pb2  # noqa: F401  the descriptor refers to it",
        "from google.protobuf.descriptor_pool import Default as _default_pool",
        "from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper as _EnumTypeWrapper",
        "from google.protobuf.message_factory import GetMessageClass as _message_class",
        "",
        "DESCRIPTOR = _default_pool().AddSerializedFile(",
        *rows,
        ")",
        "_messages = DESCRIPTOR.message_types_by_name",
        "_enums = DESCRIPTOR.enum_types_by_name",
        "",
    ]
    for enum in file.enum_type:
        lines.append(f'{enum.name} = _EnumTypeWrapper(_enums["{enum.name}"])')
        lines.extend(f"{value.name} = {value.number}" for value in enum.value)
    lines.extend(f'{message.name} = _message_class(_messages["{message.name}"])' for message in file.message_type)
    return "\n".join(lines) + "\n"


def stub_text(file: FileDescriptorProto) -> str:
    """The types of the module, for mypy and editors."""
    lines = [
        HEADER.format(contract=CONTRACT),
        "from collections.abc import Iterable, Mapping, MutableMapping",
        "from typing import Any",
        "",
        "from google.protobuf.any_pb2 import Any as AnyMessage",
        "from google.protobuf.descriptor import FileDescriptor",
        "from google.protobuf.internal.containers import RepeatedCompositeFieldContainer, RepeatedScalarFieldContainer",
        "from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper",
        "from google.protobuf.message import Message",
        "",
        "DESCRIPTOR: FileDescriptor",
    ]
    for enum in file.enum_type:
        lines.append(f"{enum.name}: EnumTypeWrapper")
        lines.extend(f"{value.name}: int" for value in enum.value)
    for message in file.message_type:
        lines += ["", *_message_stub(message, file.package)]
    return "\n".join(lines) + "\n"


def _message_stub(message: DescriptorProto, package: str) -> list[str]:
    maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    lines = [f"class {message.name}(Message):"]
    for enum in message.enum_type:
        lines += _nested_enum_stub(enum)
    arguments = []
    for field in message.field:
        entry = maps.get(field.type_name.rpartition(".")[2])
        if entry is not None:
            key, value = (_element_text(part, package) for part in entry.field)
            held, accepted = f"MutableMapping[{key}, {value}]", f"Mapping[{key}, {value}] | None"
        elif field.label == FieldDescriptorProto.LABEL_REPEATED:
            element = _element_text(field, package)
            message_field = field.type == FieldDescriptorProto.TYPE_MESSAGE
            held = f"{'RepeatedCompositeFieldContainer' if message_field else 'RepeatedScalarFieldContainer'}[{element}]"
            accepted = f"Iterable[{element + ' | Mapping[str, Any]' if message_field else element}] | None"
        elif field.type == FieldDescriptorProto.TYPE_MESSAGE:
            held = _element_text(field, package)
            accepted = f"{held} | Mapping[str, Any] | None"
        else:
            held = _element_text(field, package)
            accepted = f"{held} | None"
        settable = field.label != FieldDescriptorProto.LABEL_REPEATED and field.type != FieldDescriptorProto.TYPE_MESSAGE
        if settable:
            lines.append(f"    {field.name}: {held}")
        else:  # protobuf refuses assignment to these
            lines += ["    @property", f"    def {field.name}(self) -> {held}: ..."]
        arguments.append(f"{field.name}: {accepted} = ...")
    signature = ", ".join(["self", *(["*", *arguments] if arguments else [])])
    lines.append(f"    def __init__({signature}) -> None: ...")
    return lines


def _nested_enum_stub(enum: EnumDescriptorProto) -> list[str]:
    return [f"    {enum.name}: EnumTypeWrapper", *(f"    {value.name}: int" for value in enum.value)]


def _element_text(field: FieldDescriptorProto, package: str) -> str:
    if field.type == FieldDescriptorProto.TYPE_MESSAGE:
        if field.type_name == ".google.protobuf.Any":
            return "AnyMessage"
        return field.type_name.removeprefix(f".{package}.")
    return _SCALAR_TEXT.get(field.type, "int")


def generate() -> dict[Path, str]:
    """Every generated file and its text."""
    contract = compile_contract()
    twin = derive_twin(contract)
    texts = {}
    for folder, name, file in (
        (SERVER_WIRE, "featurestore_pb2", contract),
        (SERVER_WIRE, "featurestore_raw_pb2", twin),
        (CLIENT_WIRE, "featurestore_raw_pb2", twin),
    ):
        texts[ROOT / folder / f"{name}.py"] = module_text(file)
        texts[ROOT / folder / f"{name}.pyi"] = stub_text(file)
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate the Python code of the wire from the contract.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a generated file is out of date")
    check = parser.parse_args().check
    stale = []
    for path, text in generate().items():
        if path.exists() and path.read_text() == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if check and stale:
        sys.exit(f"out of date: {', '.join(stale)}\nrun `make proto` and commit what it writes")
    print("\n".join(f"wrote {name}" for name in stale) or "generated code is current")


if __name__ == "__main__":
    main()
