"""Definitions: load them from YAML and Python, check them, plan what applying them changes, keep them.

Everything here works on definitions alone: it knows no tables and no network. ``Registry`` is the only one that writes.
"""

from featurestore.registry.definitions import Definition, Definitions, ObjectKey, key_of
from featurestore.registry.load import Loaded, load, survey
from featurestore.registry.parse import parse_definitions, sentences
from featurestore.registry.plan import Change, Plan, duration_text, plan_changes, reference_text
from featurestore.registry.registry import Registry
from featurestore.registry.source import Origin
from featurestore.registry.versions import Version, ViewVersions

__all__ = [
    "Change",
    "Definition",
    "Definitions",
    "Loaded",
    "ObjectKey",
    "Origin",
    "Plan",
    "Registry",
    "Version",
    "ViewVersions",
    "duration_text",
    "key_of",
    "load",
    "parse_definitions",
    "plan_changes",
    "reference_text",
    "sentences",
    "survey",
]
