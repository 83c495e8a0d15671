"""Keeps the tables in step with the definitions.

A change of definitions touches the tables twice, around the moment at which the registry commits it:

    prepare   create the new tables, widen the changed ones (all old features and all new ones)   undone if anything fails
    commit    the registry persists the definitions
    settle    drop the features and tables that no definition has any more                        repeated until it succeeds

so that nothing is lost before the commit, and a crash at any point leaves tables that hold at least what the definitions say;
``settle`` at the next start does the rest. Invariant: at no time does a committed definition name a feature that its table
lacks. All of it blocks for as long as tables are rebuilt and so runs in a thread; readers go on.
"""

from collections.abc import Callable

from featurestore.model import FeatureView
from featurestore.registry import Definitions
from featurestore.store import Store

Undo = list[Callable[[], None]]


def prepare(store: Store, definitions: Definitions) -> Undo:
    """Makes every table hold at least what ``definitions`` say. Returns how to undo it; has undone it when it raises."""
    tables = {(table.view.project, table.view.view): table for table in store.tables()}
    undo: Undo = []
    try:
        for view in definitions.feature_views:
            entity = definitions.entity(view.project, view.entity)
            table = tables.get((view.project, view.name))
            if table is None:
                store.create_table(view, entity)
                undo.append(lambda view=view: store.drop_table(view.project, view.name))  # type: ignore[misc]
                continue
            before, entity_before = table.definition, table.entity
            wide = _widened(before, view)
            if _needs_change(before, wide):
                store.alter_table(wide, entity)
                undo.append(lambda before=before, entity=entity_before: store.alter_table(before, entity))  # type: ignore[misc]
    except BaseException:
        undo_all(undo)
        raise
    return undo


def undo_all(undo: Undo) -> None:
    """Undoes what ``prepare`` did, the last first."""
    while undo:
        undo.pop()()


def drop_what_comes_again(store: Store, before: Definitions, after: Definitions) -> None:
    """Drops what ``before`` has no more and ``after`` has again, where ``settle`` could not: it would have old rows or values.

    Raises as ``Store.alter_table`` does.
    """
    views = {(view.project, view.name): view for view in before.feature_views}
    wanted = {(view.project, view.name): view for view in after.feature_views}
    for table in store.tables():
        key = (table.view.project, table.view.view)
        view = views.get(key)
        if key not in wanted:
            continue
        if view is None:
            store.drop_table(*key)
        elif (_features(table.definition) - _features(view)) & _features(wanted[key]):
            store.alter_table(view, before.entity(view.project, view.entity))


def settle(store: Store, definitions: Definitions) -> None:
    """Drops what no definition has any more. Safe to repeat."""
    wanted = {(view.project, view.name): view for view in definitions.feature_views}
    for table in store.tables():
        key = (table.view.project, table.view.view)
        view = wanted.get(key)
        if view is None:
            store.drop_table(*key)
        elif _needs_change(table.definition, view):
            store.alter_table(view, definitions.entity(view.project, view.entity))


def changed_tables(store: Store, definitions: Definitions) -> list[tuple[str, str]]:
    """The tables that ``prepare`` and ``settle`` would rebuild or drop: writes to them wait meanwhile."""
    wanted = {(view.project, view.name): view for view in definitions.feature_views}
    changed = []
    for table in store.tables():
        key = (table.view.project, table.view.view)
        view = wanted.get(key)
        if view is None or _needs_change(table.definition, view):
            changed.append(key)
    return changed


def _features(view: FeatureView) -> set[str]:
    return {feature.name for feature in view.features}


def _widened(before: FeatureView, after: FeatureView) -> FeatureView:
    names = _features(after)
    dropped = tuple(feature for feature in before.features if feature.name not in names)
    return after.model_copy(update={"features": after.features + dropped})


def _needs_change(before: FeatureView, after: FeatureView) -> bool:
    """Whether the table itself would change; descriptions and tags are the registry's alone."""
    return _stored_part(before) != _stored_part(after)


def _stored_part(view: FeatureView) -> tuple[object, ...]:
    return ({feature.name: feature.type for feature in view.features}, view.ttl, view.retention)
