"""What a service says about itself when an operator asks."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib import metadata
from math import isfinite
from typing import Any, Protocol, TypeVar

import grpc
import psutil
from google.protobuf.timestamp_pb2 import Timestamp

from tidemill.status.v1 import status_service_pb2, status_service_pb2_grpc
from tidemill_core.errors import TidemillError
from tidemill_kit.access.access import Access
from tidemill_kit.grpc.requests import timestamp_of
from tidemill_kit.runtime.settings import ServiceSettings
from tidemill_kit.service.readiness import Readiness
from tidemill_kit.workers.controller import Controller

_PATIENCE_S = 2.0
_UNKNOWN = -1

T = TypeVar("T")


class ConsumerStatus(Protocol):
    """One subscription's progress, with the fields of tidemill.status.v1.Consumer."""

    @property
    def name(self) -> str:
        """The subscription."""

    @property
    def lag(self) -> int:
        """Records that are not committed yet."""

    @property
    def handled(self) -> int:
        """Records handled since the start."""

    @property
    def dead_lettered(self) -> int:
        """Records dead-lettered since the start."""

    @property
    def waiting_for(self) -> str:
        """What holds it up, "" when it runs."""


Answer = Callable[[], T | Awaitable[T]]
Consumers = Answer[Sequence[ConsumerStatus]]
OutboxLength = Answer[int]


def version_of(settings: ServiceSettings) -> str:
    """Return the version of the service's package."""
    try:
        return metadata.version(f"tidemill-{settings.service}")
    except metadata.PackageNotFoundError:
        return "unknown"


class StatusServicer(status_service_pb2_grpc.StatusServiceServicer):
    """Works while dependencies are down: fields that take longer than two seconds are omitted."""

    def __init__(  # noqa: PLR0913 - all that a status is made of
        self,
        settings: ServiceSettings,
        *,
        readiness: Readiness,
        is_ready: Callable[[], bool],
        consumers: Consumers,
        outbox_length: OutboxLength,
        controllers: Sequence[Controller[Any]] = (),
        access: Access,
    ) -> None:
        self._access = access
        self._settings = settings
        self._version = version_of(settings)
        self._start_time = datetime.now(UTC)
        self._readiness = readiness
        self._is_ready = is_ready
        self._consumers = consumers
        self._outbox_length = outbox_length
        self._controllers = controllers

    async def GetStatus(  # noqa: N802 - the contract's name
        self,
        request: status_service_pb2.GetStatusRequest,  # noqa: ARG002 - it is empty
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 - gRPC's signature
    ) -> status_service_pb2.GetStatusResponse:
        """Return this process as it is now."""
        consumers: Sequence[ConsumerStatus] = await _reported(self._consumers, otherwise=())
        outbox_length: int = await _reported(self._outbox_length, otherwise=_UNKNOWN)
        status = status_service_pb2.ServiceStatus(
            service=self._settings.service,
            version=self._version,
            ready=self._is_ready(),
            start_time=timestamp_of(self._start_time),
            dependencies=[
                status_service_pb2.Dependency(
                    name=state.dependency.name,
                    ready=bool(state.ready),
                    message=state.message,
                    change_time=timestamp_of(state.change_time),
                )
                for state in self._readiness.states
            ],
            consumers=[
                status_service_pb2.Consumer(
                    name=consumer.name,
                    lag=consumer.lag,
                    handled=consumer.handled,
                    dead_lettered=consumer.dead_lettered,
                    waiting_for=consumer.waiting_for,
                )
                for consumer in consumers
            ],
            resident_bytes=psutil.Process().memory_info().rss,
            outbox_length=outbox_length,
            controllers=[
                status_service_pb2.Controller(**asdict(controller.status)) for controller in self._controllers
            ],
            access=_checked_by(self._access),
        )
        return status_service_pb2.GetStatusResponse(status=status)


def _checked_by(access: Access) -> status_service_pb2.Access:
    now, revocations = datetime.now(UTC), access.revocations

    def before(age_s: float) -> Timestamp | None:
        return timestamp_of(now - timedelta(seconds=age_s)) if isfinite(age_s) else None

    return status_service_pb2.Access(
        issuers=[
            status_service_pb2.Issuer(name=each.issuer, keys=each.count, read_time=before(each.age_s))
            for each in access.keys
        ],
        revocations=revocations.count,
        revocations_time=before(revocations.age_s) if revocations.complete else None,
    )


async def _reported(ask: Answer[T], *, otherwise: T) -> T:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            answer = ask()
            return await answer if inspect.isawaitable(answer) else answer
    except (TimeoutError, TidemillError):
        return otherwise
