"""Models whose every call a test decides, and a router in front of them."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.inference.tests.fakes import ADA, FakeObserver
from tidemill_core.application import Caller
from tidemill_core.errors import Blame, DependencyUnavailable, RateLimited
from tidemill_inference.deployments.domain.errors import ReferenceNotFound
from tidemill_inference.engines.ports import ModelVersion, RemoteModel
from tidemill_inference.routing.domain.attempt import Attempt
from tidemill_inference.routing.domain.policy import Routing, RoutingPolicy
from tidemill_inference.routing.endpoints import Endpoints
from tidemill_inference.routing.ports import Route, RunningAttempt
from tidemill_inference.routing.route import RouteModels


def down(model: str = "gpt@1") -> DependencyUnavailable:
    message = f"{model} fails with HTTP status 500"
    return DependencyUnavailable(message, dependency="api", blame=Blame.VARIANT)


def busy(*, retry_after_s: float = 7.0) -> RateLimited:
    message = "too many requests"
    return RateLimited(message, retry_after_s=retry_after_s)


@dataclass
class Breaks:
    """One token, then an error."""

    error: Exception


@dataclass
class Slow:
    """The answer, or an error, once `go` is set."""

    error: Exception | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Pauses:
    """A token, and then none until the call ends."""


Behaviour = str | Exception | Breaks | Slow | Pauses


class Routed:
    """A router, and models that do what a test says: one behaviour for each call, the last one for all after it."""

    def __init__(
        self,
        models: Mapping[str, Behaviour | list[Behaviour]],
        *,
        local: str = "",
        retries: int = 0,
        threshold: int = 5,
    ) -> None:
        self.behaviours = {name: list(each) if isinstance(each, list) else [each] for name, each in models.items()}
        self.local = local
        self.calls: list[str] = []
        self.cancelled: Counter[str] = Counter()
        self.pauses: list[float] = []
        self.ahead_s = 0.0
        self.observed = FakeObserver()
        self.endpoints = Endpoints(
            self.observed, threshold=threshold, open_s=30.0, clock=lambda: time.monotonic() + self.ahead_s
        )
        self.router = RouteModels(
            models=self,
            endpoints=self.endpoints,
            observe=self.observed,
            retries=retries,
            random=lambda: 0.0,
            sleep=self._sleep,
        )
        self.attempts = list[Attempt]()
        self.warnings = list[str]()
        self._called = asyncio.Condition()

    async def resolve(self, caller: Caller, reference: str, *, field: str) -> ModelVersion:
        assert (caller, field) == (ADA, "model")
        if reference not in self.behaviours:
            raise ReferenceNotFound(reference, field=field, known=[])
        remote = None if reference == self.local else RemoteModel(model=reference, base_url="https://api/v1")
        return ModelVersion(id=reference, digest=reference, remote=remote)

    async def ask(
        self,
        *fallback: str,
        model: str = "gpt@1",
        deadline_s: float = 60.0,
        equals: Mapping[str, int] | None = None,
        affinity: str = "",
        policy: RoutingPolicy | None = None,
    ) -> str:
        """Ask a question; `attempts` and `warnings` are those of the last one."""
        now = self.endpoints.clock()
        self.attempts, self.warnings = [], []
        route = Route(
            model=model,
            fallback=fallback,
            routing=Routing(policy=policy or RoutingPolicy(), equals=equals or {}),
            affinity=affinity,
            started=now,
            deadline=now + deadline_s,
            attempts=self.attempts,
            warnings=self.warnings,
        )
        return await self.router(ADA, route, self._call)

    async def has_called(self, times: int) -> None:
        """Wait for so many calls."""
        async with asyncio.timeout(10), self._called:
            await self._called.wait_for(lambda: len(self.calls) >= times)

    @property
    def outcomes(self) -> list[tuple[str, str, str]]:
        """The attempts for the last question."""
        return [(each.model, each.kind.value, each.outcome) for each in self.attempts]

    async def _call(self, model: ModelVersion, attempt: RunningAttempt, *, timeout_s: float) -> str:
        assert timeout_s > 0
        self.calls.append(model.id)
        async with self._called:
            self._called.notify_all()
        attempt.endpoint = "openai"
        behaviours = self.behaviours[model.id]
        behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        try:
            return await _answer(behaviour, attempt)
        except asyncio.CancelledError:
            self.cancelled[model.id] += 1
            raise

    async def _sleep(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        await asyncio.sleep(0)


async def _answer(behaviour: Behaviour, attempt: RunningAttempt) -> str:
    if isinstance(behaviour, Exception):
        raise behaviour
    if isinstance(behaviour, Slow):
        await behaviour.go.wait()
        if behaviour.error:
            raise behaviour.error
    attempt.more()
    if isinstance(behaviour, Breaks):
        raise behaviour.error
    if isinstance(behaviour, Pauses):
        await asyncio.Event().wait()
    attempt.finished(input_tokens=10, output_tokens=2)
    return behaviour if isinstance(behaviour, str) else attempt.model
