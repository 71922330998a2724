"""Works on requested erasures: step by step, batch by batch, and all of it twice."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

import structlog
from prometheus_client import Counter

from tidemill_core.application import Aggregates, Clock, Request, Requeue, ResourceKey
from tidemill_kit.access.holds import Holds
from tidemill_kit.erasure.erasures import Erasure, State
from tidemill_kit.erasure.steps import NotYet, Scope, Step, Steps

ERASED = Counter("tidemill_erased", "What erasures have removed, by kind.", ["kind"])
ERASURES = Counter("tidemill_erasures", "Erasures of this service, by what became of them.", ["outcome"])

_SOON: Final = timedelta(seconds=2)

_log = structlog.get_logger()


class _Waits(Exception):
    """Nothing may be erased now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileErasure:
    """Erases what one row names, and goes on where any process of the service stopped.

    Nothing is erased while a legal hold covers it, nor by a process that does not know the current holds: what it has
    read of the topic is asked again before each batch. After all steps it waits for `recheck`, then repeats them. The
    row is complete, which the same commit reports, when that finds nothing; of an end user or a document in any case:
    they may be in use still, and what comes later is for another request.
    """

    erasures: Aggregates[Erasure]
    steps: Steps
    holds: Holds
    clock: Clock
    recheck: timedelta
    poll: timedelta

    async def __call__(self, key: ResourceKey, *, epoch: int) -> Requeue | None:
        """Go on with an erasure; implements what a `Controller` calls."""
        erasure = await self.erasures.get(key.project, key.id)
        if erasure.state is State.COMPLETED:
            return None
        if (left := erasure.not_before - self.clock.now()) > timedelta(0):
            return Requeue(after=left)
        log = _log.bind(project=key.project, erasure=key.id, scope=erasure.scope.value)
        try:
            await self._may_erase(erasure, epoch)
            if erasure.start_time is None:
                log.info("erasure_started")
            await self._change(erasure, lambda row: row.begin(now=self.clock.now(), epoch=epoch))
            erased = [await self._all(erasure, step, epoch) for step in self.steps.get(erasure.scope, ())]
        except _Waits:
            return Requeue(after=self.poll)
        except NotYet as error:
            log.info("erasure_waits", why=error.message)
            return Requeue(after=min(_SOON, self.poll))
        if not erasure.passed or (any(erased) and erasure.scope is Scope.PROJECT):
            not_before = self.clock.now() + self.recheck
            await self._change(erasure, lambda row: row.again(not_before=not_before, epoch=epoch))
            return Requeue(after=self.recheck)
        done = await self._change(erasure, lambda row: row.complete(now=self.clock.now(), epoch=epoch))
        ERASURES.labels("completed").inc()
        log.info("erasure_completed", counts=done.counts)
        return None

    async def _all(self, erasure: Erasure, step: Step, epoch: int) -> int:
        total = 0
        while True:
            await self._may_erase(erasure, epoch)
            erased = await step.erase(erasure.target)
            if erased or (step.kind not in erasure.counts and not total):
                erasure.counts.setdefault(step.kind, 0)
                await self._change(erasure, partial(_count, kind=step.kind, erased=erased, epoch=epoch))
            if not erased:
                return total
            total += erased
            ERASED.labels(step.kind).inc(erased)

    async def _may_erase(self, erasure: Erasure, epoch: int) -> None:
        """Go on only where it is known that no legal hold covers it.

        Raises:
            _Waits: one does, or that is not known now.

        """
        if not self.holds.current:
            _log.warning(
                "erasure_waits",
                project=erasure.project,
                erasure=erasure.id,
                why="the topic of legal holds was not read: Kafka must answer",
            )
            raise _Waits
        hold = self.holds.covers(erasure.project, erasure.scope, erasure.subject)
        if hold is not None:
            if erasure.state is not State.HELD:
                _log.info("erasure_held", project=erasure.project, erasure=erasure.id, hold=hold.id)
                ERASURES.labels("held").inc()
                await self._change(erasure, lambda row: row.hold(epoch=epoch))
            raise _Waits

    async def _change(self, erasure: Erasure, change: Callable[[Erasure], None]) -> Erasure:
        return await self.erasures.update(erasure.project, erasure.id, change, request=Request.internal())


def _count(row: Erasure, *, kind: str, erased: int, epoch: int) -> None:
    row.count(kind, erased, epoch=epoch)
