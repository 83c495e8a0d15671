"""What a batch of one view must look like: its key columns and features by name, resolved once."""

from collections.abc import Mapping

from featurestore.model import DataType
from featurestore.registry import Definitions
from featurestore.store import Store, Table


class WritePlan:
    """The columns that writes and deletes of one view may have, and the table they go to: the view's own, or one that is
    ``staged`` to take its place."""

    def __init__(self, project: str, view: str, definitions: Definitions, store: Store, *, staged: Table | None = None) -> None:
        definition = definitions.feature_view(project, view)
        entity = definitions.entity(project, definition.entity)
        self.project = project
        self.view = view
        self.join_keys: Mapping[str, DataType] = {key.name: key.type for key in entity.join_keys}
        self.features: Mapping[str, DataType] = {field.name: field.type for field in definition.features}
        self.is_staged = staged is not None
        self.table: Table = staged or store.table(project, view)
