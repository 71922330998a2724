"""The RPCs of EvaluationService about evaluations."""

from dataclasses import dataclass

from tidemill.evaluator.v1 import evaluation_service_pb2 as pb
from tidemill_evaluator.evaluations.crud import EvaluationCrud
from tidemill_evaluator.evaluations.estimate_power import POWER, EstimatePower
from tidemill_evaluator.evaluations.list_case_results import ListCaseResults, ListCommand
from tidemill_evaluator.evaluations.messages import evaluation_message, listed_message, result_message
from tidemill_evaluator.evaluations.start_evaluation import StartCommand, StartEvaluation
from tidemill_kit.grpc.lists import Order
from tidemill_kit.grpc.server import current_caller, page_of, request_of
from tidemill_kit.mapping import to_message

_FILTERS = {"gate": "gate", "candidate": "candidate"}
_CASE_FILTERS = {"case_set": "case_set"}
_DIFFERENCE = Order("difference", "worst first", "best first")


@dataclass(frozen=True, kw_only=True)
class EvaluationRpcs:
    """Message -> use case -> message."""

    evaluations: EvaluationCrud
    start: StartEvaluation
    list_case_results: ListCaseResults
    estimate_power: EstimatePower

    async def StartEvaluation(self, request: pb.StartEvaluationRequest, _context: object) -> pb.StartEvaluationResponse:
        """See the contract."""
        command = StartCommand(
            gate=request.gate,
            deployment=request.deployment,
            suites=tuple(request.suites),
            candidate=request.candidate,
            candidate_prompt=request.candidate_prompt,
            baseline=request.baseline,
            metrics=tuple(request.metrics),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.StartEvaluationResponse(evaluation=evaluation_message(await self.start(current_caller(), command)))

    async def GetGatePower(self, request: pb.GetGatePowerRequest, _context: object) -> pb.GetGatePowerResponse:
        """See the contract."""
        found = await self.estimate_power(current_caller(), request.id, gain=request.gain)
        return to_message(pb.GetGatePowerResponse, requirements=found, power=POWER)

    async def GetEvaluation(self, request: pb.GetEvaluationRequest, _context: object) -> pb.GetEvaluationResponse:
        """See the contract."""
        found = await self.evaluations.get(current_caller(), request.id)
        return pb.GetEvaluationResponse(evaluation=evaluation_message(found))

    async def ListEvaluations(self, request: pb.ListEvaluationsRequest, _context: object) -> pb.ListEvaluationsResponse:
        """See the contract."""
        page = await self.evaluations.list(
            current_caller(), page_of(request, filters=_FILTERS), gate=request.gate, candidate=request.candidate
        )
        return pb.ListEvaluationsResponse(
            evaluations=[listed_message(each) for each in page.items], next_page_token=page.next_token
        )

    async def CancelEvaluation(
        self, request: pb.CancelEvaluationRequest, _context: object
    ) -> pb.CancelEvaluationResponse:
        """See the contract."""
        cancelled = await self.evaluations.cancel(current_caller(), request.id, request=request_of(request))
        return pb.CancelEvaluationResponse(evaluation=evaluation_message(cancelled))

    async def ListCaseResults(self, request: pb.ListCaseResultsRequest, _context: object) -> pb.ListCaseResultsResponse:
        """See the contract."""
        asked = page_of(request, filters=_CASE_FILTERS, order=_DIFFERENCE)
        command = ListCommand(
            evaluation=request.evaluation,
            page=asked,
            case_set=request.case_set or asked.where.get("case_set", ""),
            metric=request.metric,
            best_first=asked.newest_first,
        )
        page = await self.list_case_results(current_caller(), command)
        return pb.ListCaseResultsResponse(
            results=[result_message(shown) for shown in page.items],
            next_page_token=page.next_token,
            metric=page.metric,
        )
