"""A set of definitions, and how one of them is named.

Responsible for the shape that YAML, the wire and registry.json share. Whether the names in a set exist is for ``check.py``.
Invariant: an ObjectKey names at most one object of a set that has been planned.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from featurestore.errors import NotFoundError
from featurestore.model import Entity, FeatureService, FeatureView, Project

Definition = Project | Entity | FeatureView | FeatureService

PROJECT, ENTITY, FEATURE_VIEW, FEATURE_SERVICE = "project", "entity", "feature view", "feature service"


class Kind(NamedTuple):
    """One kind of definition: its name in sentences, the document key that lists it, and its model."""

    name: str
    key: str
    model: type[Project] | type[Entity] | type[FeatureView] | type[FeatureService]


KINDS = (
    Kind(PROJECT, "projects", Project),
    Kind(ENTITY, "entities", Entity),
    Kind(FEATURE_VIEW, "feature_views", FeatureView),
    Kind(FEATURE_SERVICE, "feature_services", FeatureService),
)
"""In the order of what refers to what: a definition refers to kinds before its own only."""


class ObjectKey(NamedTuple):
    """Which definition: kind, project and name. A project is in itself."""

    kind: str
    project: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.kind == PROJECT else f"{self.kind} {self.project}.{self.name}"


def key_of(definition: Definition) -> ObjectKey:
    """The key of a definition."""
    kind = next(kind.name for kind in KINDS if isinstance(definition, kind.model))
    return ObjectKey(kind, definition.name if isinstance(definition, Project) else definition.project, definition.name)


class Definitions(BaseModel):
    """Projects, entities, feature views and feature services: what a YAML file, an Apply request or a registry holds.

    >>> Definitions(projects=(Project(name="flights"),)).names("project", "flights")
    ['flights']
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    projects: tuple[Project, ...] = ()
    entities: tuple[Entity, ...] = ()
    feature_views: tuple[FeatureView, ...] = ()
    feature_services: tuple[FeatureService, ...] = ()

    @classmethod
    def of(cls, objects: Mapping[ObjectKey, Definition]) -> "Definitions":
        """The set of these objects, each kind sorted by project and name."""
        lists: dict[str, list[Definition]] = {kind.name: [] for kind in KINDS}
        for key in sorted(objects):
            lists[key.kind].append(objects[key])
        return cls.model_validate({kind.key: tuple(lists[kind.name]) for kind in KINDS})

    def objects(self) -> Iterator[Definition]:
        """Every definition, kind after kind."""
        yield from self.projects
        yield from self.entities
        yield from self.feature_views
        yield from self.feature_services

    @cached_property
    def index(self) -> Mapping[ObjectKey, Definition]:
        """Every definition by its key."""
        return {key_of(definition): definition for definition in self.objects()}

    def names(self, kind: str, project: str) -> list[str]:
        """The names of a kind in a project."""
        return [key.name for key in self.index if key.kind == kind and key.project == project]

    def entity(self, project: str, name: str) -> Entity:
        """The entity of that name. NotFoundError with the nearest names."""
        found = self._find(ENTITY, project, name)
        assert isinstance(found, Entity)
        return found

    def feature_view(self, project: str, name: str) -> FeatureView:
        """The feature view of that name. NotFoundError with the nearest names."""
        found = self._find(FEATURE_VIEW, project, name)
        assert isinstance(found, FeatureView)
        return found

    def feature_service(self, project: str, name: str) -> FeatureService:
        """The feature service of that name. NotFoundError with the nearest names."""
        found = self._find(FEATURE_SERVICE, project, name)
        assert isinstance(found, FeatureService)
        return found

    def _find(self, kind: str, project: str, name: str) -> Definition:
        found = self.index.get(ObjectKey(kind, project, name))
        if found is not None:
            return found
        projects = [definition.name for definition in self.projects]
        if project not in projects:
            raise NotFoundError.of(PROJECT, project, projects)
        raise NotFoundError.of(kind, name, self.names(kind, project))
