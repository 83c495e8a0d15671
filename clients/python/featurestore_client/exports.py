"""The rows of a view as they come over a stream: for ``Client.export`` and ``AsyncClient.export``."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from featurestore_client.types import ViewSchema
from featurestore_client.wire import featurestore_raw_pb2 as wire

TIMESTAMP_COLUMN = "event_timestamp"


class _Reading:
    """What the two have in common."""

    def __init__(self, view: ViewSchema, timestamp_column: str) -> None:
        from featurestore_client.arrow_batches import arrow_schema, record_batch  # noqa: PLC0415  it needs pyarrow

        self._view = view
        self._record_batch = record_batch
        self.schema = arrow_schema(view, timestamp_column)
        """Arrow's, of the batches: join keys, event time, features."""
        self.rows_expected = 0
        """How many rows there were when the reading began."""

    def _begin(self, encoded: bytes) -> None:
        self.rows_expected = wire.ExportFeaturesResponse.FromString(encoded).rows_expected

    def _batch(self, encoded: bytes) -> Any:
        return self._record_batch(self.schema, self._view, wire.ExportFeaturesResponse.FromString(encoded).batch)


class Export(_Reading):
    """Iterate over it: Arrow record batches, each row as it was at one instant."""

    def __init__(self, view: ViewSchema, timestamp_column: str, responses: Iterator[bytes]) -> None:
        super().__init__(view, timestamp_column)
        self._responses = responses
        self._begin(next(responses))

    def __iter__(self) -> Iterator[Any]:
        return map(self._batch, self._responses)


class AsyncExport(_Reading):
    """The same for ``async for``."""

    def __init__(self, view: ViewSchema, timestamp_column: str, responses: AsyncIterator[bytes]) -> None:
        super().__init__(view, timestamp_column)
        self._responses = responses

    async def begin(self) -> "AsyncExport":
        """Waits for the first answer."""
        self._begin(await anext(self._responses))
        return self

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for response in self._responses:
            yield self._batch(response)


def export_request(view: ViewSchema, *, expired_rows: bool) -> bytes:
    """An ExportFeaturesRequest."""
    return wire.ExportFeaturesRequest(project=view.project, view=view.view, expired_rows=expired_rows).SerializeToString()
