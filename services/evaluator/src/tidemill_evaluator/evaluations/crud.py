"""Use case: cancel an evaluation."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.ports import Evaluations


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelEvaluation:
    """Emits EvaluationHasFailed with reason CANCELLED. The worker stops at its next write."""

    evaluations: Evaluations
    clock: Clock

    async def __call__(self, caller: Caller, evaluation_id: str, *, request: Request) -> Evaluation:
        """Return the cancelled evaluation; no effect if it is already cancelled.

        Raises:
            EvaluationNotFound: there is none.
            EvaluationFinished: it ended otherwise.

        """
        now = self.clock.now()
        return await self.evaluations.update(
            caller.project, evaluation_id, lambda evaluation: evaluation.cancel(now), request=request
        )
