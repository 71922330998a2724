"""Asks inference for one answer, again where it is unavailable, overloaded or late."""

import asyncio
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, derived_id
from tidemill_core.errors import Blame, Conflict, DependencyUnavailable, RateLimited, TidemillError
from tidemill_evaluator.evaluations.domain.results import NOT_IN_TIME, TEXT_NOT_KEPT
from tidemill_evaluator.evaluations.ports import Answer, Inference, Question
from tidemill_evaluator.evaluations.turns import NotInTime, Turns

_OF_ALL = frozenset({Blame.SHARED, Blame.CAPACITY})
"""Failures that say nothing about the model: the evaluation waits and goes on later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Retries of a case: attempts and first pause while the service is unavailable.

    A case that misses the deadline has more attempts, each with less concurrency.
    """

    attempts: int = 3
    pause_s: float = 1.0
    attempts_in_time: int = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """Why there is no answer, UPPER_SNAKE; `total_s` is the deadline that was missed, or 0."""

    reason: str
    total_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AskPatiently:
    """An answer replayed from inference's record lacks its passages' texts; it is generated again, once per process."""

    inference: Inference
    patience: Patience

    async def __call__(self, caller: Caller, question: Question, *, turns: Turns, again: str) -> Answer | Unanswered:
        """Return the whole answer, or what is the fault of who was asked; `again` names this process.

        Raises:
            DependencyUnavailable: inference, or what it needs for every model, is unavailable or overloaded.

        """
        answer = await self._patiently(caller, question, turns)
        if isinstance(answer, Answer) and not answer.whole:
            once_more = replace(question, request_id=derived_id(question.request_id, "again", again))
            answer = await self._patiently(caller, once_more, turns)
        if isinstance(answer, Answer) and not answer.whole:
            return Unanswered(reason=TEXT_NOT_KEPT)
        return answer

    async def _patiently(self, caller: Caller, question: Question, turns: Turns) -> Answer | Unanswered:
        attempts = late = 0
        while True:
            try:
                async with turns.take() as turn:
                    answer = await self.inference.ask(caller, question)
                return replace(answer, max_concurrent=turn.max_concurrent)
            except NotInTime as error:
                late += 1
                if late >= self.patience.attempts_in_time:
                    _refuse_shared(error.cause)
                    return Unanswered(reason=NOT_IN_TIME, total_s=question.deadline_s)
            except (DependencyUnavailable, RateLimited, Conflict) as error:
                attempts += 1
                waited = error.retry_after_s if isinstance(error, RateLimited) else 0.0
                if attempts >= self.patience.attempts or waited > question.deadline_s:
                    _refuse_shared(error)
                    await self.inference.live(caller, question.deployment)  # raises if it is unavailable
                    return Unanswered(reason=error.reason)
                await asyncio.sleep(max(waited, self.patience.pause_s * 2 ** (attempts - 1)))
            except TidemillError as error:
                return Unanswered(reason=error.reason)


def _refuse_shared(error: TidemillError) -> None:
    """Raise unless the error is the model's own: limits, as those of a budget, are of both sides, with any blame."""
    if error.blame in _OF_ALL or isinstance(error, RateLimited):
        if isinstance(error, DependencyUnavailable):
            raise error
        raise DependencyUnavailable(error.message, dependency="inference") from error
