"""What a batch of one view must look like: its key columns and features by name, resolved once."""

from collections.abc import Mapping

from featurestore.model import DataType
from featurestore.registry import Definitions
from featurestore.service.journaled_writes import Destination
from featurestore.store import Store, Table


class WritePlan(Destination):
    """The columns that writes and deletes of one view may have, and the table they go to: the view's own, or one that is
    ``staged`` to take its place."""

    def __init__(self, project: str, view: str, definitions: Definitions, store: Store, *, staged: Table | None = None) -> None:
        definition = definitions.feature_view(project, view)
        entity = definitions.entity(project, definition.entity)
        super().__init__(project, view, staged or store.table(project, view), staged is not None)
        self.join_keys: Mapping[str, DataType] = {key.name: key.type for key in entity.join_keys}
        self.features: Mapping[str, DataType] = {field.name: field.type for field in definition.features}
