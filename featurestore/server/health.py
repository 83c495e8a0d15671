"""grpc.health.v1: whether the server serves, for load balancers and orchestrators. SERVING until it drains."""

import asyncio
from collections.abc import AsyncIterator

from grpc_health.v1 import health_pb2

from featurestore.errors import NotFoundError, shorten
from featurestore.server.context import CallContext
from featurestore.server.messages import parse

SERVICES = ("", "featurestore.v1.FeatureStore")
"""The whole server, and the service by its name."""


class Health:
    """The state and the handlers that tell it."""

    def __init__(self, draining: asyncio.Event) -> None:
        self._draining = draining

    def check(self, data: bytes, context: CallContext) -> bytes:
        """Check."""
        service = parse(health_pb2.HealthCheckRequest, data).service
        if service not in SERVICES:
            known = ", ".join(repr(name) for name in SERVICES)
            raise NotFoundError(f"service {shorten(service)} does not exist: expected one of {known}")
        return self._answer(service)

    async def watch(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        """Watch: the state now, and again when it changes."""
        data = await anext(requests, b"")
        service = parse(health_pb2.HealthCheckRequest, data).service
        yield self._answer(service)
        await self._draining.wait()
        if service in SERVICES:
            yield self._answer(service)

    def _answer(self, service: str) -> bytes:
        states = health_pb2.HealthCheckResponse
        state = (
            states.SERVICE_UNKNOWN
            if service not in SERVICES
            else states.NOT_SERVING
            if self._draining.is_set()
            else states.SERVING
        )
        answer: bytes = states(status=state).SerializeToString()
        return answer
