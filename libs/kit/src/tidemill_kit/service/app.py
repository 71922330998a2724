"""Runs a service process, from the first probe to SIGTERM.

Liveness is there at once. Dependencies may be down at start or later: the process waits, says so, and goes on by
itself. Components start in order once everything answers, and stop in reverse order. One that fails ends the process
with exit code 1, and the supervisor starts it again.
"""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, runtime_checkable

import structlog

from tidemill.status.v1 import status_service_pb2_grpc
from tidemill_core.errors import DependencyUnavailable, Internal, TidemillError, isolated
from tidemill_kit.access.access import Access
from tidemill_kit.audit.trail import AuditTrail
from tidemill_kit.events.decompression import limit_inflation
from tidemill_kit.grpc.admission import Admission
from tidemill_kit.grpc.server import GrpcServer, Registration
from tidemill_kit.models.freed_memory import return_freed_memory
from tidemill_kit.runtime import telemetry
from tidemill_kit.runtime.settings import ServiceSettings
from tidemill_kit.service.readiness import Dependency, Readiness
from tidemill_kit.service.status import Consumers, OutboxLength, StatusServicer, version_of
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.worker import Worker

__all__ = ["App", "Component", "Dependency", "Watched", "Worker", "run", "serve"]

_RESTART_PAUSE_S = 1.0
_RETURN_MEMORY_EVERY_S = 60.0
_COLLECTIONS_AT_START, _COLLECTIONS = (10_000, 10, 10), (3_000, 10, 30)
"""Objects between two collections, of these between two of the next kind, and of those between two of everything.

A request waits for a collection as long as that has objects to go through, and each tenth goes through what the last
ten have left. While a service starts nearly all stay, and no request waits. Python's own 700 cost more than they save.
"""

_log = structlog.get_logger()


class Component(Protocol):
    """A part that runs by itself."""

    async def start(self) -> None:
        """Begin. DependencyUnavailable means: not now; it is called again. Any other error ends the process."""
        ...

    async def stop(self) -> None:
        """Finish what is in hand and let go; also called after a `start` that failed or was cut short."""
        ...


@runtime_checkable
class Watched(Component, Protocol):
    """A component that works in the background, and whose failure ends the process."""

    async def wait(self) -> None:
        """Return when the work has ended, and raise what it ended with; being cancelled does not touch the work."""
        ...


@runtime_checkable
class Draining(Component, Protocol):
    """A component that takes time to finish what is in hand, and does so while the last RPCs are answered."""

    def begin_stop(self) -> None:
        """Begin what `stop` waits for."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A service put together: what its composition root returns.

    `components` start in this order and stop in the reverse one. Where one of them serves RPCs too, `admission` is what
    it shares with the gRPC server. `access` checks credentials, `audit`
    records the calls of audited RPCs.
    `consumers`, `outbox_length` and the components that are a `workers.controller.Controller` feed the status.
    """

    settings: ServiceSettings
    servicers: Sequence[Registration]
    access: Access
    dependencies: Sequence[Dependency] = ()
    components: Sequence[Component] = ()
    admission: Admission | None = None
    audit: AuditTrail | None = None
    consumers: Consumers = tuple
    outbox_length: OutboxLength = int


def run(
    app: App | Coroutine[Any, Any, App], *, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> NoReturn:
    """Run a service until SIGTERM or SIGINT, and exit: 0 after an orderly stop, 1 after a failure.

    `app` may be a coroutine, so that it is put together on the event loop that it will live on: asyncio's own, or what
    `loop_factory` makes.
    """
    gc.set_threshold(*_COLLECTIONS_AT_START)
    gc.freeze()  # what was imported stays: no collection needs to go through it again
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        code = runner.run(_main(app))
    raise SystemExit(code)


async def _main(app: App | Coroutine[Any, Any, App]) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        with isolated():
            built = app if isinstance(app, App) else await app
            limit_inflation(built.settings.max_inflated_bytes)
            close_tracing = telemetry.configure_tracing(built.settings, version=version_of(built.settings))
            close_metrics = telemetry.serve_metrics(built.settings)
            leave_out_imports()
            code = await serve(built, stop=stop, once_started=collect_briefly)
    except Exception as error:  # noqa: BLE001 - the edge of the process
        _log_failure(error)
        return 1
    await asyncio.to_thread(close_metrics)
    await asyncio.to_thread(close_tracing)
    return code


def leave_out_imports() -> None:
    """Leave what is there out of all later collections of garbage.

    Nothing runs yet: what components make, such as loaded models, has to be found by collections when it is let go.
    """
    gc.collect()
    gc.freeze()


def collect_briefly() -> None:
    """Let each collection of garbage go through little."""
    gc.set_threshold(*_COLLECTIONS)


async def serve(app: App, *, stop: asyncio.Event, once_started: Callable[[], None] = lambda: None) -> int:
    """Live until `stop` is set or something fails, then shut down; return the exit code.

    `once_started` is called when all components have started, before the first request is taken.
    """
    runner = _ServiceRunner(app, once_started)
    failures: list[Exception] = []
    try:
        await runner.live(stop)
    except* _Stopped:
        _log.info("service_stopping", grace_s=app.settings.shutdown_grace_s)
    except* Exception as group:  # noqa: BLE001 - whatever failed, the rest is to shut down
        failures = _leaves(group)
    for failure in failures:
        _log_failure(failure)
    orderly = await runner.end()
    _log.info("service_stopped", orderly=orderly)
    return 0 if orderly and not failures else 1


class _Stopped(Exception):
    """Ends the task group of a service that was asked to stop."""


class _ServiceRunner:
    """One run of an app."""

    def __init__(self, app: App, once_started: Callable[[], None]) -> None:
        self._app = app
        self._once_started = once_started
        self._open = False
        self._begun: list[Component] = []
        self._readiness = Readiness(app.dependencies, settings=app.settings, changed=self._report)
        status = StatusServicer(
            app.settings,
            readiness=self._readiness,
            is_ready=self._is_ready,
            consumers=app.consumers,
            outbox_length=app.outbox_length,
            controllers=[each for each in app.components if isinstance(each, Controller)],
            access=app.access,
        )
        self._grpc = GrpcServer(
            app.settings,
            [*app.servicers, (status_service_pb2_grpc.add_StatusServiceServicer_to_server, status)],
            admission=app.admission,
            access=app.access,
            audit=app.audit,
            closed=self._closed,
        )

    async def live(self, stop: asyncio.Event) -> None:
        """Be alive at once and ready in time; leave by an exception only."""
        await self._grpc.start()
        _log.info("service_alive", grpc_port=self._grpc.port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._readiness.watch())
            tasks.create_task(_return_memory())
            tasks.create_task(self._begin(tasks))
            await stop.wait()
            raise _Stopped

    async def end(self) -> bool:
        """Let RPCs and then components finish, in reverse order; return whether all did within the grace."""
        self._open = False
        grace_s = self._app.settings.shutdown_grace_s
        deadline = asyncio.get_running_loop().time() + grace_s
        for component in self._begun:
            if isinstance(component, Draining):
                component.begin_stop()
        await self._grpc.stop(self._app.settings.request_grace_s)
        orderly = True
        for component in reversed(self._begun):
            try:
                with isolated():
                    async with asyncio.timeout_at(deadline):
                        await component.stop()
            except Exception as error:  # noqa: BLE001 - the others must stop all the same
                orderly = False
                _log.error("component_stop_failed", component=_name_of(component), exc_info=error)
        return orderly

    async def _begin(self, tasks: asyncio.TaskGroup) -> None:
        """Start the components in order, each when everything answers, and open the API to RPCs."""
        for component in self._app.components:
            self._begun.append(component)
            await self._start(component)
            if isinstance(component, Watched):
                tasks.create_task(_watched(component))
        await self._readiness.all_ready.wait()
        self._once_started()
        self._open = True
        _log.info("service_ready")
        await self._report()

    async def _start(self, component: Component) -> None:
        while True:
            await self._readiness.all_ready.wait()
            try:
                await component.start()
            except DependencyUnavailable as error:
                _log.warning("component_start_postponed", component=_name_of(component), why=error.message)
                await asyncio.sleep(_RESTART_PAUSE_S)
            else:
                return

    async def _report(self) -> None:
        await self._grpc.set_ready(self._is_ready())

    def _is_ready(self) -> bool:
        return self._open and self._readiness.can_serve

    def _closed(self) -> str:
        waiting = ", ".join(self._readiness.waiting_for())
        reason = f"{self._app.settings.service} is starting" + (f" and waits for {waiting}" if waiting else "")
        return "" if self._open else f"{reason}: try again"


async def _return_memory() -> None:
    """Return what start-up and bursts of work have freed, now and then: by itself the C library keeps most of it."""
    while True:
        await asyncio.sleep(_RETURN_MEMORY_EVERY_S)
        await asyncio.to_thread(return_freed_memory)


async def _watched(component: Watched) -> None:
    await component.wait()
    message = f"{_name_of(component)} ended without being stopped"
    raise Internal(message)


def _log_failure(error: Exception) -> None:
    """Say why the process ends; an error of the kit's tree says it all in a sentence."""
    if isinstance(error, TidemillError):
        _log.error("service_failed", why=error.message)
    else:
        _log.error("service_failed", exc_info=error)


def _name_of(component: Component) -> str:
    return getattr(component, "name", type(component).__name__)


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
