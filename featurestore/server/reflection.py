"""grpc.reflection: lets tools such as grpcurl ask which methods and messages there are. They see the public descriptors."""

from collections.abc import AsyncIterator
from functools import cached_property
from typing import Any

from featurestore.server.context import CallContext
from featurestore.server.messages import parse
from featurestore.server.wire import featurestore_pb2 as public


class Reflection:
    """The handler; v1 and v1alpha of the protocol are the same messages under two paths.

    What it is made of comes with grpcio, which a server on the native engine does without until somebody asks.
    """

    @cached_property
    def _servicer(self) -> Any:
        from grpc_health.v1 import health_pb2  # noqa: PLC0415
        from grpc_reflection.v1alpha import reflection  # noqa: PLC0415

        own = public.DESCRIPTOR.services_by_name["FeatureStore"].full_name
        health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        return reflection.aio.ReflectionServicer((own, health, reflection.SERVICE_NAME))

    async def info(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        """ServerReflectionInfo."""
        servicer = self._servicer
        from grpc_reflection.v1alpha import reflection_pb2  # noqa: PLC0415  as above

        parsed = (parse(reflection_pb2.ServerReflectionRequest, data) async for data in requests)
        async for response in servicer.ServerReflectionInfo(parsed, None):
            yield response.SerializeToString()
