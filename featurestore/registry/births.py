"""Since which version of the definitions each view and each feature has been there, without a break.

A view that is dropped and made again has the old one's name and none of its rows; so has a feature. Who replays a write that
was taken under an earlier version asks here what of it is still about the same thing. Invariant: a birth is kept while its
definition stays, and stored in one file with it, so that the two cannot come apart.
"""

from collections.abc import Mapping

from featurestore.registry.definitions import Definitions

Births = Mapping[str, Mapping[str, int]]
"""By ``project.view``: the version by feature, and under an empty name that of the view itself."""

THE_VIEW = ""


def births_after(births: Births, before: Definitions, after: Definitions, version: int) -> Births:
    """Those of the definitions ``after``, which hold from ``version`` on, in place of those ``before``."""
    kept = {
        f"{view.project}.{view.name}": {THE_VIEW, *(feature.name for feature in view.features)} for view in before.feature_views
    }
    found = {}
    for view in after.feature_views:
        name = f"{view.project}.{view.name}"
        names = (THE_VIEW, *(feature.name for feature in view.features))
        known, there = births.get(name, {}), kept.get(name, set())
        found[name] = {each: known.get(each, 0) if each in there else version for each in names}
    return found


def features_known(births: Births, project: str, view: str, version: int) -> frozenset[str] | None:
    """The features of a view that were there already under an earlier version; None where that was another view, or none."""
    known = births.get(f"{project}.{view}")
    if known is None or known[THE_VIEW] > version:
        return None
    return frozenset(name for name, since in known.items() if name != THE_VIEW and since <= version)
