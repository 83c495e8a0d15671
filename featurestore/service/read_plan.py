"""Read plans: a selection of features resolved once, to the lookups that answer it, and then read many times.

A selection names a feature service, or features of views. What names mean is decided here; what is then read, and how, is the
client's ``tables/lookups.py``, which reads from shared memory by the same code. Invariant: a plan is valid for the version of
the definitions it was made from; whoever keeps one drops it when that moves.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from featurestore_client.tables.lookups import LookupFeature, Lookups, LookupTable
from featurestore_client.tables.table import TableReader
from featurestore_client.types import parse_type
from pydantic import ValidationError

from featurestore.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError
from featurestore.model import FEATURES_MAX, DataType, Entity, FeatureReference
from featurestore.registry import Definitions

QUICK_ANSWER_BYTES = 1 << 20
"""An answer of more bytes takes so long that it is made in a worker thread, while the event loop goes on."""
_VARIABLE_VALUE_BYTES = 64  # what a string is assumed to take when the size of an answer is guessed
_REFERENCE_CHARACTERS_MAX = 512

Tables = Callable[[str, str], TableReader]
"""The table of a view, by its project and name. NotFoundError where there is none."""


class Selection(NamedTuple):
    """What to read: exactly one of a feature service and a list of ``view:feature`` or ``view:feature as name``."""

    project: str
    service: str = ""
    features: tuple[str, ...] = ()
    event_timestamps: bool = False
    expired_values: bool = False


class AnswerFeature(NamedTuple):
    """One feature of an answer: its name there, its type, which of the plan's views it is of, and its name in that."""

    name: str
    type: DataType
    view_index: int
    feature: str


class AnswerView(NamedTuple):
    """A view of an answer, and the key columns of a request that are its join keys, in the entity's order."""

    name: str
    key_names: tuple[str, ...]
    entity: Entity


class ReadPlan:
    """A resolved selection. ``features``, ``views`` and ``join_keys`` are the schema of its answers."""

    def __init__(self, selection: Selection, definitions: Definitions, tables: Tables) -> None:
        self.selection = selection
        self.views, self.features = _resolved(selection, definitions)
        self.join_keys = _join_keys(self.views)
        self.key_names = tuple(self.join_keys)
        lookups = Lookups(
            [
                LookupTable(tables(selection.project, view.name), tuple(self.key_names.index(name) for name in view.key_names))
                for view in self.views
            ],
            [LookupFeature(each.feature, parse_type(str(each.type)), each.view_index) for each in self.features],
            len(self.key_names),
            event_timestamps=selection.event_timestamps,
            expired_values=selection.expired_values,
        )
        self.is_matrix, self.row_bytes, self.sources, self.single, self.read = (
            lookups.is_matrix,
            lookups.row_bytes,
            lookups.sources,
            lookups.single,
            lookups.read,
        )
        variable = sum(feature.type.is_variable for feature in self.features)
        self.quick_rows_max = QUICK_ANSWER_BYTES // (self.row_bytes + variable * _VARIABLE_VALUE_BYTES)


def _resolved(selection: Selection, definitions: Definitions) -> tuple[tuple[AnswerView, ...], tuple[AnswerFeature, ...]]:
    project = selection.project
    views: dict[tuple[str, tuple[str, ...]], AnswerView] = {}
    features: list[AnswerFeature] = []
    for reference in _references(selection, definitions):
        view = definitions.feature_view(project, reference.view)
        field = next((field for field in view.features if field.name == reference.feature), None)
        if field is None:
            known = (field.name for field in view.features)
            raise NotFoundError.of(f"feature of view {view.name!r}", reference.feature, known)
        entity = definitions.entity(project, view.entity)
        key_names = tuple(reference.join_keys.get(key.name, key.name) for key in entity.join_keys)
        use = (view.name, key_names)
        views.setdefault(use, AnswerView(view.name, key_names, entity))
        features.append(AnswerFeature(reference.name, field.type, [*views].index(use), field.name))
    return tuple(views.values()), tuple(features)


def _join_keys(views: Sequence[AnswerView]) -> Mapping[str, DataType]:
    """The key columns of a request, in order."""
    join_keys: dict[str, DataType] = {}
    for view in views:
        for name, key in zip(view.key_names, view.entity.join_keys, strict=True):
            if join_keys.setdefault(name, key.type) != key.type:
                raise InvalidArgumentError.of(
                    f"join key {name!r}",
                    f"{join_keys[name]} and {key.type}",
                    "one type in all views that are read together; rename it in a feature service's join_keys",
                )
    return join_keys


def _references(selection: Selection, definitions: Definitions) -> Sequence[FeatureReference]:
    if bool(selection.service) == bool(selection.features):
        got = "both" if selection.service else "neither"
        raise InvalidArgumentError.of("selection", got, "either service or features")
    if selection.service:
        return definitions.feature_service(selection.project, selection.service).features
    if len(selection.features) > FEATURES_MAX:
        raise ResourceExhaustedError.of("features", len(selection.features), FEATURES_MAX, "read them in several requests")
    references = []
    names: set[str] = set()
    for index, text in enumerate(selection.features):
        field = f"selection.features[{index}]"
        if len(text) > _REFERENCE_CHARACTERS_MAX:
            raise InvalidArgumentError.of(field, text, f"at most {_REFERENCE_CHARACTERS_MAX} characters")
        try:
            reference = FeatureReference.model_validate(text)
        except ValidationError:
            raise InvalidArgumentError.of(field, text, "'view:feature' or 'view:feature as name'") from None
        if reference.name in names:
            raise InvalidArgumentError.of(
                field, text, f"distinct names in the answer: {reference.name!r} is there already; rename it with 'as'"
            )
        names.add(reference.name)
        references.append(reference)
    return references
