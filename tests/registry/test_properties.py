"""YAML, Python and the mapping are one language: whatever fits together comes out of all three the same."""

from datetime import timedelta
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.errors import FailedPreconditionError
from featurestore.model import BatchSource, Entity, FeatureReference, FeatureService, FeatureView, Field, JoinKey, Project
from featurestore.registry import Definitions, load, parse_definitions, plan_changes

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
TAGS = st.dictionaries(TEXTS, TEXTS, max_size=2)
TYPES = st.sampled_from(
    ["bool", "int32", "int64", "float32", "float64", "timestamp", "string", "bytes", "float32[8]", "int64[3]"]
)
DURATIONS = st.none() | st.integers(1, 10**15).map(lambda us: timedelta(microseconds=us))


@st.composite
def definitions(draw: st.DrawFn) -> Definitions:
    """One project, some entities, views on them, services from them; every reference leads somewhere."""
    project = draw(NAMES)
    annotations = st.fixed_dictionaries({"description": TEXTS, "owner": TEXTS, "tags": TAGS})
    entities = []
    for position, name in enumerate(draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))):
        keys = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
        join_keys = tuple(JoinKey(name=f"k{position}_{key}", type=draw(st.sampled_from(["int64", "string"]))) for key in keys)
        entities.append(Entity(project=project, name=name, join_keys=join_keys, **draw(annotations)))
    views = []
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        entity = draw(st.sampled_from(entities))
        features = tuple(
            Field(name=f"f_{feature}", type=draw(TYPES), description=draw(TEXTS), tags=draw(TAGS))
            for feature in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
        )
        ttl = draw(DURATIONS)
        retention = ttl * 2 if ttl and draw(st.booleans()) else None
        source = draw(st.none() | st.builds(BatchSource, path=TEXTS.filter(bool), columns=st.just({"a": features[0].name})))
        views.append(
            FeatureView(
                project=project,
                name=name,
                entity=entity.name,
                features=features,
                ttl=ttl,
                retention=retention,
                source=source,
                **draw(annotations),
            )
        )
    services = []
    for name in draw(st.lists(NAMES, max_size=2, unique=True)) if views else []:
        references = [
            FeatureReference(view=view.name, feature=feature.name, name=f"r{number}_{feature.name}")
            for number, view in enumerate(views)
            for feature in view.features
        ]
        chosen = draw(st.lists(st.sampled_from(references), min_size=1, unique_by=lambda reference: reference.name))
        services.append(FeatureService(project=project, name=name, features=tuple(chosen), **draw(annotations)))
    return Definitions(
        projects=(Project(name=project),),
        entities=tuple(entities),
        feature_views=tuple(views),
        feature_services=tuple(services),
    )


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def python_text(definitions: Definitions) -> str:
    """The definitions as a Python file that constructs them."""
    lines = ["from featurestore import Entity, FeatureService, FeatureView, Project"]
    for number, definition in enumerate(definitions.objects()):
        given = definition.model_dump(mode="json")
        lines.append(f"object_{number} = {type(definition).__name__}(**{given!r})")
    return "\n".join(lines)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(definitions())
def test_yaml_and_python_and_the_mapping_give_the_same_definitions(tmp_path: Path, expected: Definitions) -> None:
    document = expected.model_dump(mode="json")
    as_yaml = write(tmp_path / "same.yaml", yaml.safe_dump(document, sort_keys=False))
    as_python = write(tmp_path / "same.py", python_text(expected))
    assert parse_definitions(document) == expected
    from_yaml, from_python = load(as_yaml).definitions, load(as_python).definitions
    assert from_yaml == from_python
    assert from_yaml.index == expected.index
    assert parse_definitions(from_yaml.model_dump(mode="json")) == from_yaml


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(definitions(), definitions())
def test_a_plan_leads_where_it_says_and_then_there_is_nothing_left_to_do(before: Definitions, after: Definitions) -> None:
    first = plan_changes(Definitions(), before, prune=False)
    assert first.result.index == before.index
    assert {change.action for change in first.changes} == {"create"}
    assert plan_changes(first.result, before, prune=True).changes == ()
    try:
        second = plan_changes(first.result, after, prune=True)
    except FailedPreconditionError:  # names that stand in both with other types; anything else is a defect
        return
    applied = dict(before.index)
    for change in second.changes:
        if change.action == "delete":
            del applied[change.key]
        else:
            assert (change.key in applied) == (change.action == "update")
            applied[change.key] = after.index[change.key]
    assert applied == dict(second.result.index)
