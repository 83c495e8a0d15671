"""ExportFeatures: the rows of a view as batches, read in worker threads as fast as the caller takes them."""

from collections.abc import AsyncIterator

from featurestore.errors import FailedPreconditionError, NotFoundError
from featurestore.server.columns import checked_view
from featurestore.server.context import CallContext
from featurestore.server.messages import one_request
from featurestore.server.wire import featurestore_raw_pb2 as wire
from featurestore.server.write_encoding import batches_of
from featurestore.service import OnlineReader
from featurestore.service.online_store import now_us


class ExportMethods:
    """The handler, over any reader of the store."""

    def __init__(self, service: OnlineReader) -> None:
        self._service = service

    async def export(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        """ExportFeatures."""
        request = await one_request(wire.ExportFeaturesRequest, requests)
        project, view = checked_view(request.project, request.view)
        self._service.definitions.feature_view(project, view)
        version = self._service.versions(project, view).current
        try:
            table = self._service.table(project, view)
        except FileNotFoundError:  # dropped just now
            raise NotFoundError.of("feature view", view, []) from None
        yield wire.ExportFeaturesResponse(rows_expected=table.stats().rows).SerializeToString()
        batches = batches_of(table, now_us(), expired_rows=request.expired_rows)
        while True:
            batch = await self._service.beside_the_loop(lambda: next(batches, None))
            now = self._service.versions(project, view).current
            if now.number != version.number:  # it would be of both, and all rows of neither
                raise FailedPreconditionError(
                    f"view {view!r} was replaced while its rows were read, by version {now.number}: export it again"
                )
            if batch is None:
                return
            yield wire.ExportFeaturesResponse(batch=batch).SerializeToString()
