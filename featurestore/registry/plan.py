"""What applying definitions would change, what that does to live data, and which changes are refused.

A pure function of two sets of definitions: no I/O, no store. Applying adds to what is there and replaces objects of the same
name; only with ``prune`` does anything go, and then only within the projects that the desired definitions name. A project
itself is never deleted. Invariant: ``Plan.result`` passes ``check``, and no change in a plan alters what stored bytes mean.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from featurestore.errors import FailedPreconditionError, InvalidArgumentError, Violation
from featurestore.model import Entity, FeatureReference, FeatureService, FeatureView, Project
from featurestore.registry.check import check, check_distinct
from featurestore.registry.definitions import KINDS, Definition, Definitions, ObjectKey, key_of
from featurestore.registry.parse import sentences

Action = Literal["create", "update", "delete"]
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


@dataclass(frozen=True)
class Change:
    """One object that is created, updated or deleted; what differs, a line each; and what that does to live data."""

    action: Action
    kind: str
    project: str
    name: str
    differences: tuple[str, ...]
    effect: str

    @property
    def key(self) -> ObjectKey:
        """Which definition it is about."""
        return ObjectKey(self.kind, self.project, self.name)


@dataclass(frozen=True)
class Plan:
    """The changes, in the order in which they are applied, and the definitions that hold afterwards.

    ``base_version`` is the version of the registry that the plan was made for.
    """

    changes: tuple[Change, ...]
    result: Definitions
    base_version: int = 0


def plan_changes(current: Definitions, desired: Definitions, *, prune: bool) -> Plan:
    """Plans the way from ``current`` to ``desired``.

    Raises InvalidArgumentError with every mistake and every refused change, or FailedPreconditionError when all of them are
    refused changes: those that live data does not survive.
    """
    pruned = _pruned(current, desired) if prune else []
    kept = {key: definition for key, definition in current.index.items() if key not in pruned}
    result = Definitions.of({**kept, **desired.index})
    mistakes = check_distinct(desired) + check(result, desired.index)
    refusals = [*_refused(current, desired, result), *_stranded(current, desired, result)]
    if mistakes:
        raise InvalidArgumentError(sentences([*mistakes, *refusals]), [*mistakes, *refusals])
    if refusals:
        raise FailedPreconditionError(sentences(refusals), refusals)
    changes = []
    for definition in Definitions.of(desired.index).objects():
        key = key_of(definition)
        before = current.index.get(key)
        if before is None:
            changes.append(Change("create", *key, tuple(_contents(definition)), _effect_of_create(definition)))
        elif before != definition:
            differences = tuple(_differences(before, definition))
            changes.append(Change("update", *key, differences, _effect_of_update(before, definition)))
    changes.extend(Change("delete", *key, (), _effect_of_delete(current.index[key])) for key in pruned)
    return Plan(tuple(changes), result)


def _pruned(current: Definitions, desired: Definitions) -> list[ObjectKey]:
    """What stands in the named projects and is not desired; what refers to others first."""
    projects = {key.project for key in desired.index}
    return [
        key
        for kind in reversed(KINDS[1:])
        for key in sorted(current.index)
        if key.kind == kind.name and key.project in projects and key not in desired.index
    ]


# ---------------------------------------------------------------------------------------------------------------- refused


def _refused(current: Definitions, desired: Definitions, result: Definitions) -> Iterator[Violation]:
    for key, after in desired.index.items():
        before = current.index.get(key)
        if isinstance(before, Entity) and isinstance(after, Entity):
            yield from _refused_keys(before, after, current, result)
        elif isinstance(before, FeatureView) and isinstance(after, FeatureView):
            yield from _refused_types(before, after)
            if before.entity != after.entity:
                instead = (
                    f"{before.entity!r}, by whose keys its rows are stored. That does not change on live data: define a new "
                    f"view (such as {_next_name(after.name)!r}) on {after.entity!r}, fill it, move services to it, then delete "
                    "this one"
                )
                yield Violation("entity", repr(after.entity), instead, str(key))


def _refused_keys(before: Entity, after: Entity, current: Definitions, result: Definitions) -> Iterator[Violation]:
    if before.join_keys == after.join_keys:
        return
    views = [
        view.name
        for view in current.feature_views
        if view.project == before.project and view.entity == before.name and key_of(view) in result.index
    ]
    if not views:
        return
    instead = (
        f"{_join_keys(before)}, by which the rows of {_names('view', views)} are stored. Keys do not change on live data: "
        f"define a new entity (such as {_next_name(after.name)!r}) and new views on it, fill them, move services to them, "
        "then delete the old ones"
    )
    yield Violation("join_keys", _join_keys(after), instead, str(key_of(after)))


def _refused_types(before: FeatureView, after: FeatureView) -> Iterator[Violation]:
    types = {feature.name: feature.type for feature in before.features}
    taken = {feature.name for feature in (*before.features, *after.features)}
    for position, feature in enumerate(after.features):
        stored = types.get(feature.name, feature.type)
        if stored != feature.type:
            instead = (
                f"{stored}, the type of its stored values. A type does not change on live data: add a feature of another name "
                f"(such as {_next_name(feature.name, taken)!r}), fill it, move services to it, then drop this one"
            )
            yield Violation(f"features[{position}].type", f"{feature.type} for {feature.name!r}", instead, str(key_of(after)))


def _stranded(current: Definitions, desired: Definitions, result: Definitions) -> Iterator[Violation]:
    """What the desired definitions would take away from objects that they leave as they are."""
    untouched = [key for key in current.index if key in result.index and key not in desired.index]
    for violation in check(result, untouched):
        expected = (
            f"{violation.expected}; it is not among these definitions: keep what it reads, or change it in the same apply"
        )
        yield Violation(violation.field, violation.value, expected, violation.object)


def _next_name(name: str, taken: Iterable[str] = ()) -> str:
    match = re.fullmatch(r"(.*)_v(\d+)", name)
    stem, number = (match[1], int(match[2])) if match else (name, 1)
    taken = set(taken)
    while f"{stem}_v{number + 1}" in taken:
        number += 1
    return f"{stem}_v{number + 1}"


# ------------------------------------------------------------------------------------------------------------ differences


def _contents(definition: Definition) -> Iterator[str]:
    """What a new object holds, a line each."""
    match definition:
        case Entity():
            yield f"join keys {_join_keys(definition)}"
        case FeatureView():
            yield f"entity {definition.entity}"
            if definition.ttl:
                yield f"ttl {duration_text(definition.ttl)}"
            if definition.retention:
                yield f"retention {duration_text(definition.retention)}"
            yield from (f"+ {feature.name} {feature.type}" for feature in definition.features)
        case FeatureService():
            yield from (f"+ {reference_text(reference)}" for reference in definition.features)


def _differences(before: Definition, after: Definition) -> Iterator[str]:
    for name in type(after).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        if name == "features":
            yield from _list_differences(_feature_lines(before), _feature_lines(after))
        elif name == "tags":
            yield from (f"tag {line}" for line in _mapping_differences(old, new))
        elif name == "join_keys":
            yield f"join keys: {_join_keys_text(before)} -> {_join_keys_text(after)}"
        elif isinstance(old or new, timedelta):
            yield f"{name}: {_optional_duration(old)} -> {_optional_duration(new)}"
        elif name == "source":
            yield f"source: {_plain(old)} -> {_plain(new)}"
        else:
            yield f"{name}: {old!r} -> {new!r}"


def _feature_lines(definition: Definition) -> dict[str, str]:
    """A line for each feature, by what makes it the same feature before and after."""
    if isinstance(definition, FeatureView):
        lines = {}
        for feature in definition.features:
            notes = [repr(feature.description)] if feature.description else []
            notes += [f"{tag}={value}" for tag, value in feature.tags.items()]
            lines[feature.name] = " ".join([feature.name, str(feature.type), *notes])
        return lines
    assert isinstance(definition, FeatureService)
    return {reference.name: reference_text(reference) for reference in definition.features}


def _list_differences(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    yield from (f"- {line}" for name, line in before.items() if name not in after)
    yield from (f"~ {before[name]} -> {line}" for name, line in after.items() if name in before and before[name] != line)
    yield from (f"+ {line}" for name, line in after.items() if name not in before)
    if [name for name in before if name in after] != [name for name in after if name in before]:
        yield "features in another order"


def _mapping_differences(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield f"{name}: {before.get(name, '(none)')} -> {after.get(name, '(none)')}"


# ---------------------------------------------------------------------------------------------------------------- effects


def _effect_of_create(definition: Definition) -> str:
    match definition:
        case Project():
            return "a new namespace, without data"
        case Entity():
            return "feature views can use it; holds no data itself"
        case FeatureView():
            return f"a new table of {_count(len(definition.features), 'feature')}, empty until rows are written"
        case FeatureService():
            views = dict.fromkeys(reference.view for reference in definition.features)
            return f"clients can read its {_count(len(definition.features), 'feature')} from {_names('view', list(views))}"


def _effect_of_update(before: Definition, after: Definition) -> str:
    if isinstance(before, FeatureView) and isinstance(after, FeatureView):
        return "; ".join(_effects_on_rows(before, after)) or "live data stays as it is"
    if isinstance(after, FeatureService) and getattr(before, "features", None) != after.features:
        return "the next request for it is answered by the new list; stored data stays as it is"
    return "live data stays as it is"


def _effects_on_rows(before: FeatureView, after: FeatureView) -> Iterator[str]:
    old, new = [feature.name for feature in before.features], [feature.name for feature in after.features]
    added, dropped = [name for name in new if name not in old], [name for name in old if name not in new]
    if added:
        yield f"{_names('feature', added)}: null in the rows that are there, until written"
    if dropped:
        yield f"{_names('feature', dropped)}: stored values are deleted for good"
    if before.ttl != after.ttl:
        limit = duration_text(after.ttl) if after.ttl else ""
        yield f"rows older than {limit} answer EXPIRED from now on" if limit else "rows do not expire any more"
    if before.retention != after.retention:
        limit = duration_text(after.retention) if after.retention else ""
        yield f"rows older than {limit} are deleted in the background" if limit else "rows are kept however old they are"
    if added or dropped:
        yield "reads go on meanwhile"


def _effect_of_delete(definition: Definition) -> str:
    match definition:
        case FeatureView():
            return "its table and all rows in it are deleted for good"
        case FeatureService():
            return "requests for it are answered NOT_FOUND; stored data stays as it is"
        case _:
            return "live data stays as it is"


# ------------------------------------------------------------------------------------------------------------------- text


def duration_text(value: timedelta) -> str:
    """``7d`` or ``90s``: the largest unit that divides it."""
    seconds = value.total_seconds()
    for unit, unit_s in _UNITS:
        if seconds % unit_s == 0:
            return f"{int(seconds // unit_s)}{unit}"
    return f"{seconds * 1_000:g}ms"


def reference_text(reference: FeatureReference) -> str:
    """``view:feature as name (join_key=column)``, without the parts that say nothing."""
    text = f"{reference.view}:{reference.feature}"
    if reference.name != reference.feature:
        text += f" as {reference.name}"
    if reference.join_keys:
        text += " (" + ", ".join(f"{key}={column}" for key, column in reference.join_keys.items()) + ")"
    return text


def _join_keys(entity: Entity) -> str:
    return "(" + ", ".join(f"{key.name} {key.type}" for key in entity.join_keys) + ")"


def _join_keys_text(definition: Definition) -> str:
    assert isinstance(definition, Entity)
    return _join_keys(definition)


def _optional_duration(value: timedelta | None) -> str:
    return duration_text(value) if value else "(none)"


def _plain(value: Any) -> str:
    return "(none)" if value is None else str(value.model_dump(mode="json", exclude_defaults=True))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _names(noun: str, names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
    return f"{noun} {shown}" if len(names) == 1 else f"{noun}s {shown}"
