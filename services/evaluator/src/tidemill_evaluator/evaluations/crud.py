"""Use cases: get, list and cancel evaluations."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.ports import Evaluations, RetrievalComparisons


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationCrud:
    """Cancelling emits EvaluationHasFailed with reason CANCELLED; the worker stops at its next write.

    What compares the searches of an index version is cancelled with it.
    """

    evaluations: Evaluations
    retrieval: RetrievalComparisons
    clock: Clock

    async def get(self, caller: Caller, evaluation_id: str) -> Evaluation:
        """Return an evaluation.

        Raises:
            EvaluationNotFound: there is none.

        """
        return await self.evaluations.get(caller.project, evaluation_id)

    async def list(self, caller: Caller, page: PageRequest, *, gate: str = "", candidate: str = "") -> Page[Evaluation]:
        """Return a page, oldest first, of all, of a gate, of a candidate, or of both."""
        where = {name: value for name, value in (("gate", gate), ("candidate", candidate)) if value}
        return await self.evaluations.list(caller.project, page=page, where=where)

    async def cancel(self, caller: Caller, evaluation_id: str, *, request: Request) -> Evaluation:
        """Return the cancelled evaluation; no effect if it is already cancelled.

        Raises:
            EvaluationNotFound: there is none.
            EvaluationFinished: it ended otherwise.

        """
        now = self.clock.now()
        cancelled = await self.evaluations.update(
            caller.project, evaluation_id, lambda evaluation: evaluation.cancel(now), request=request
        )
        if cancelled.comparing.collection:
            await self.retrieval.stop(caller, cancelled)
        return cancelled
