"""What follows an answer in a rollout: its outcome is recorded, and the candidate answers a copy."""

import asyncio
from collections.abc import Callable, Sequence

import structlog
from prometheus_client import Counter

from tidemill_core.errors import TidemillError, isolated
from tidemill_inference.generation.domain.outcome import AnswerOutcome
from tidemill_inference.generation.domain.question import Purpose
from tidemill_inference.rollouts.domain.step_counts import Outcome, ServerEnd
from tidemill_inference.rollouts.outcomes import RecordOutcome
from tidemill_inference.rollouts.ports import Shadow

DROPPED = Counter("tidemill_rollout_dropped", "Shadows and outcomes that were let go.", ["what"])
_PAUSE_S = 1.0

_log = structlog.get_logger()


class FollowUps:
    """What follows an answer in a rollout: its outcome is recorded, and in a shadow step the candidate answers a copy.

    Both wait in bounded queues, outside the request: what finds them full is dropped and counted.
    """

    def __init__(self, *, record: RecordOutcome, waiting: int, max_concurrent: int) -> None:
        self._record_outcome = record
        self._max_concurrent = max_concurrent
        self._recording: asyncio.Queue[AnswerOutcome] = asyncio.Queue(waiting)
        self._shadowing: asyncio.Queue[AnswerOutcome] = asyncio.Queue(waiting)

    def observe(self, answered: AnswerOutcome) -> None:
        """Queue what follows an answer; never waits."""
        _put(self._recording, answered, "outcome")
        live = answered.question.purpose is Purpose.LIVE
        if live and answered.chosen.shadowed and not answered.failed:
            _put(self._shadowing, answered, "shadow")

    @property
    def projects(self) -> set[str]:
        """The projects of which answers wait."""
        waiting = [each for queue in (self._recording, self._shadowing) for each in _kept(queue, lambda _: True)]
        return {each.inference.project for each in waiting}

    async def forget(self, project: str) -> int:
        """Let go what waits of a project; return how much that was."""
        gone = 0
        for queue in (self._recording, self._shadowing):
            waited = queue.qsize()
            gone += waited - len(_kept(queue, lambda each: each.inference.project != project))
        return gone

    async def run(self, shadow: Shadow) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._record())
            for _ in range(self._max_concurrent):
                tasks.create_task(self._shadow(shadow))

    async def _record(self) -> None:
        while True:
            answered = await self._recording.get()
            await self._recorded(answered)

    async def _recorded(self, answered: AnswerOutcome) -> None:
        """Record an outcome, as soon as the store accepts it."""
        inference, outcome = answered.inference, outcome_of(answered)
        while True:
            try:
                return await self._record_outcome(
                    inference.project, answered.question.deployment, outcome, asked_at=inference.create_time
                )
            except TidemillError as error:
                _log.warning("outcome_not_recorded", reason=error.reason, why=error.message)
            await asyncio.sleep(_PAUSE_S)

    async def _shadow(self, shadow: Shadow) -> None:
        while True:
            answered = await self._shadowing.get()
            try:
                with isolated():
                    await shadow(answered)
            except TidemillError as error:
                _log.info("shadow_not_answered", inference=answered.inference.id, reason=error.reason)
            except Exception as error:  # noqa: BLE001 - a candidate that breaks is its own failure
                _log.error("shadow_broken", inference=answered.inference.id, exc_info=error)


def outcome_of(answered: AnswerOutcome) -> Outcome | ServerEnd:
    """Return what is counted of an answer."""
    chosen = answered.chosen
    if chosen.experiment:
        cost = answered.inference.cost
        return Outcome(
            inference=answered.inference.id,
            rollout=chosen.experiment,
            step=chosen.step,
            variant=chosen.variant,
            failed=answered.failed,
            total_s=answered.total_s,
            user=answered.question.end_user,
            cost_nanos=cost.nanos if cost else None,
            cohorts=answered.question.labels,
        )
    if answered.ended:
        return ServerEnd(rollout=chosen.rollout, step=chosen.step, start=answered.ended)
    return Outcome(
        inference=answered.inference.id,
        rollout=chosen.rollout,
        step=chosen.step,
        variant=chosen.variant,
        failed=answered.failed,
        total_s=answered.total_s,
    )


def _kept(queue: asyncio.Queue[AnswerOutcome], stays: Callable[[AnswerOutcome], bool]) -> Sequence[AnswerOutcome]:
    """Let go what does not stay, and return the rest, which waits in the same order."""
    kept = [each for each in [queue.get_nowait() for _ in range(queue.qsize())] if stays(each)]
    for each in kept:
        queue.put_nowait(each)
    return kept


def _put(queue: asyncio.Queue[AnswerOutcome], answered: AnswerOutcome, what: str) -> None:
    try:
        queue.put_nowait(answered)
    except asyncio.QueueFull:
        DROPPED.labels(what).inc()
