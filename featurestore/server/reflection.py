"""grpc.reflection: lets tools such as grpcurl ask which methods and messages there are. They see the public descriptors."""

from collections.abc import AsyncIterator

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from featurestore.server.context import CallContext
from featurestore.server.messages import parse
from featurestore.server.wire import featurestore_pb2 as public

_NAMES = (
    public.DESCRIPTOR.services_by_name["FeatureStore"].full_name,
    health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
    reflection.SERVICE_NAME,
)


class Reflection:
    """The handler; v1 and v1alpha of the protocol are the same messages under two paths."""

    def __init__(self) -> None:
        self._servicer = reflection.aio.ReflectionServicer(_NAMES)

    async def info(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        """ServerReflectionInfo."""
        parsed = (parse(reflection_pb2.ServerReflectionRequest, data) async for data in requests)
        async for response in self._servicer.ServerReflectionInfo(parsed, None):
            yield response.SerializeToString()
