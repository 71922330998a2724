"""Have one of several models answer: retries, fallbacks, equal models, hedges and circuits, all of them here.

An engine makes one request for one call, so that there is one layer of retries.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from tidemill_core.application import Caller
from tidemill_core.errors import (
    Blame,
    DependencyTimedOut,
    DependencyUnavailable,
    Internal,
    PreconditionFailed,
    RateLimited,
    TidemillError,
)
from tidemill_inference.deployments.domain.errors import ReferenceNotFound
from tidemill_inference.engines.ports import Models, ModelVersion
from tidemill_inference.errors import CapabilityMissing, ModelNotShared, PromptTooLong
from tidemill_inference.routing.attempts import Race, Running
from tidemill_inference.routing.domain.attempt import ANSWERED, Attempt, AttemptKind
from tidemill_inference.routing.domain.errors import CircuitOpen
from tidemill_inference.routing.domain.policy import ordered
from tidemill_inference.routing.endpoints import Endpoints
from tidemill_inference.routing.ports import Call, ObserveRouting, Route

T = TypeVar("T")

NEXT_MAY_DO_BETTER = (
    CapabilityMissing,
    DependencyUnavailable,
    Internal,
    PreconditionFailed,
    PromptTooLong,
    RateLimited,
)
"""What another model may do better; what else is wrong with the question is wrong for all of them."""
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 8.0
_JITTER = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteModels:
    """Implements `ports.Router`. `retries` is for remote models, where the deployment does not say."""

    models: Models
    endpoints: Endpoints
    observe: ObserveRouting
    retries: int = 0
    random: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def __call__(self, caller: Caller, route: Route, call: Call[T]) -> T:
        """See `Router`."""
        run = _Run(self, caller, route, call)
        try:
            return await run.answered()
        except TidemillError as error:
            if run.calls > 1 and not isinstance(error, RateLimited):  # which says when to come again
                error.metadata.setdefault("retried", str(run.calls - 1))
            raise
        finally:
            route.attempts[:] = _estimated(sorted(route.attempts, key=lambda each: each.start_s))


@dataclass(slots=True)
class _Run(Generic[T]):
    """One question on its way through the models."""

    router: RouteModels
    caller: Caller
    route: Route
    call: Call[T]
    spoke: bool = False
    """Whether a token was sent to the caller: then no other model may answer."""
    calls: int = 0
    _remote: set[str] = field(default_factory=set)
    """Of the models that were resolved."""

    async def answered(self) -> T:
        """Ask the deployment's model and its equals, then one fallback after the other."""
        stages = [self._equals(), *([model] for model in self.route.fallback)]
        named = [self.route.model, *self.route.fallback]
        failed: TidemillError | None = None
        for number, models in enumerate(stages):
            others = len(stages) - number - 1
            kind = AttemptKind.FALLBACK if number else AttemptKind.FIRST
            try:
                return await self._stage(models, kind, others)
            except NEXT_MAY_DO_BETTER as error:
                if self.spoke:
                    raise
                # That a fallback cannot do what is asked is no news where a model that can has failed.
                failed = failed if failed and isinstance(error, CapabilityMissing) else error
                if not others and failed is error:
                    raise
                if not others:
                    raise failed from error
                self.router.observe.fallback(self.caller.project, named[number], error.reason)
                self.route.warnings.append(f"fallback used: {named[number]} failed ({error.reason})")
        raise AssertionError  # the last stage returns or raises

    async def _stage(self, models: Sequence[str], kind: AttemptKind, others: int) -> T:
        """Ask equal models, each once, and then again those that may have recovered."""
        until = self._now() + self._remaining_s() / (others + 1)
        queue, tried, retries = deque(models), set[str](), 0
        while True:
            model = queue.popleft()
            untried = [each for each in queue if each not in tried]
            share_s = max(0.0, until - self._now()) / (len(untried) + 1) if others or untried else None
            replaceable = bool(others or untried)
            try:
                return await self._hedged(
                    model, AttemptKind.RETRY if tried else kind, spare=untried[:1], share_s=share_s, rests=replaceable
                )
            except NEXT_MAY_DO_BETTER as error:
                tried.add(model)
                if _may_recover(error, alone=not replaceable):
                    queue.append(model)
                if self.spoke or isinstance(error, PromptTooLong) or not queue:
                    raise
                if queue[0] in tried:
                    retries += 1
                    if retries > self._retries(queue[0]) or not await self._paused(retries, until):
                        raise

    async def _hedged(
        self, model: str, kind: AttemptKind, *, spare: Sequence[str], share_s: float | None, rests: bool
    ) -> T:
        """Ask one model, and where it has no token after a while, an equal one, or itself once more, beside it."""
        race, after_s = Race(), self.route.routing.policy.hedge_after_s
        if after_s is None:
            return await self._attempt(model, kind, race, share_s=share_s, rests=rests)
        first = asyncio.create_task(self._attempt(model, kind, race, share_s=share_s, rests=rests))
        tasks = [first]
        try:
            await race.decided(tasks, timeout_s=after_s)
            if race.winner is None and not first.done() and (spare or model in self._remote):
                second = self._attempt((*spare, model)[0], AttemptKind.HEDGE, race, share_s=share_s, rests=True)
                tasks.append(asyncio.create_task(second))
                await race.decided(tasks)
            winner = race.winner or first
            for each in tasks:
                if each is not winner:
                    each.cancel()
            result: T = await winner
            return result
        finally:
            await _end(tasks)

    async def _attempt(self, model: str, kind: AttemptKind, race: Race, *, share_s: float | None, rests: bool) -> T:
        """Call one model once, within its share of the time for its first token."""
        limits = [each for each in (share_s, self.route.routing.policy.first_token_timeout_s) if each is not None]
        running = Running(
            project=self.caller.project,
            model=model,
            kind=kind,
            route=self.route,
            race=race,
            endpoints=self.router.endpoints,
            observe=self.router.observe,
            first_token_s=min(limits, default=None),
            started=self._now(),
        )
        self.router.endpoints.of(running.project, model).running += 1
        error: BaseException | None = None
        try:
            return await self._called(running, rests=rests)
        except (Exception, asyncio.CancelledError) as raised:
            error = raised
            raise
        finally:
            self._ended(running, error)

    async def _called(self, running: Running, *, rests: bool) -> T:
        try:
            async with running.patience:
                version = await self._resolved(running.model)
                if version.remote is not None:
                    self._remote.add(running.model)
                    self._admit(running, rests=rests)
                self.calls += 1
                return await self.call(version, running, timeout_s=self._remaining_s())
        except TimeoutError as error:
            if not running.patience.expired():
                raise
            message = f"model {running.model} {running.missed()}"
            raise DependencyTimedOut(message, dependency=f"model {running.model}", blame=Blame.VARIANT) from error

    def _admit(self, running: Running, *, rests: bool) -> None:
        """Have the circuit admit a call.

        Raises:
            CircuitOpen: it is open.
            RateLimited: the endpoint said that it is busy, and another model may answer.

        """
        circuit, now = self.router.endpoints.of(running.project, running.model).circuit, self._now()
        if rests and circuit.paused_until > now:
            message = f"model {running.model} rejects further requests at the moment: try again later"
            raise RateLimited(message, retry_after_s=circuit.paused_until - now, model=running.model)
        if not circuit.admit(running, now):
            raise CircuitOpen(running.model, rest_s=circuit.rest_s(now))
        running.circuit = circuit

    def _ended(self, running: Running, error: BaseException | None) -> None:
        endpoint = self.router.endpoints.of(running.project, running.model)
        endpoint.running = max(0, endpoint.running - 1)
        running.judge(error)
        attempt = running.attempt(error, self._now())
        self.spoke = self.spoke or running.began
        self.route.attempts.append(attempt)
        self.router.observe.attempt(running.project, running.model, attempt.kind, attempt.outcome)

    async def _resolved(self, reference: str) -> ModelVersion:
        """Return the model; one of another project may be shared no longer, for which the question is not to blame."""
        try:
            return await self.router.models.resolve(self.caller, reference, field="model")
        except ReferenceNotFound as error:
            if "/" in reference:
                raise ModelNotShared(reference) from error
            raise

    def _equals(self) -> Sequence[str]:
        """Return the deployment's model and its equals, those that rest last."""
        models, endpoints, project = self.route.models, self.router.endpoints, self.caller.project
        if len(models) == 1:
            return list(models)
        order = ordered(
            models,
            self.route.routing.policy.balance,
            affinity=self.route.affinity,
            busy=lambda model: endpoints.running(project, model),
            random=self.router.random,
        )
        return sorted(order, key=lambda model: endpoints.rests(project, model))

    def _retries(self, model: str) -> int:
        declared = self.route.routing.policy.retries
        return declared if declared is not None else self.router.retries if model in self._remote else 0

    async def _paused(self, retries: int, until: float) -> bool:
        """Wait before a retry; return False where there is no time for it."""
        pause_s = min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2 ** (retries - 1)) * (1 - _JITTER * self.router.random())
        if self._now() + pause_s >= until:
            return False
        await self.router.sleep(pause_s)
        return True

    def _now(self) -> float:
        return self.router.endpoints.clock()

    def _remaining_s(self) -> float:
        return max(0.0, self.route.deadline - self._now())


def _may_recover(error: TidemillError, *, alone: bool) -> bool:
    """Return whether the same endpoint may answer in a moment; one that hangs is asked again if there is no other."""
    if not isinstance(error, DependencyUnavailable) or error.blame is not Blame.VARIANT:
        return False
    if isinstance(error, CircuitOpen):
        return False
    return alone or not isinstance(error, DependencyTimedOut)


async def _end(tasks: "Sequence[asyncio.Task[T]]") -> None:
    """Cancel what still runs, and wait until it has ended, also while being cancelled."""
    for each in tasks:
        each.cancel()
    await asyncio.wait(tasks)
    for each in tasks:
        if not each.cancelled():
            each.exception()


def _estimated(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return the attempts, in which the prompt of an answer is as long for every model as for the one that answered."""
    tokens = next((each.input_tokens for each in attempts if each.outcome == ANSWERED), 0)
    return [replace(each, input_tokens=tokens) if each.estimated and tokens else each for each in attempts]
