"""registry.json: whole at every moment, read back the same, and refused in a sentence when it is not what it should be."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from featurestore.durability.sealed import sealed, unsealed
from featurestore.errors import FailedPreconditionError, FeatureStoreError, InternalError
from featurestore.model import Entity, FeatureView, Field, JoinKey, Project
from featurestore.registry import Definitions, Registry, Version, ViewVersions, load

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart" / "definitions.yaml"


ENTITY = Entity(name="e", join_keys=[JoinKey(name="k")])


def view(name: str, *features: str) -> FeatureView:
    return FeatureView(name=name, entity="e", features=[Field(name=each, type="int64") for each in features])


@pytest.fixture
def desired() -> Definitions:
    return load(QUICKSTART).definitions


def test_an_empty_directory_has_the_default_project_and_writes_nothing(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "data")
    assert [str(key) for key in registry.current.index] == ["project default"]
    assert registry.version == 0
    assert not (tmp_path / "data").exists()


def test_what_was_committed_is_read_back(tmp_path: Path, desired: Definitions) -> None:
    registry = Registry.open(tmp_path / "data")
    registry.commit(registry.plan(desired, prune=False))
    again = Registry.open(tmp_path / "data")
    assert again.current == registry.current
    assert again.version == registry.version == 1
    assert again.plan(desired, prune=True).changes == ()
    assert [each.name for each in (tmp_path / "data").iterdir()] == ["registry.json"]


def test_a_plan_without_changes_writes_nothing(tmp_path: Path, desired: Definitions) -> None:
    registry = Registry.open(tmp_path)
    registry.commit(registry.plan(desired, prune=False))
    before = (tmp_path / "registry.json").stat()
    registry.commit(registry.plan(desired, prune=False))
    assert registry.version == 1
    assert (tmp_path / "registry.json").stat().st_ino == before.st_ino


def test_a_plan_made_before_another_commit_is_refused(tmp_path: Path, desired: Definitions) -> None:
    registry = Registry.open(tmp_path)
    old = registry.plan(desired, prune=False)
    registry.commit(registry.plan(desired, prune=False))
    with pytest.raises(FailedPreconditionError, match="made for version 0 of the definitions, expected version 1"):
        registry.commit(old)


def test_a_write_that_fails_leaves_the_old_file_and_the_old_definitions(
    tmp_path: Path, desired: Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry.open(tmp_path)
    registry.commit(registry.plan(desired, prune=False))
    before = (tmp_path / "registry.json").read_bytes()
    emptied = registry.plan(Definitions(projects=registry.current.projects), prune=True)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            InternalError, match=r"registry\.json: got No space left on device, expected to write the definitions"
        ):
            registry.commit(emptied)
    assert [each.name for each in tmp_path.iterdir()] == ["registry.json"]
    assert (tmp_path / "registry.json").read_bytes() == before
    assert registry.version == 1
    assert "feature view default.carrier_stats" in map(str, registry.current.index)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "there is no format number in it"),
        ('{"format": "1"}', "there is no format number in it"),
        ('{"format": 1}', "there is no version number in it"),
        ('{"format": 1, "version": 1, "definitions": {"entities": [{"name": "a b"}]}}', "entity default.a b"),
        (
            '{"format": 1, "version": 1, "definitions": {"feature_services": [{"name": "s", "features": ["v:f"]}]}}',
            "feature service default.s: features.0..view: got 'v'",
        ),
    ],
)
def test_a_damaged_file_is_refused_with_the_way_out(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "registry.json").write_text(text)
    with pytest.raises(InternalError, match=rf"registry\.json: got a damaged file \((.|\n)*{why}(.|\n)*put a copy of it back"):
        Registry.open(tmp_path)
    assert (tmp_path / "registry.json").read_text() == text


def test_any_changed_letter_is_refused(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    registry.commit(registry.plan(Definitions(entities=(ENTITY,), feature_views=(view("v", "a"),)), prune=True))
    path = tmp_path / "registry.json"
    content = path.read_bytes()
    for place, byte in enumerate(content):
        for bit in range(7):
            changed = bytes([byte ^ 1 << bit])
            if byte in b" \n" and changed in b" \n\t\r":
                continue  # between the words of JSON it means the same
            path.write_bytes(content[:place] + changed + content[place + 1 :])
            with pytest.raises(FeatureStoreError, match=r"registry\.json: got "):
                Registry.open(tmp_path)


def test_bytes_that_are_no_text_are_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "registry.json").write_bytes(b"{\xff")
    with pytest.raises(InternalError, match="byte 1 is not UTF-8"):
        Registry.open(tmp_path)


def test_a_file_of_a_newer_featurestore_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "registry.json").write_text(json.dumps({"format": 5, "anything": "else"}))
    with pytest.raises(FailedPreconditionError, match="got format 5, expected at most 4: a newer featurestore wrote it"):
        Registry.open(tmp_path)


def test_births_tell_what_is_the_same_since_an_earlier_version(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)

    def apply(*features: str) -> None:
        views = (view("v", *features),) if features else ()
        registry.commit(registry.plan(Definitions(entities=(ENTITY,), feature_views=views), prune=True))

    apply("a", "b")
    apply("a")
    apply("a", "b", "c")
    for known in (registry, Registry.open(tmp_path)):
        assert known.features_known("default", "v", 0) is None
        assert known.features_known("default", "v", 1) == {"a"}
        assert known.features_known("default", "v", 3) == {"a", "b", "c"}
        assert known.features_known("default", "w", 3) is None
    apply()
    assert registry.features_known("default", "v", 3) is None
    apply("a")
    assert registry.features_known("default", "v", 4) is None
    assert registry.features_known("default", "v", 5) == {"a"}


def test_a_file_of_format_1_is_read_as_one_without_history(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    registry.commit(registry.plan(Definitions(entities=(ENTITY,), feature_views=(view("v", "a"),)), prune=False))
    path = tmp_path / "registry.json"
    document = unsealed(json.loads(path.read_text()))
    del document["births"]
    path.write_text(json.dumps({**document, "format": 1}))
    assert Registry.open(tmp_path).features_known("default", "v", 1) == {"a"}
    path.write_text(sealed({**document, "births": {}}))
    with pytest.raises(InternalError, match="the births in it are not those of its views and features"):
        Registry.open(tmp_path)


def test_versions_stay_with_their_view_and_go_with_it(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    registry.commit(registry.plan(Definitions(entities=(ENTITY,), feature_views=(view("v", "a"), view("w", "a"))), prune=False))
    versions = ViewVersions(
        current=Version(number=3, time_us=5, rows=7, source="x"), since=2, after=9, kept=(Version(number=2), Version(number=1))
    )
    registry.commit_versions("default", "v", versions)
    assert registry.version == 2
    registry.commit(registry.plan(Definitions(entities=(ENTITY,), feature_views=(view("v", "a", "b"),)), prune=True))
    for known in (registry, Registry.open(tmp_path)):
        assert known.versions("default", "v") == versions
        assert known.versions("default", "w") == ViewVersions()
        assert [*known.all_versions] == ["default.v"]
    assert versions.next_number == 4
    assert [versions.find(None), versions.find(1), versions.find(3)] == [versions.kept[0], versions.kept[1], None]
    registry.commit(registry.plan(Definitions(entities=(ENTITY,)), prune=True))
    registry.commit(registry.plan(Definitions(entities=(ENTITY,), feature_views=(view("v", "a"),)), prune=True))
    assert Registry.open(tmp_path).versions("default", "v") == ViewVersions()


def test_damaged_versions_are_named(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    registry.commit(registry.plan(Definitions(entities=(ENTITY,), feature_views=(view("v", "a"),)), prune=False))
    path = tmp_path / "registry.json"
    document = unsealed(json.loads(path.read_text()))
    for versions, sentence in (
        ([], "there are no versions in it"),
        ({"default.v": {"current": {"number": 0}}}, r"its versions are damaged at current\.number: "),
        ({"default.w": {}}, "there are versions in it of views that it does not have"),
    ):
        path.write_text(sealed({**document, "versions": versions}))
        with pytest.raises(InternalError, match=sentence):
            Registry.open(tmp_path)
    # Before there were any.
    path.write_text(json.dumps({**{name: each for name, each in document.items() if name != "versions"}, "format": 2}))
    assert Registry.open(tmp_path).versions("default", "v") == ViewVersions()


@pytest.mark.parametrize("is_first", [True, False])
def test_a_directory_that_cannot_be_synced_leaves_the_definitions_as_they_were(
    tmp_path: Path, desired: Definitions, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    registry = Registry.open(tmp_path)
    if not is_first:
        registry.commit(registry.plan(desired, prune=False))
    before = registry.version
    fsync = os.fsync

    def fail(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail)
    more = Definitions(projects=(*desired.projects, Project(name="more")))
    with pytest.raises(InternalError, match="got Input/output error, expected to write the definitions; they are as before"):
        registry.commit(registry.plan(more, prune=False))
    monkeypatch.undo()
    assert registry.version == before
    assert (Registry.open(tmp_path).version, Registry.open(tmp_path).current) == (before, registry.current)
