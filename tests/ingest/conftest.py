"""A view with every kind of feature, and a sink that keeps what it is sent and can fail where a test wants it to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from featurestore.ingest import Load, LoadOptions, Naming, Summary, find_sources, naming_of
from featurestore.model import Entity, FeatureView, Field, JoinKey


class Counts(NamedTuple):
    rows: int
    older: int = 0


class Progress(NamedTuple):
    acknowledged_sequence: int
    counts: Counts


class LostError(Exception):
    """The sink's connection broke."""


@dataclass
class KeepingSink:
    """Acknowledges each batch ``behind`` batches later, and breaks once ``breaks_after`` are acknowledged."""

    behind: int = 0
    breaks_after: int | None = None
    batches: list[pa.RecordBatch] = field(default_factory=list)
    acknowledged: list[pa.RecordBatch] = field(default_factory=list)

    def ingest(self, view: str, data: Iterable[pa.RecordBatch], *, progress: Callable[[Any], None], **options: Any) -> Counts:
        assert view == "v"
        for batch in data:
            self.batches.append(batch)
            self._acknowledge(len(self.batches) - self.behind, progress)
        self._acknowledge(len(self.batches), progress)
        return Counts(sum(batch.num_rows for batch in self.acknowledged))

    def _acknowledge(self, count: int, progress: Callable[[Any], None]) -> None:
        while len(self.acknowledged) < count:
            if len(self.acknowledged) == self.breaks_after:
                raise LostError
            self.acknowledged.append(self.batches[len(self.acknowledged)])
            progress(Progress(len(self.acknowledged), Counts(sum(batch.num_rows for batch in self.acknowledged))))

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for batch in self.acknowledged for row in batch.to_pylist()]


ENTITY = Entity(name="e", join_keys=[JoinKey(name="key")])


def view_of(entity: Entity = ENTITY, **features: str) -> FeatureView:
    fields = [Field(name=name, type=kind) for name, kind in features.items()]
    return FeatureView(name="v", entity=entity.name, features=fields)


class Loaded(NamedTuple):
    rows: list[dict[str, Any]]
    summary: Summary


LoadFiles = Callable[..., Loaded]


@pytest.fixture
def load_files() -> LoadFiles:
    """Loads files into a sink: ``load_files(view, "a.csv", where="x > 1")``."""

    def load(view: FeatureView, *files: object, entity: Entity = ENTITY, format: Any = None, **options: Any) -> Loaded:  # noqa: A002
        naming = naming_of(view, options.pop("naming", Naming()))
        sources = find_sources([str(file) for file in files], format)
        sink = KeepingSink()
        summary = Load(view, entity, sources, LoadOptions(naming=naming, **options)).run(sink)
        counts = summary.counts
        assert counts.read == counts.filtered + counts.rejected + counts.written + counts.older
        assert counts.written == len(sink.rows)
        return Loaded(sink.rows, summary)

    return load
