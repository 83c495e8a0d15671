"""Definitions on their way to the server and back: mappings in the shape of the YAML document, as protobuf messages.

Whether a definition is right is for the server to say. Invariant: what ``list_...`` and ``describe_...`` give can be handed to
``apply`` as it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from featurestore_client.errors import InvalidArgumentError, shorten
from featurestore_client.wire import featurestore_raw_pb2 as wire

Document = dict[str, Any]
"""A definition, or what describes it, in the shape of the YAML document."""

_KINDS = {
    "Project": "projects",
    "Entity": "entities",
    "FeatureView": "feature_views",
    "FeatureService": "feature_services",
}
_OPTIONAL_TEXTS = {"ttl", "retention"}


@dataclass(frozen=True)
class Change:
    """One step of an ``apply``."""

    action: str
    """create, update or delete"""
    kind: str
    """project, entity, feature view or feature service"""
    project: str
    name: str
    differences: tuple[str, ...]
    effect: str
    """What it does to live data, in a sentence."""


@dataclass(frozen=True)
class ApplyResult:
    """What ``apply`` did, or with ``dry_run`` would do; no changes where the definitions stand already."""

    changes: tuple[Change, ...]
    applied: bool
    base_version: int
    """Of the definitions that the changes start from."""


def apply_request(definitions: Any, *, dry_run: bool, prune: bool, base_version: int | None) -> bytes:
    """An ApplyRequest of the YAML document's mapping, of an object that dumps as one, or of definition objects."""
    document: dict[str, list[Any]] = {kind: [] for kind in _KINDS.values()}
    for kind, entry in _entries(definitions):
        document[kind].append(_normal(entry))
    try:
        parsed = json_format.ParseDict(document, wire.Definitions())
    except json_format.ParseError as error:
        raise InvalidArgumentError(f"definitions: {error}") from None
    request = wire.ApplyRequest(definitions=parsed, dry_run=dry_run, prune=prune, base_version=base_version)
    return request.SerializeToString()


def _entries(definitions: Any) -> Iterable[tuple[str, Any]]:
    if hasattr(definitions, "model_dump"):
        kind = _KINDS.get(type(definitions).__name__)
        definitions = definitions.model_dump(mode="json")
        if kind is not None:
            yield kind, definitions
            return
    if isinstance(definitions, Mapping):
        unknown = [name for name in definitions if name not in _KINDS.values()]
        if unknown:
            raise InvalidArgumentError.of("definitions", unknown[0], f"only {', '.join(_KINDS.values())}")
        for kind in _KINDS.values():
            for entry in definitions.get(kind) or ():
                yield kind, entry
        return
    if isinstance(definitions, (str, bytes)) or not isinstance(definitions, Iterable):
        raise InvalidArgumentError.of(
            "definitions", definitions, f"a mapping with lists of {', '.join(_KINDS.values())}, or definition objects"
        )
    for each in definitions:
        if not hasattr(each, "model_dump") and not isinstance(each, Mapping):
            raise InvalidArgumentError.of("definitions", each, "a Project, Entity, FeatureView or FeatureService")
        yield from _entries(each)


def _normal(entry: Any) -> Any:
    """An entry as protobuf's JSON form has it: feature references spelled out, durations as text."""
    if hasattr(entry, "model_dump"):
        entry = entry.model_dump(mode="json")
    if not isinstance(entry, Mapping):
        raise InvalidArgumentError.of("definitions", entry, "a mapping, as in the YAML document")
    normal = dict(entry)
    for name in _OPTIONAL_TEXTS & normal.keys():
        value = normal[name]
        if isinstance(value, timedelta):
            value = value.total_seconds()
        normal[name] = f"{value:g}s" if isinstance(value, (int, float)) and not isinstance(value, bool) else value
    features = normal.get("features")
    if isinstance(features, (list, tuple)):
        normal["features"] = [_reference(each) if isinstance(each, str) else each for each in features]
    return normal


def _reference(text: str) -> dict[str, str]:
    """``view:feature`` or ``view:feature as name``, spelled out."""
    place, _, name = (part.strip() for part in text.partition(" as "))
    view, _, feature = place.partition(":")
    if not view or not feature:
        raise InvalidArgumentError.of("features", text, "'view:feature' or 'view:feature as name'")
    return {"view": view, "feature": feature, "name": name or feature}


def apply_result(encoded: bytes) -> ApplyResult:
    """Reads an ApplyResponse."""
    response = wire.ApplyResponse.FromString(encoded)
    actions = wire.Change.DESCRIPTOR.enum_types_by_name["Action"].values_by_number
    return ApplyResult(
        tuple(
            Change(
                actions[change.action].name.lower() if change.action in actions else shorten(change.action),
                change.kind,
                change.project,
                change.name,
                tuple(change.differences),
                change.effect,
            )
            for change in response.changes
        ),
        response.applied,
        response.base_version,
    )


def as_mapping(message: Message) -> Document:
    """A message as the YAML document has it: every field, whole numbers as int, None for what is not set."""
    mapping: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if hasattr(value, "items"):  # a map of texts
            mapping[field.name] = dict(value)
        elif hasattr(value, "extend"):  # repeated
            mapping[field.name] = [as_mapping(each) if isinstance(each, Message) else each for each in value]
        elif isinstance(value, Message):
            mapping[field.name] = as_mapping(value) if message.HasField(field.name) else None
        elif field.has_presence and not message.HasField(field.name):
            mapping[field.name] = None
        else:
            mapping[field.name] = None if value == "" and field.name in _OPTIONAL_TEXTS else value
    return mapping
