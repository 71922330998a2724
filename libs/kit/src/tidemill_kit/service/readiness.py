"""Whether what a process needs answers: probed for as long as it runs, with growing pauses while something is down."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from prometheus_client import Gauge

from tidemill_core.errors import TidemillError, isolated
from tidemill_kit.runtime.settings import ServiceSettings

DEPENDENCY_READY = Gauge("tidemill_dependency_ready", "1 when the dependency answered the last probe.", ["dependency"])

_FIRST_PAUSE_S = 0.2

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """Something outside that must answer; `probe` raises when it does not.

    The service starts when all do that it needs for that. Later, requests go elsewhere only while one does not answer
    that they need.
    """

    name: str
    probe: Callable[[], Awaitable[object]]
    needed_to_serve: bool = True
    needed_to_start: bool = True


@dataclass(slots=True, kw_only=True)
class DependencyState:
    """How a dependency was at the last probe; `ready` is None before the first."""

    dependency: Dependency
    ready: bool | None = None
    message: str = "not asked yet"
    change_time: datetime


class Readiness:
    """Probes all dependencies, and reports each time one of them changes."""

    def __init__(
        self, dependencies: Sequence[Dependency], *, settings: ServiceSettings, changed: Callable[[], Awaitable[None]]
    ) -> None:
        now = datetime.now(UTC)
        self.states = [DependencyState(dependency=dependency, change_time=now) for dependency in dependencies]
        self.all_ready = asyncio.Event()
        if not self.waiting_for():
            self.all_ready.set()
        self._timeout_s = settings.dependency_timeout_s
        self._interval_s = settings.probe_interval_s
        self._changed = changed

    @property
    def can_serve(self) -> bool:
        """Whether everything answers that requests need."""
        return all(state.ready for state in self.states if state.dependency.needed_to_serve)

    def waiting_for(self) -> list[str]:
        """Return the names of those that do not answer, of what the start needs."""
        return [each.dependency.name for each in self.states if not each.ready and each.dependency.needed_to_start]

    async def watch(self) -> None:
        """Probe until cancelled."""
        async with asyncio.TaskGroup() as probes:
            for state in self.states:
                probes.create_task(self._follow(state))

    async def _follow(self, state: DependencyState) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            failure = await self._failure_of(state.dependency)
            state.message = self._reported(failure)
            if (failure is None) != state.ready:
                await self._change(state, failure)
            if failure is None:
                pause_s = _FIRST_PAUSE_S
            await asyncio.sleep(self._interval_s if failure is None else pause_s)
            pause_s = min(2 * pause_s, self._interval_s)

    async def _failure_of(self, dependency: Dependency) -> Exception | None:
        try:
            with isolated():
                async with asyncio.timeout(self._timeout_s):
                    await dependency.probe()
        except Exception as error:  # noqa: BLE001 - however a probe fails, the dependency is down and asked again
            return error
        return None

    async def _change(self, state: DependencyState, failure: Exception | None) -> None:
        state.ready = failure is None
        state.change_time = datetime.now(UTC)
        DEPENDENCY_READY.labels(state.dependency.name).set(state.ready)
        if failure is None:
            _log.info("dependency_ready", dependency=state.dependency.name)
        else:
            unknown = None if isinstance(failure, TidemillError | TimeoutError) else failure
            _log.warning("dependency_lost", dependency=state.dependency.name, why=state.message, exc_info=unknown)
        if self.waiting_for():
            self.all_ready.clear()
        else:
            self.all_ready.set()
        await self._changed()

    def _reported(self, failure: Exception | None) -> str:
        """Return why it is down, in words that carry no secret: a driver's own message may."""
        match failure:
            case None:
                return ""
            case TimeoutError():
                return f"no answer within {self._timeout_s:g} s; it is asked again until it answers"
            case TidemillError():
                return failure.message
            case _:
                return f"{type(failure).__name__}; the log has more; it is asked again until it answers"
