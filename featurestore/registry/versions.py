"""Which versions of a view's rows there are: the one that serves, and those before it that can be brought back.

The rows of a view get a number when they are all replaced at one instant; 1 are those that never were. What stands here is
written in one file with the definitions, so that a start knows which rows a view has to have. Invariant: a view that is dropped
takes its versions with it.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from featurestore.registry.births import THE_VIEW, Births


class Version(BaseModel):
    """One version of a view's rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(1, ge=1)
    time_us: int = 0
    """When it was loaded; 0 where it grew by writes alone."""
    rows: int = 0
    """How many it had when it began to serve."""
    source: str = ""
    """What the load said that it came from."""


class ViewVersions(BaseModel):
    """Those of one view."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    current: Version = Version()
    since: int = 0
    """The version of the definitions from which on it serves."""
    after: int = 0
    """It was written down with everything that the journal's records up to this one did to it."""
    kept: tuple[Version, ...] = ()
    """Earlier ones, which are on disk too; the latest first."""

    def find(self, number: int | None) -> Version | None:
        """The kept version of that number; the latest one for None."""
        return next((version for version in self.kept if number in (None, version.number)), None)

    def numbers_on_disk(self, covered: int) -> set[int]:
        """Those that have files of their own, where a snapshot stands for what was there under version ``covered`` of the
        definitions."""
        return {version.number for version in (*self.kept, *((self.current,) if self.since > covered else ()))}

    @property
    def next_number(self) -> int:
        """A number that none of them has had."""
        return max(version.number for version in (self.current, *self.kept)) + 1


Versions = Mapping[str, ViewVersions]
"""By ``project.view``; a view whose rows were never replaced is not in it."""


def journal_needed_after(versions: Versions, base: int, covered: int) -> int:
    """Behind which record the journal is needed beside a snapshot of everything up to ``base``, which was begun under version
    ``covered`` of the definitions."""
    return min([base, *(each.after for each in versions.values() if each.since > covered)])


def versions_after(versions: Versions, before: Births, after: Births) -> Versions:
    """Those of the views that are still the same ones."""
    return {
        name: found
        for name, found in versions.items()
        if name in after and before.get(name, {}).get(THE_VIEW) == after[name][THE_VIEW]
    }


def read_versions(document: object) -> Versions:
    """From JSON. Raises ValueError with what is wrong."""
    if not isinstance(document, dict):
        raise ValueError("there are no versions in it")
    try:
        return {name: ViewVersions.model_validate(found) for name, found in document.items()}
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"its versions are damaged at {place}: {first['msg']}") from None
