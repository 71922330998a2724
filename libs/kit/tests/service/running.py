"""A service that runs in the process of a test, and its parts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs.kit.tests.grpc.support import Context, settings, sources
from tidemill.ingest.v1.source_pb2 import Source
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest, GetSourceResponse
from tidemill.status.v1.status_service_pb2 import GetStatusRequest, ServiceStatus
from tidemill.status.v1.status_service_pb2_grpc import StatusServiceStub
from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.service.app import App, Dependency, serve
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.ports import free_port


@dataclass
class Switch:
    """A dependency that can be turned off."""

    name: str = "mongodb"
    on: bool = True

    async def probe(self) -> None:
        if not self.on:
            message = f"{self.name} does not answer"
            raise DependencyUnavailable(message, dependency=self.name)

    @property
    def dependency(self) -> Dependency:
        return Dependency(name=self.name, probe=self.probe)


@dataclass
class Part:
    """A component that says what happens to it."""

    name: str
    diary: list[str]
    refusals: int = 0
    stop_forever: bool = False
    stop_error: Exception | None = None

    async def start(self) -> None:
        if self.refusals:
            self.refusals -= 1
            message = "the other side went away"
            raise DependencyUnavailable(message, dependency="kafka")
        self.diary.append(f"{self.name} started")

    async def stop(self) -> None:
        if self.stop_forever:
            await asyncio.Event().wait()
        if self.stop_error is not None:
            raise self.stop_error
        self.diary.append(f"{self.name} stopped")


async def get_source(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
    return GetSourceResponse(source=Source(id="cms"))


@dataclass
class Running:
    """A service that runs in this process."""

    port: int
    stop: asyncio.Event
    task: asyncio.Task[int]
    channel: grpc.aio.Channel

    async def status(self) -> ServiceStatus:
        return (await StatusServiceStub(self.channel).GetStatus(GetStatusRequest(), wait_for_ready=True)).status

    async def health(self, service: str = "") -> bool:
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=service), wait_for_ready=True)
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    async def becomes(self, *, ready: bool) -> None:
        async with asyncio.timeout(30):  # a process of its own has much to import
            while await self.health() != ready:  # noqa: ASYNC110 - what is polled is on the other side
                await asyncio.sleep(0.01)

    async def ends(self) -> int:
        self.stop.set()
        return await asyncio.wait_for(self.task, 10)


@asynccontextmanager
async def living(**app: Any) -> AsyncIterator[Running]:  # noqa: ANN401 - the fields of App
    changes = app.pop("settings", {})
    stop, port = asyncio.Event(), free_port()
    parts: dict[str, Any] = {
        "servicers": [sources(GetSource=get_source)],
        "access": access_of(),
        "audit": RecordedCalls(),
        **app,
    }
    built = App(settings=settings(grpc_port=port, **changes), **parts)
    task = asyncio.create_task(serve(built, stop=stop))
    try:
        async with admin_channel(f"127.0.0.1:{port}", name="probe", project="acme") as channel:
            yield Running(port, stop, task, channel)
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.wait({task}), 10)
