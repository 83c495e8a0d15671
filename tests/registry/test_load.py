"""What files of definitions give: the same from YAML and Python, and every mistake at once with its place."""

import sys
from pathlib import Path

import pytest

from featurestore.errors import InvalidArgumentError, NotFoundError
from featurestore.model import Entity, Field
from featurestore.registry import key_of, load, parse_definitions, survey

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
TYPES = "one of bool, int32, int64, float32, float64, timestamp, string, bytes, float32[N], float64[N], int64[N]"
NAME = "letters, digits and underscores, at most 128 of them, the first one no digit"


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def mistakes_in(path: Path) -> list[str]:
    with pytest.raises(InvalidArgumentError) as caught:
        load(path)
    return [str(violation).replace(f"{path.parent}/", "") for violation in caught.value.violations]


def test_the_quickstart_says_the_same_twice() -> None:
    in_yaml, in_python, together = (load(QUICKSTART / name) for name in ("definitions.yaml", "definitions.py", ""))
    assert in_yaml.definitions == in_python.definitions == together.definitions
    assert [service.name for service in in_yaml.definitions.feature_services] == ["delay_model_v1"]


def test_every_mistake_of_a_yaml_file_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "bad.yaml",
        """\
entities:
  - name: 1carrier
    join_keys: [{name: carrier, type: strng}]
  - name: yes
    join_keys: []
    ownr: me
feature_view: []
feature_views:
  - name: v
    entity: carrier
    ttl: soon
    features:
      - {name: a, type: float3}
      - {name: b, tpe: int64}
  - name: x
    entity: carrier
    features: [{name: a, type: int32}, {name: a, type: int32}]
feature_services:
  - name: s
    features: ["a.b", {view: x, feature: b}]
  - 5
""",
    )
    assert mistakes_in(path) == [
        "bad.yaml:7: feature_view: got unknown key 'feature_view', expected one like 'feature_views', 'feature_services'",
        f"bad.yaml:2: entity default.1carrier: name: got '1carrier', expected {NAME}",
        f"bad.yaml:3: entity default.1carrier: join_keys[0].type: got 'strng', expected {TYPES}",
        "bad.yaml:4: entity number 2: name: got True, expected a string: put it in quotes",
        "bad.yaml:5: entity number 2: join_keys: got [], expected at least 1 of them",
        "bad.yaml:6: entity number 2: ownr: got unknown field 'ownr', expected one like 'owner'",
        f"bad.yaml:13: feature view default.v: features[0].type: got 'float3', expected {TYPES}",
        "bad.yaml:14: feature view default.v: features[1].type: got nothing, expected a value: this field must be given",
        "bad.yaml:14: feature view default.v: features[1].tpe: got unknown field 'tpe', expected one like 'type'",
        "bad.yaml:11: feature view default.v: ttl: got 'soon', expected a duration such as 90s, 15m, 6h or 7d",
        "bad.yaml:17: feature view default.x: features: got feature 'a' is there twice, expected distinct names",
        "bad.yaml:20: feature service default.s: features[0]: got 'a.b', expected 'view:feature' or 'view:feature as name'",
        "bad.yaml:21: feature service number 2: got 5, "
        "expected a mapping with name, description, owner, tags, project, features",
    ]


def test_every_mistake_of_a_python_file_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "bad.py",
        """\
from featurestore import *
carrier = Entity(name="carrier", join_keys=[JoinKey(name="carrier", type="strng"), {"name": "x y"}])
v = [FeatureView(name="v", entity=carrier, ttl="soon", features=[
    Field(name="a", type="float3"),
    Field(name="b", tpe="float32"),
])]
s = FeatureService(name="s", features=["a.b", "v:a"], ownr="x")
Field(name="lost")
assert v[0].features[0].name == "a", "placeholders hold what was given"
raise RuntimeError("the end")
""",
    )
    assert mistakes_in(path) == [
        f"bad.py:2: entity default.carrier: join_keys[0].type: got 'strng', expected {TYPES}",
        f"bad.py:2: entity default.carrier: join_keys[1].name: got 'x y', expected {NAME}",
        "bad.py:3: feature view default.v: ttl: got 'soon', expected a duration such as 90s, 15m, 6h or 7d",
        f"bad.py:4: feature view default.v: features[0].type: got 'float3', expected {TYPES}",
        "bad.py:5: feature view default.v: features[1].type: got nothing, expected a value: this field must be given",
        "bad.py:5: feature view default.v: features[1].tpe: got unknown field 'tpe', expected one like 'type'",
        "bad.py:7: feature service default.s: features[0]: got 'a.b', expected 'view:feature' or 'view:feature as name'",
        "bad.py:7: feature service default.s: ownr: got unknown field 'ownr', expected one like 'owner'",
        "bad.py:8: Field 'lost': type: got nothing, expected a value: this field must be given",
        "bad.py:10: file: got RuntimeError: the end, expected Python that runs to its end",
    ]


def test_the_models_raise_as_ever_after_a_file_was_read(tmp_path: Path) -> None:
    mistakes_in(write(tmp_path, "bad.py", "from featurestore import Field\nField(name='a b')\n"))
    with pytest.raises(ValueError, match="type"):
        Field(name="a")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.yaml", "entities: [", "a.yaml:1: document: got expected the node content"),
        ("a.yaml", "- 1", "a.yaml:1: document: got [1], expected a mapping with lists under projects, entities"),
        ("a.yaml", "entities: 3", "a.yaml:1: entities: got 3, expected a list of entities"),
        ("a.yaml", "entities: {}", "a.yaml:1: entities: got {}, expected a list"),
        (
            "a.yaml",
            "projects:\n- name: a\n  name: b\n",
            "a.yaml:3: name: got key 'name' twice in one mapping, expected each key once",
        ),
        ("a.yaml", "a: 2024-13-45", "a.yaml: document: got month must be in 1..12, expected values that YAML can read"),
        ("a.yaml", "[" * 5_000, "a.yaml: document: got mappings nested too deeply"),
        ("a.yaml", "projects: [&a {name: a, tags: {b: *a}}]", "a.yaml:1: project a: tags.b: got"),
        ("a.py", "x = (", "a.py:1: file: got '(' was never closed, expected Python that compiles"),
        ("a.py", "\nimport nothing_of_that_name", "a.py:2: file: got ModuleNotFoundError: No module named"),
        ("a.py", "raise SystemExit(3)", "a.py:1: file: got SystemExit: 3, expected Python that runs to its end"),
        ("a.py", "x = 1", "a.py: got no definition, expected at least one"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_is_told_in_a_sentence(tmp_path: Path, name: str, text: str, expected: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(InvalidArgumentError) as caught:
        load(path)
    assert caught.value.message.replace(f"{tmp_path}/", "").startswith(expected)


def test_bytes_that_are_no_text_are_told_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"entities: \xff")
    assert mistakes_in(path) == ["a.yaml: file: got byte 10 is not UTF-8, expected UTF-8 text"]


@pytest.mark.parametrize("name", ["nowhere.yaml", "empty_directory", "notes.txt"])
def test_a_path_without_definitions_says_what_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty_directory").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InvalidArgumentError, match=r"a \.py, \.yaml or \.yml file, or a directory of them"):
        load(tmp_path / name)


def test_a_directory_is_read_whole_with_the_origin_of_each_object(tmp_path: Path) -> None:
    write(
        tmp_path,
        "entities.py",
        "from featurestore import Entity\n\ncarrier = Entity(name='carrier', join_keys=[{'name': 'carrier'}])",
    )
    view = (
        "from featurestore import FeatureView\nfrom entities import carrier\n"
        "views = {'v': FeatureView(\n  name='v', entity=carrier, features=[{'name': 'a', 'type': 'bool'}])}"
    )
    write(tmp_path, "views.py", view)
    write(
        tmp_path,
        "more/services.yml",
        "projects: []\nfeature_services:\n- name: s\n  features: ['v:a']\n---\nprojects:\n- name: p\n",
    )
    write(tmp_path, "_drafts/x.yaml", "nonsense")
    write(tmp_path, ".hidden.yaml", "nonsense")
    write(tmp_path, "notes.md", "nonsense")
    loaded = load(tmp_path)
    origins = {str(key): str(origin).replace(f"{tmp_path}/", "") for key, origin in loaded.origins.items()}
    assert origins == {
        "entity default.carrier": "entities.py:3",
        "feature service default.s": "more/services.yml:3",
        "project p": "more/services.yml:7",
        "feature view default.v": "views.py:3",
    }
    assert "entities" not in sys.modules
    assert not list(tmp_path.rglob("__pycache__"))
    assert str(tmp_path) not in sys.path


def test_a_mistake_in_an_imported_neighbour_is_told_once(tmp_path: Path) -> None:
    write(tmp_path, "entities.py", "from featurestore import Entity\ncarrier = Entity(name='carrier', join_keys=[])")
    write(tmp_path, "views.py", "from entities import carrier")
    with pytest.raises(InvalidArgumentError) as caught:
        load(tmp_path)
    assert (
        caught.value.message
        == f"{tmp_path}/entities.py:2: entity default.carrier: join_keys: got [], expected at least 1 of them"
    )


def test_two_different_definitions_of_one_name_are_refused_with_both_places(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "projects:\n- name: p\n")
    write(tmp_path, "b.yaml", "projects:\n- {name: p, owner: me}\n")
    with pytest.raises(InvalidArgumentError) as caught:
        load(tmp_path)
    assert caught.value.message.replace(f"{tmp_path}/", "") == (
        "b.yaml:2: project p: name: got 'p', expected one definition of this name, or the same as in a.yaml:2"
    )


def test_survey_gives_the_valid_objects_beside_the_broken_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", "projects:\n- name: p\n- {name: q, ownr: me}\n")
    found = survey(path)
    assert [str(key_of(definition)) for definition in found.definitions.objects()] == ["project p"]
    assert [str(key) for key in found.broken] == ["project q"]
    assert len(found.violations) == 1


def test_a_long_list_of_mistakes_is_cut_in_the_sentence_and_whole_in_the_violations(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", "projects:\n" + "- {}\n" * 30)
    with pytest.raises(InvalidArgumentError) as caught:
        load(path)
    assert len(caught.value.violations) == 30
    assert caught.value.message.startswith("30 mistakes in the definitions\n")
    assert caught.value.message.endswith("\n  and 10 more")


def test_a_hostile_value_comes_back_shortened(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", f"entities:\n- name: {'x' * 100_000}\n  join_keys: [{{name: a}}]\n")
    (mistake,) = mistakes_in(path)
    assert len(mistake) < 400
    assert mistake.startswith("a.yaml:2: entity number 1: name: got 'xxx")


def test_a_lookup_offers_the_nearest_name() -> None:
    entity = Entity(name="carrier", join_keys=({"name": "carrier", "type": "string"},))  # type: ignore[arg-type]
    found = parse_definitions({"projects": [{"name": "default"}], "entities": [entity.model_dump(mode="json")]})
    assert found.entity("default", "carrier") == entity
    with pytest.raises(NotFoundError, match="entity 'carier' does not exist: expected one like 'carrier'"):
        found.entity("default", "carier")
    with pytest.raises(NotFoundError, match="project 'defalt' does not exist: expected one like 'default'"):
        found.feature_view("defalt", "carrier")
