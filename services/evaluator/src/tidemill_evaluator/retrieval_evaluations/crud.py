"""Use cases: get, list and cancel retrieval evaluations."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import RetrievalEvaluation
from tidemill_evaluator.retrieval_evaluations.ports import RetrievalEvaluations


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalEvaluationCrud:
    """Cancelling emits RetrievalEvaluationHasFailed with reason CANCELLED; the worker stops at its next write."""

    evaluations: RetrievalEvaluations
    clock: Clock

    async def get(self, caller: Caller, evaluation_id: str) -> RetrievalEvaluation:
        """Return an evaluation.

        Raises:
            EvaluationNotFound: there is none.

        """
        return await self.evaluations.get(caller.project, evaluation_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[RetrievalEvaluation]:
        """Return a page."""
        return await self.evaluations.list(caller.project, page=page)

    async def cancel(self, caller: Caller, evaluation_id: str, *, request: Request) -> RetrievalEvaluation:
        """Return the cancelled evaluation; no effect if it is already cancelled.

        Raises:
            EvaluationNotFound: there is none.
            EvaluationFinished: it ended otherwise.

        """
        now = self.clock.now()
        return await self.evaluations.update(
            caller.project, evaluation_id, lambda evaluation: evaluation.cancel(now), request=request
        )
