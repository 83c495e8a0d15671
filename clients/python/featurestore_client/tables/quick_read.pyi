from collections.abc import Callable
from typing import Any, Generic, TypeVar

from featurestore_client.tables.catalog import Catalog
from featurestore_client.tables.reader import Projection, SnapshotReader

Schema = TypeVar("Schema")
Beside = TypeVar("Beside")
Made = TypeVar("Made")

class MatrixRead(Generic[Made]):
    def __init__(
        self,
        catalog: Catalog,
        version: int,
        table: SnapshotReader,
        projection: Projection,
        key_name: str,
        rows_max: int,
        schema: Schema,
        make: Callable[[Schema, int, bytes, Beside], Made],
        beside_of: Callable[[bytes | None, bytes | None], Beside],
        nothing_beside: Beside,
    ) -> None: ...
    def read(self, keys: Any) -> Made | None: ...
