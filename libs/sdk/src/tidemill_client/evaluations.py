"""Evaluations: a candidate compared with a baseline, by a gate or ad hoc."""

from collections.abc import AsyncIterator, Callable, Sequence

from tidemill.evaluator.v1.evaluation_pb2 import CaseResult, Evaluation, EvaluationState, Gate
from tidemill.evaluator.v1.evaluation_service_pb2 import (
    CancelEvaluationRequest,
    GetEvaluationRequest,
    GetGatePowerRequest,
    GetGatePowerResponse,
    GetGateRequest,
    ListCaseResultsRequest,
    ListEvaluationsRequest,
    StartEvaluationRequest,
)
from tidemill_client.connection import Connection
from tidemill_client.pages import each
from tidemill_client.waiting import poll

PATIENCE_S = 3600.0
ENDED = frozenset(
    {
        EvaluationState.EVALUATION_STATE_COMPLETED,
        EvaluationState.EVALUATION_STATE_FAILED,
        EvaluationState.EVALUATION_STATE_CANCELLED,
    }
)
"""Terminal states."""


class Evaluations:
    """The gates and evaluations of a project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def gate(self, gate: str) -> Gate:
        """Return a gate."""
        return (await self._connection.evaluations.GetGate(GetGateRequest(id=gate))).gate

    async def power(self, gate: str, *, gain: float = 0.0) -> GetGatePowerResponse:
        """Return how probably a gate's requirements find a gain; 0 is the service's default."""
        return await self._connection.evaluations.GetGatePower(GetGatePowerRequest(id=gate, gain=gain))

    async def start(self, gate: str, candidate: str, *, request_id: str = "") -> Evaluation:
        """Start an evaluation of a version, as `model@version`, by the gate of the model, collection or prompt."""
        request = StartEvaluationRequest(gate=gate, candidate=candidate, request_id=request_id)
        return (await self._connection.evaluations.StartEvaluation(request)).evaluation

    async def compare(  # noqa: PLR0913 - what is compared, and by what
        self,
        deployment: str,
        suites: Sequence[str],
        *,
        candidate: str = "",
        candidate_prompt: str = "",
        baseline: str = "",
        metrics: Sequence[str] = (),
        request_id: str = "",
    ) -> Evaluation:
        """Compare two `model@version` on suites, without a gate; an empty baseline means the live model.

        A `candidate_prompt`, in place of both, is a `prompt@version` that is compared with the live one.
        `metrics` are computed beside those that always are.
        """
        request = StartEvaluationRequest(
            deployment=deployment,
            suites=suites,
            candidate=candidate,
            candidate_prompt=candidate_prompt,
            baseline=baseline,
            metrics=metrics,
            request_id=request_id,
        )
        return (await self._connection.evaluations.StartEvaluation(request)).evaluation

    async def get(self, evaluation: str) -> Evaluation:
        """Return an evaluation with its comparisons."""
        return (await self._connection.evaluations.GetEvaluation(GetEvaluationRequest(id=evaluation))).evaluation

    def all(self, *, gate: str = "", candidate: str = "") -> AsyncIterator[Evaluation]:
        """Yield the evaluations, oldest first."""
        request = ListEvaluationsRequest(gate=gate, candidate=candidate)
        return each(self._connection.evaluations.ListEvaluations, request, lambda page: page.evaluations)

    def cases(self, evaluation: str, *, case_set: str = "", metric: str = "") -> AsyncIterator[CaseResult]:
        """Yield the cases of an evaluation, largest regression first."""
        request = ListCaseResultsRequest(evaluation=evaluation, case_set=case_set, metric=metric)
        return each(self._connection.evaluations.ListCaseResults, request, lambda page: page.results)

    async def cancel(self, evaluation: str) -> Evaluation:
        """Cancel an evaluation."""
        request = CancelEvaluationRequest(id=evaluation)
        return (await self._connection.evaluations.CancelEvaluation(request)).evaluation

    async def wait(
        self,
        evaluation: str,
        *,
        within_s: float = PATIENCE_S,
        watch: Callable[[Evaluation], None] = lambda _evaluation: None,
    ) -> Evaluation:
        """Wait until an evaluation is in a terminal state, and return it.

        Raises:
            DeadlineExceeded: `within_s` has passed; the evaluation continues.

        """
        return await poll(
            lambda: self.get(evaluation),
            lambda found: found.state in ENDED,
            what=f"evaluation {evaluation}",
            within_s=within_s,
            watch=watch,
        )
