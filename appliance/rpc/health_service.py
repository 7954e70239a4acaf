"""grpc.health.v1: the server under the empty name, each model under its own.

The answer is computed from the model table at the moment of the question, so it cannot lag behind readiness.
"""

import asyncio
from collections.abc import AsyncIterator

from grpc_health.v1 import health_pb2

from appliance.errors import NotFound
from appliance.rpc.call import Call, Parts, RequestBytes, Service
from appliance.rpc.messages import parse
from appliance.serving.model_manager import ModelManager

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_SERVER_NAMES = ("", "inference.GRPCInferenceService")


class HealthService:
    """Check and Watch."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager
        self._draining = False
        self._wake_ups: set[asyncio.Event] = set()

    @property
    def service(self) -> Service:
        """The table of methods."""
        return Service("grpc.health.v1.Health", {"Check": self._check}, {"Watch": self._watch}, {})

    def drain(self) -> None:
        """Say NOT_SERVING from now on, and end all watches after telling them."""
        self._draining = True
        for event in self._wake_ups:
            event.set()

    def _status(self, name: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        """`name`: empty for the server, `model` or `model/version`."""
        if name in _SERVER_NAMES:
            return SERVING if self._manager.ready and not self._draining else NOT_SERVING
        model, _, version = name.partition("/")
        try:
            self._manager.table.known(model, version)
        except NotFound:
            return SERVICE_UNKNOWN
        ready = self._manager.table.is_ready(model, version) and not self._draining
        return SERVING if ready else NOT_SERVING

    async def _check(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002  (every method has the same form)
        name = parse(health_pb2.HealthCheckRequest, data).service
        status = self._status(name)
        if status == SERVICE_UNKNOWN:
            raise NotFound(f"unknown service '{name}', expected '' or the name of a model")
        return [health_pb2.HealthCheckResponse(status=status).SerializeToString()]

    async def _watch(self, data: RequestBytes, call: Call) -> AsyncIterator[Parts]:  # noqa: ARG002
        name = parse(health_pb2.HealthCheckRequest, data).service
        changed = asyncio.Event()
        self._wake_ups.add(changed)
        end_watch = self._manager.watch(changed.set)
        last = None
        try:
            while True:
                changed.clear()
                draining = self._draining  # now: it may begin while the status is being sent
                status = self._status(name)
                if status != last:
                    last = status
                    yield [health_pb2.HealthCheckResponse(status=status).SerializeToString()]
                if draining:
                    return
                await changed.wait()
        finally:
            end_watch()
            self._wake_ups.discard(changed)
