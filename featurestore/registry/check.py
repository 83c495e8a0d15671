"""Whether the names in a set of definitions exist and fit together.

Responsible for what no single definition can know of itself. Invariant: a set without violations can be served as it is: every
project, entity, view, feature and join key that is named is there, and a request's key column has one type.
"""

from collections.abc import Iterable, Iterator

from featurestore.errors import Violation, nearest
from featurestore.model import DEFAULT_PROJECT, Entity, FeatureReference, FeatureService, FeatureView, Project
from featurestore.registry.definitions import ENTITY, FEATURE_VIEW, Definition, Definitions, ObjectKey, key_of


def check(definitions: Definitions, only: Iterable[ObjectKey] | None = None) -> list[Violation]:
    """Every reference that leads nowhere, in the objects named by ``only`` (all by default)."""
    keys = definitions.index if only is None else only
    violations = []
    for key in keys:
        for violation in _check_one(definitions.index[key], definitions):
            violations.append(Violation(violation.field, violation.value, violation.expected, str(key)))
    return violations


def check_distinct(definitions: Definitions) -> list[Violation]:
    """Names that two different definitions of the set have."""
    first: dict[ObjectKey, Definition] = {}
    doubled: dict[ObjectKey, Violation] = {}
    for definition in definitions.objects():
        key = key_of(definition)
        if first.setdefault(key, definition) != definition:
            doubled[key] = Violation("name", repr(key.name), "one definition of this name, there are different ones", str(key))
    return list(doubled.values())


def _check_one(definition: Definition, definitions: Definitions) -> Iterator[Violation]:
    if isinstance(definition, Project):
        return
    projects = {DEFAULT_PROJECT, *(project.name for project in definitions.projects)}
    if definition.project not in projects:
        expected = f"{nearest(definition.project, projects)}, or a project of this name in the same apply"
        yield Violation("project", repr(definition.project), expected)
    elif isinstance(definition, FeatureView):
        yield from _check_view(definition, definitions)
    elif isinstance(definition, FeatureService):
        yield from _check_service(definition, definitions)


def _check_view(view: FeatureView, definitions: Definitions) -> Iterator[Violation]:
    entity = definitions.index.get(ObjectKey(ENTITY, view.project, view.entity))
    if not isinstance(entity, Entity):
        yield Violation("entity", repr(view.entity), nearest(view.entity, definitions.names(ENTITY, view.project)))
        return
    join_keys = {key.name for key in entity.join_keys}
    features = {feature.name for feature in view.features}
    for position, feature in enumerate(view.features):
        if feature.name in join_keys:
            expected = f"a name that is not a join key of entity {entity.name!r}"
            yield Violation(f"features[{position}].name", repr(feature.name), expected)
    for column, target in (view.source.columns if view.source else {}).items():
        if target not in features | join_keys:
            expected = f"a feature or join key: {nearest(target, features | join_keys)}"
            yield Violation(f"source.columns.{column}", repr(target), expected)


def _check_service(service: FeatureService, definitions: Definitions) -> Iterator[Violation]:
    columns: dict[str, tuple[str, str]] = {}  # request column -> its type, the view that wants it
    for position, reference in enumerate(service.features):
        place = f"features[{position}]"
        view = definitions.index.get(ObjectKey(FEATURE_VIEW, service.project, reference.view))
        if not isinstance(view, FeatureView):
            known = definitions.names(FEATURE_VIEW, service.project)
            yield Violation(f"{place}.view", repr(reference.view), nearest(reference.view, known))
            continue
        features = [feature.name for feature in view.features]
        if reference.feature not in features:
            expected = f"a feature of view {view.name!r}, {nearest(reference.feature, features)}"
            yield Violation(f"{place}.feature", repr(reference.feature), expected)
        entity = definitions.index.get(ObjectKey(ENTITY, view.project, view.entity))
        if isinstance(entity, Entity):
            yield from _check_columns(place, reference, entity, columns)


def _check_columns(
    place: str, reference: FeatureReference, entity: Entity, columns: dict[str, tuple[str, str]]
) -> Iterator[Violation]:
    join_keys = [key.name for key in entity.join_keys]
    for name in reference.join_keys:
        if name not in join_keys:
            expected = f"a join key of entity {entity.name!r}, {nearest(name, join_keys)}"
            yield Violation(f"{place}.join_keys", repr(name), expected)
    for key in entity.join_keys:
        column = reference.join_keys.get(key.name, key.name)
        type_text, view = columns.setdefault(column, (str(key.type), reference.view))
        if type_text != str(key.type):
            value = f"key column {column!r} as {key.type} for view {reference.view!r}"
            expected = f"{type_text}, as view {view!r} has it; rename it here: join_keys: {{{key.name}: another_column}}"
            yield Violation(f"{place}.join_keys", value, expected)
