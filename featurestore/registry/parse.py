"""From a mapping (a YAML document, a protobuf message as a mapping) to definitions, with every mistake said at once.

Responsible for turning what pydantic finds into our Violations: object, field path, value, expected. Knows no files;
``yaml_source.py`` and ``python_source.py`` add those. Invariant: an object is either in ``Parsed.definitions`` and valid, or
has at least one violation.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from featurestore.errors import InvalidArgumentError, Violation, nearest, shorten
from featurestore.model import DEFAULT_PROJECT
from featurestore.registry.definitions import KINDS, PROJECT, Definition, Definitions, Kind, ObjectKey

Location = tuple[int | str, ...]

NAME_EXPECTED = "letters, digits and underscores, at most 128 of them, the first one no digit"
MISTAKES_SHOWN = 20

# The fields that the checks across one model's fields speak about, by a word of their message.
_FIELD_OF_MESSAGE = (("join key", "join_keys"), ("feature", "features"), ("retention", "retention"))


@dataclass(frozen=True)
class Mistake:
    """A violation, and where in the document it is."""

    location: Location
    violation: Violation


@dataclass(frozen=True)
class Parsed:
    """A document: the valid definitions with their locations, the mistakes, and the names of the objects that have some."""

    definitions: list[tuple[Location, Definition]] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    broken: list[ObjectKey] = field(default_factory=list)


def parse_definitions(document: Mapping[str, Any]) -> Definitions:
    """The definitions of a mapping in the YAML shape. InvalidArgumentError with every violation."""
    parsed = parse_document(document)
    raise_violations([mistake.violation for mistake in parsed.mistakes])
    lists: dict[str, list[Definition]] = {kind.key: [] for kind in KINDS}
    for location, definition in parsed.definitions:
        lists[str(location[0])].append(definition)
    return Definitions.model_validate(lists)


def raise_violations(violations: Sequence[Violation]) -> None:
    """Raises one InvalidArgumentError for all of the violations; returns when there are none."""
    if violations:
        raise InvalidArgumentError(sentences(violations), violations)


def sentences(violations: Sequence[Violation]) -> str:
    """A line a violation, under a count where there are several."""
    if len(violations) == 1:
        return str(violations[0])
    lines = [f"{len(violations)} mistakes in the definitions", *(f"  {violation}" for violation in violations[:MISTAKES_SHOWN])]
    if len(violations) > MISTAKES_SHOWN:
        lines.append(f"  and {len(violations) - MISTAKES_SHOWN} more")
    return "\n".join(lines)


def parse_document(document: Any) -> Parsed:
    """Reads every object of a document, the wrong ones beside the right ones."""
    parsed = Parsed()
    if document is None:
        return parsed
    keys = [kind.key for kind in KINDS]
    if not isinstance(document, Mapping):
        expected = "a mapping with lists under " + ", ".join(keys)
        parsed.mistakes.append(Mistake((), Violation("document", shorten(document), expected)))
        return parsed
    for key in document:
        if key not in keys:
            violation = Violation(shorten(key, 40).strip("'"), f"unknown key {shorten(key)}", nearest(str(key), keys))
            parsed.mistakes.append(Mistake((key,) if isinstance(key, str) else (), violation))
    for kind in KINDS:
        items = document.get(kind.key)
        if items is None:
            continue
        if not isinstance(items, (list, tuple)):
            expected = f"a list of {kind.key.replace('_', ' ')}"
            parsed.mistakes.append(Mistake((kind.key,), Violation(kind.key, shorten(items), expected)))
            continue
        for position, item in enumerate(items):
            _parse_object(kind, item, position, parsed)
    return parsed


def _parse_object(kind: Kind, item: Any, position: int, parsed: Parsed) -> None:
    location: Location = (kind.key, position)
    try:
        parsed.definitions.append((location, kind.model.model_validate(item)))
    except ValidationError as error:
        label = object_label(kind, item, position)
        for mistake in mistakes_of(error, kind.model, label):
            parsed.mistakes.append(Mistake(location + mistake.location, mistake.violation))
        key = raw_key(kind, item)
        if key is not None:
            parsed.broken.append(key)


def raw_key(kind: Kind, item: Any) -> ObjectKey | None:
    """The key of an object that is not valid, when its name can be told."""
    if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
        return None
    name = item["name"]
    project = item.get("project") or DEFAULT_PROJECT
    return ObjectKey(kind.name, name if kind.name == PROJECT else str(project), name)


def object_label(kind: Kind, item: Any, position: int | None = None) -> str:
    """How sentences name an object that may have no name."""
    key = raw_key(kind, item)
    if key is not None and 0 < len(key.name) <= 128:
        return str(key)
    return f"{kind.name} without a name" if position is None else f"{kind.name} number {position + 1}"


def mistakes_of(error: ValidationError, model: type[BaseModel], label: str) -> list[Mistake]:
    """What pydantic found in one object, as our violations; locations are within the object."""
    mistakes = []
    for details in error.errors(include_url=False):
        if details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]:
            continue  # pydantic counts the valid items only; the others have mistakes of their own
        location = tuple(part for part in details["loc"] if part != "[key]")
        path, value, expected = _explain(details, location, model)
        mistakes.append(Mistake(location or (path,), Violation(path, value, expected, label)))
    return mistakes


def path_text(location: Location) -> str:
    """``("features", 2, "type")`` as ``features[2].type``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _explain(details: ErrorDetails, location: Location, model: type[BaseModel]) -> tuple[str, str, str]:
    path, value, context = path_text(location), shorten(details["input"]), details.get("ctx", {})
    expected = details["msg"].removeprefix("Input should be ").removeprefix("Input should ")
    match details["type"]:
        case "missing":
            value, expected = "nothing", "a value: this field must be given"
        case "extra_forbidden":
            known = _fields_at(model, location[:-1])
            value, expected = f"unknown field {shorten(str(location[-1]))}", nearest(str(location[-1]), known)
        case "string_type" if isinstance(details["input"], (bool, int, float)):
            expected = "a string: put it in quotes"
        case "string_type":
            expected = "a string"
        case "string_pattern_mismatch":
            expected = NAME_EXPECTED
        case "string_too_short":
            expected = "text that is not empty"
        case "too_short":
            expected = f"at least {context['min_length']} of them"
        case "too_long":
            value, expected = f"{context['actual_length']} of them", f"at most {context['max_length']}"
        case "tuple_type" | "list_type":
            expected = "a list"
        case "dict_type" | "mapping_type" | "model_type" | "model_attributes_type":
            fields = _fields_at(model, location)
            expected = "a mapping " + ("with " + ", ".join(fields) if fields else "of strings")
        case "value_error":
            found, expected = _split(str(context["error"]))
            value = found or value
            if found and (not location or isinstance(location[-1], int)):
                path = ".".join(part for part in (path, _field_of(found, model, location)) if part)
    return path, value, expected


def _split(message: str) -> tuple[str, str]:
    """``feature 'x' is there twice: expected distinct names`` as what was found and what was expected."""
    match = re.match(r"(?s)^(?:(.*?)[:,] )?expected (.*)$", message)
    return (match[1] or "", match[2]) if match else ("", message)


def _field_of(found: str, model: type[BaseModel], location: Location) -> str:
    fields = _fields_at(model, location)
    return next((name for word, name in _FIELD_OF_MESSAGE if found.startswith(word) and name in fields), "")


def _fields_at(model: type[BaseModel], location: Location) -> list[str]:
    """The field names of the model that stands at a location within ``model``."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        fields = getattr(current, "model_fields", {})
        if part not in fields:
            return []
        current = _model_within(fields[part].annotation)
    return list(getattr(current, "model_fields", {}))


def _model_within(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model_within(argument)
        if found is not None:
            return found
    return None
