"""Adaptive concurrency limiter for a shared engine."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable, RateLimited, TidemillError
from tidemill_evaluator.evaluations.domain.pace import Pace

_AT_ITS_DEADLINE = 0.9
"""An UNAVAILABLE error after this share of the deadline counts as a missed deadline."""


class NotInTime(DeadlineExceeded):
    """An answer missed the deadline; `cause` is the original error."""

    def __init__(self, cause: TidemillError) -> None:
        super().__init__(cause.message)
        self.cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question in flight, with the concurrency allowed then."""

    max_concurrent: int


class NewTurns(Protocol):
    """Creates an evaluation's concurrency limiter; `steady` where the times of its answers are compared."""

    def __call__(self, deadline_s: float, *, steady: bool) -> "Turns":
        """Return a limiter for answers with this deadline."""


class Turns:
    """Grants turns up to the pace's limit, first come first served."""

    def __init__(self, pace: Pace, *, deadline_s: float, seconds: Callable[[], float] = time.monotonic) -> None:
        self._pace = pace
        self._deadline_s = deadline_s
        self._seconds = seconds
        self._under_way = 0
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Turn]:
        """Hold a turn for one question; its duration adapts the pace.

        Raises:
            NotInTime: in place of what the body raised because its time ran out.

        """
        while self._under_way >= self._pace.max_concurrent:
            await self._freed.wait()
        self._under_way += 1
        asked, began = self._pace.asked(self._under_way), self._seconds()
        try:
            yield Turn(max_concurrent=asked.max_concurrent)
        except TidemillError as error:
            if self._ran_out(error, self._seconds() - began):
                self._pace.late(asked)
                raise NotInTime(error) from error
            if isinstance(error, RateLimited):
                self._pace.refused(asked)
            raise
        else:
            self._pace.answered(asked, (self._seconds() - began) / self._deadline_s)
        finally:
            self._under_way -= 1
            freed, self._freed = self._freed, asyncio.Event()
            freed.set()

    def _ran_out(self, error: TidemillError, took_s: float) -> bool:
        waited = isinstance(error, DependencyUnavailable) and took_s >= _AT_ITS_DEADLINE * self._deadline_s
        return waited or isinstance(error, DeadlineExceeded)
