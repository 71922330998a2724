"""How long an event is tried: until it succeeds, until there is no hope, or until another process owns it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from tidemill_core.errors import (
    TRANSIENT,
    AlreadyExists,
    CancelledElsewhere,
    DependencyUnavailable,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    RateLimited,
    Unauthenticated,
    isolated,
)
from tidemill_kit.workers.fair_share import Turn

_PERMANENT = (InvalidInput, NotFound, AlreadyExists, PreconditionFailed, Unauthenticated, PermissionDenied)
_PASSING = (*TRANSIENT, CancelledElsewhere)
"""A cancellation that the event's task was not asked for is the end of something else, and no fault of the event."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """How much at once, and how patient. A dependency that is down or overloaded is waited for without limit."""

    concurrency: int = 32
    """Subjects in work at the same time, three quarters of them of one project at most; one that waits is none."""
    attempts: int = 5
    """Runs of a handler that fails for no known reason, until its event is dead-lettered."""
    first_pause_s: float = 0.2
    longest_pause_s: float = 15.0


class PartitionRevoked(Exception):
    """The record is not ours any more; it was not finished."""


@dataclass(slots=True, eq=False)
class RetryPolicy:
    """Repeats a call: without limit while what it needs is down or busy, else a few times; ends with the release."""

    limits: EngineLimits
    revoked: asyncio.Event
    waiting: dict["RetryPolicy", str]
    turn: Turn
    """Given to others during the pauses."""
    attempts: int = 0
    _failures: int = field(default=0, init=False)

    async def until_done(self, call: Callable[[], Awaitable[None]]) -> None:
        """Return when a call succeeded; raise the error that is not worth another call."""
        self.attempts += 1
        try:
            with isolated():
                await call()
        except Exception as error:
            if not _may_pass(error):
                raise
            await self._repeat(call, error)

    async def _repeat(self, call: Callable[[], Awaitable[None]], first: Exception) -> None:
        """Go on after a first failure; apart because tenacity costs a good event a third of a millisecond."""
        failed = [first]
        self._failures = 0
        retrying = AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            stop=self._enough,
            wait=self._pause_s,
            sleep=self._sleep,
            before_sleep=self._record,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt, isolated():
                    if failed:
                        raise failed.pop()
                    self.attempts += 1
                    await call()
        finally:
            self.waiting.pop(self, None)

    def _enough(self, state: RetryCallState) -> bool:
        self._failures += not isinstance(_error(state), _PASSING)
        return self._failures >= self.limits.attempts

    def _pause_s(self, state: RetryCallState) -> float:
        pause_s = wait_random_exponential(self.limits.first_pause_s, max=self.limits.longest_pause_s)(state)
        error = _error(state)
        return max(pause_s, error.retry_after_s) if isinstance(error, RateLimited) else pause_s

    def _record(self, state: RetryCallState) -> None:
        error = _error(state)
        if isinstance(error, _PASSING):
            dependency = _waited_for(error)
            if self not in self.waiting:
                _log.warning("event_waiting", dependency=dependency, why=str(error))
            self.waiting[self] = dependency
        else:
            self.waiting.pop(self, None)

    async def _sleep(self, seconds: float) -> None:
        self.turn.pause()
        try:
            await asyncio.wait_for(self.revoked.wait(), seconds)
        except TimeoutError:
            await self.turn.resume()
            return
        raise PartitionRevoked


def _waited_for(error: Exception) -> str:
    if isinstance(error, DependencyUnavailable):
        return error.dependency
    return error.reason.lower() if isinstance(error, RateLimited) else "handler"


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, Exception) and not isinstance(error, (*_PERMANENT, PartitionRevoked))
