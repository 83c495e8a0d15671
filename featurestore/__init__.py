"""featurestore: an online feature store. Definitions are made of the names exported here."""

from featurestore.model import (
    BatchSource,
    DataType,
    Entity,
    FeatureReference,
    FeatureService,
    FeatureView,
    Field,
    JoinKey,
    Project,
)

__all__ = [
    "BatchSource",
    "DataType",
    "Entity",
    "FeatureReference",
    "FeatureService",
    "FeatureView",
    "Field",
    "JoinKey",
    "Project",
]
__version__ = "0.1.0"
